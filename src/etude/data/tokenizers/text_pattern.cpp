#include "etude/data/tokenizers/text_pattern.h"

#include <unicode/regex.h>
#include <unicode/unistr.h>
#include <unicode/utext.h>

#include <limits>

#include "etude/base/text.h"
#include "etude/data/tokenizers/unicode.h"
#include "etude/data/tokenizers/word_scanner.h"

namespace etude {
namespace {

using Range = PieceText::Range;

class StringPattern : public TextPattern {
 public:
  explicit StringPattern(std::string text) : text_(std::move(text)) {}
  void find(std::string_view text, const Range& range, std::vector<Range>& matches) const override {
    if (text_.empty()) return;
    const std::string_view seen = text.substr(0, range.end);
    for (size_t at = seen.find(text_, range.begin); at != std::string_view::npos; at = seen.find(text_, at)) {
      matches.push_back({at, at + text_.size()});
      at += text_.size();
    }
  }

 private:
  std::string text_;
};

class CharacterPattern : public TextPattern {
 public:
  explicit CharacterPattern(std::function<bool(char32_t)> is) : is_(std::move(is)) {}
  void find(std::string_view text, const Range& range, std::vector<Range>& matches) const override {
    for (size_t at = range.begin; at < range.end;) {
      const unicode::Char c = unicode::decode(text, at);
      if (is_(c.code)) matches.push_back({at, at + c.length});
      at += c.length;
    }
  }

 private:
  std::function<bool(char32_t)> is_;
};

class ScannedPattern : public TextPattern {
 public:
  explicit ScannedPattern(WordPattern pattern) : pattern_(pattern) {}
  void find(std::string_view text, const Range& range, std::vector<Range>& matches) const override {
    scan_words(pattern_, text, range, matches);
  }

 private:
  WordPattern pattern_;
};

/// Steps of ICU's engine come in units of 10,000. Ordinary patterns take some ten steps for a byte; one that
/// backtracks without end takes millions and is stopped.
constexpr int64_t kUnitsAtLeast = 100, kBytesPerUnit = 50;
constexpr int32_t kBacktrackingBytes = 64 << 20;

class IcuPattern : public TextPattern {
 public:
  IcuPattern(const std::string& regex, const std::string& where) : regex_(regex), where_(where) {
    UErrorCode status = U_ZERO_ERROR;
    UParseError place{};
    pattern_.reset(icu::RegexPattern::compile(icu::UnicodeString::fromUTF8(regex), 0, place, status));
    if (U_SUCCESS(status)) return;
    throw Error(Code::data,
                "the regular expression '" + fitted(printable(regex), 80) + "' is not understood: " +
                    u_errorName(status) + " at its character " + std::to_string(place.offset + 1),
                where, "the syntax is that of ICU's regular expressions");
  }

  void find(std::string_view text, const Range& range, std::vector<Range>& matches) const override {
    UErrorCode status = U_ZERO_ERROR;
    UText source = UTEXT_INITIALIZER;
    const auto size = static_cast<int64_t>(range.end - range.begin);
    utext_openUTF8(&source, text.data() + range.begin, size, &status);
    std::unique_ptr<icu::RegexMatcher> matcher(pattern_->matcher(status));
    if (U_SUCCESS(status)) {
      const int64_t units = kUnitsAtLeast + size / kBytesPerUnit;
      matcher->setTimeLimit(static_cast<int32_t>(std::min<int64_t>(units, std::numeric_limits<int32_t>::max())),
                            status);
      matcher->setStackLimit(kBacktrackingBytes, status);
      matcher->reset(&source);
    }
    while (U_SUCCESS(status) && matcher->find(status)) {
      const auto begin = static_cast<size_t>(matcher->start64(status)),
                 end = static_cast<size_t>(matcher->end64(status));
      matches.push_back({range.begin + begin, range.begin + end});
    }
    utext_close(&source);
    if (U_FAILURE(status)) refuse(status);
  }

 private:
  [[noreturn]] void refuse(UErrorCode status) const {
    const bool steps = status == U_REGEX_TIME_OUT || status == U_REGEX_STACK_OVERFLOW;
    throw Error(Code::data,
                "the regular expression '" + fitted(printable(regex_), 80) + "' " +
                    (steps ? "takes too many steps on the text" : std::string("failed: ") + u_errorName(status)),
                where_,
                steps ? "it backtracks without end; is this the tokenizer that you meant?" : "is there enough memory?");
  }

  std::string regex_, where_;
  std::unique_ptr<icu::RegexPattern> pattern_;
};

}  // namespace

std::unique_ptr<TextPattern> string_pattern(std::string text) {
  return std::make_unique<StringPattern>(std::move(text));
}

std::unique_ptr<TextPattern> icu_pattern(const std::string& regex, const std::string& where) {
  return std::make_unique<IcuPattern>(regex, where);
}

std::unique_ptr<TextPattern> regex_pattern(const std::string& regex, const std::string& where) {
  if (const auto known = known_word_pattern(regex)) return std::make_unique<ScannedPattern>(*known);
  return icu_pattern(regex, where);
}

std::unique_ptr<TextPattern> character_pattern(std::function<bool(char32_t)> is) {
  return std::make_unique<CharacterPattern>(std::move(is));
}

std::unique_ptr<TextPattern> read_pattern(const JsonView& json) {
  if (!json.is_table())
    json.fail("a pattern must be {\"String\": ...} or {\"Regex\": ...}, not " + std::string(json.type_name()));
  if (const auto text = json.find("String")) return string_pattern(text->as_string("String"));
  if (const auto regex = json.find("Regex")) return regex_pattern(regex->as_string("Regex"), regex->where());
  json.fail("a pattern must be {\"String\": ...} or {\"Regex\": ...}");
}

}  // namespace etude
