#include "etude/data/tokenizers/word_scanner.h"

#include "etude/data/tokenizers/unicode.h"

namespace etude {
namespace {

using unicode::Char;
using unicode::kLetter;
using unicode::kNumber;
using unicode::kSpace;

constexpr char32_t kLongS = 0x17F;  // folds to 's'

/// One text, one position; every function returns where what it looks for ends, or the position itself.
class Scanner {
 public:
  Scanner(WordPattern pattern, std::string_view text, const PieceText::Range& range)
      : pattern_(pattern), text_(text.substr(0, range.end)), at_(range.begin) {}

  bool done() const { return at_ >= text_.size(); }

  PieceText::Range next() {
    const size_t begin = at_;
    at_ = pattern_ == WordPattern::gpt2 ? gpt2() : cl100k();
    return {begin, at_};
  }

 private:
  bool has(size_t at, int any_of) const { return at < text_.size() && unicode::is(code(at), any_of); }
  bool is_sign(size_t at) const { return at < text_.size() && !unicode::is(code(at), kSpace | kLetter | kNumber); }
  bool is_char(size_t at, char c) const { return at < text_.size() && text_[at] == c; }
  bool is_line_end(size_t at) const { return is_char(at, '\n') || is_char(at, '\r'); }
  char32_t code(size_t at) const { return unicode::decode(text_, at).code; }

  size_t run(size_t at, int any_of, size_t at_most = SIZE_MAX) const {
    for (size_t n = 0; at < text_.size() && n < at_most; ++n) {
      const Char c = unicode::decode(text_, at);
      if (!unicode::is(c.code, any_of)) break;
      at += c.length;
    }
    return at;
  }

  size_t run_of_signs(size_t at) const {
    while (at < text_.size()) {
      const Char c = unicode::decode(text_, at);
      if (unicode::is(c.code, kSpace | kLetter | kNumber)) break;
      at += c.length;
    }
    return at;
  }

  char32_t folded(size_t at) const {
    if (at >= text_.size()) return 0;
    const char32_t c = code(at);
    if (pattern_ == WordPattern::gpt2) return c;
    if (c == kLongS) return 's';
    return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
  }

  /// 's 't 're 've 'm 'll 'd
  size_t contraction() const {
    if (!is_char(at_, '\'')) return at_;
    const size_t first = at_ + 1;
    const char32_t c = folded(first);
    if (c == 's' || c == 't' || c == 'm' || c == 'd') return first + unicode::decode(text_, first).length;
    const char32_t second = folded(first + 1);
    const bool two = (c == 'r' && second == 'e') || (c == 'v' && second == 'e') || (c == 'l' && second == 'l');
    return two ? first + 2 : at_;
  }

  /// \s+(?!\S)|\s+ : a blank before a word is left to the word.
  size_t blanks() const {
    const size_t end = run(at_, kSpace);
    if (end == text_.size()) return end;
    const size_t last = unicode::before(text_, end);
    return last > at_ ? last : end;
  }

  size_t gpt2() const {
    if (const size_t end = contraction(); end > at_) return end;
    const size_t word = is_char(at_, ' ') ? at_ + 1 : at_;
    if (has(word, kLetter)) return run(word, kLetter);
    if (has(word, kNumber)) return run(word, kNumber);
    if (is_sign(word)) return run_of_signs(word);
    return blanks();
  }

  size_t cl100k() const {
    if (const size_t end = contraction(); end > at_) return end;
    const Char first = unicode::decode(text_, at_);
    if (unicode::is(first.code, kLetter)) return run(at_, kLetter);
    if (unicode::is(first.code, kNumber)) return run(at_, kNumber, pattern_ == WordPattern::cl100k ? 3 : 1);
    if (!is_line_end(at_) && has(at_ + first.length, kLetter)) return run(at_ + first.length, kLetter);
    const size_t sign = is_char(at_, ' ') ? at_ + 1 : at_;
    if (is_sign(sign)) {
      size_t end = run_of_signs(sign);
      while (is_line_end(end)) ++end;
      return end;
    }
    const size_t end = run(at_, kSpace);
    for (size_t line = end; line > at_; line = unicode::before(text_, line)) {  // \s*[\r\n]+
      if (is_line_end(line - 1)) return line;
    }
    return blanks();
  }

  WordPattern pattern_;
  std::string_view text_;
  size_t at_;
};

}  // namespace

std::optional<WordPattern> known_word_pattern(std::string_view regex) {
  static constexpr std::string_view kCl100k =
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  static constexpr std::string_view kQwen2 =
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  if (regex == kGpt2Regex) return WordPattern::gpt2;
  if (regex == kCl100k) return WordPattern::cl100k;
  if (regex == kQwen2) return WordPattern::qwen2;
  return std::nullopt;
}

void scan_words(WordPattern pattern, std::string_view text, const PieceText::Range& range,
                std::vector<PieceText::Range>& words) {
  Scanner scanner(pattern, text, range);
  while (!scanner.done()) words.push_back(scanner.next());
}

}  // namespace etude
