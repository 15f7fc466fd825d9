#pragma once
// What a tokenizer.json looks for in a text: a string, a regular expression, or characters of a class.

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "etude/data/tokenizers/json_view.h"
#include "etude/data/tokenizers/piece_text.h"

namespace etude {

class TextPattern {
 public:
  virtual ~TextPattern() = default;
  /// Appends the matches in text[range.begin, range.end), in order and apart from each other; what stands outside of
  /// the range is not seen. Thread-safe.
  /// Errors: Code::data when a regular expression takes too many steps for the text.
  virtual void find(std::string_view text, const PieceText::Range& range,
                    std::vector<PieceText::Range>& matches) const = 0;
};

/// Each occurrence; an empty text occurs nowhere.
std::unique_ptr<TextPattern> string_pattern(std::string text);
/// Scanned by hand if it is one of known_word_pattern(), else by ICU, whose syntax is that of Perl and Oniguruma but
/// for rare constructs. Errors: Code::data with the place in the expression.
std::unique_ptr<TextPattern> regex_pattern(const std::string& regex, const std::string& where);
/// By ICU, whatever the expression.
std::unique_ptr<TextPattern> icu_pattern(const std::string& regex, const std::string& where);
/// Each single character of which `is` holds.
std::unique_ptr<TextPattern> character_pattern(std::function<bool(char32_t)> is);
/// {"String": "x"} or {"Regex": "x"}
std::unique_ptr<TextPattern> read_pattern(const JsonView& json);

}  // namespace etude
