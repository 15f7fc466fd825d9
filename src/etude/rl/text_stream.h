#pragma once
// The text of tokens that come one at a time: what is whole can be shown at once, and stop strings are found wherever
// tokens cut them.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "etude/data/tokenizer.h"

namespace etude {

/// The text that a token adds depends on the tokens before it (a blank that opens a document is left out, a character's
/// bytes may be spread over tokens): tokens are decoded together with those that last gave text.
class TextStream {
 public:
  /// `before`: the prompt, whose text is no part of the stream. The tokenizer must outlive the stream.
  TextStream(const Tokenizer& tokenizer, const std::vector<int64_t>& before, std::vector<std::string> stop = {});

  void push(int64_t id);
  /// No token follows: a character that isn't whole stays as the bytes that are there.
  void finish();
  /// Whether a stop string was found. What is pushed afterwards adds nothing.
  bool stopped() const { return stopped_; }
  /// All text of whole characters so far, without the stop string and what follows it.
  const std::string& text() const { return text_; }
  /// What can be shown and was not taken before: all but an end that may become a stop string.
  std::string take();

 private:
  void append(std::string_view piece);
  size_t may_become_stop() const;

  const Tokenizer& tokenizer_;
  std::vector<std::string> stop_;
  std::vector<int64_t> window_;  ///< tokens that are decoded together
  size_t settled_ = 0;           ///< of them, those whose text was appended before the last one
  size_t known_ = 0;             ///< bytes of the window's text that were appended or are none of ours
  std::string pending_;          ///< bytes of a character that isn't whole
  std::string text_;
  size_t taken_ = 0;
  bool stopped_ = false, finished_ = false;
};

}  // namespace etude
