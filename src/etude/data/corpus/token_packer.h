#pragma once
// Documents as one sequence of tokens.

#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "etude/data/corpus/document.h"
#include "etude/data/tokenizer.h"

namespace etude::corpus {

/// Each document: the token that opens one, if the tokenizer has it, its tokens, and the one that closes it. Ids that
/// were made elsewhere are passed on; the last document of such a file is closed if it isn't.
/// A piece of a large document is tokenised by itself.
class TokenPacker {
 public:
  using Out = std::function<void(std::span<const int32_t>)>;
  TokenPacker(const Tokenizer& tokenizer, int64_t document_end, Out out)
      : tokenizer_(tokenizer),
        begin_(tokenizer.document_begin()),
        end_(static_cast<int32_t>(document_end)),
        out_(std::move(out)) {}

  /// Errors: Code::data for ids outside the vocabulary; those of the tokenizer.
  void add(const Document& document);
  int64_t documents() const { return documents_; }

 private:
  void add_text(const Document& document);
  void add_tokens(const Document& document);

  const Tokenizer& tokenizer_;
  std::optional<int64_t> begin_;
  int32_t end_;
  Out out_;
  bool open_ = false;
  int64_t documents_ = 0;
};

}  // namespace etude::corpus
