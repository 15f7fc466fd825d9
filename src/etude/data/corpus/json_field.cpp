#include "etude/data/corpus/json_field.h"

#include <cstdint>
#include <utility>

#include "etude/base/text.h"
#include "etude/data/corpus/errors.h"

namespace etude::corpus {
namespace {

constexpr int kMostLevels = 200;
constexpr size_t kMostNames = 100;

constexpr const char* kHint = "each line is one JSON object, as json.dumps() or jq -c writes it";

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Where names go, if somebody wants them.
struct Names {
  std::vector<std::string> strings, others;
};

/// A recursive descent over bytes.
class Scanner {
 public:
  Scanner(std::string_view json, std::string_view field, const std::string& place, Names* names)
      : json_(json), field_(field), place_(place), names_(names) {}

  JsonField run() {
    blanks();
    if (here() != '{') {
      if (at_ == json_.size()) fail("there is no JSON", kHint);
      fail(std::string("there is ") + kind_here() + " in place of an object",
           here() == '[' ? "one array as a whole file can be converted: jq -c '.[]' OLD > NEW" : kHint);
    }
    object(0, true);
    blanks();
    if (at_ < json_.size()) fail("something follows the object", kHint);
    return std::move(found_);
  }

 private:
  char here() const { return at_ < json_.size() ? json_[at_] : '\0'; }

  [[noreturn]] void fail(const std::string& what, const std::string& hint) const { fail_at(at_, what, hint); }
  [[noreturn]] void fail_at(size_t at, const std::string& what, const std::string& hint) const {
    throw refuse(what, place_ + ":" + std::to_string(at + 1), hint);
  }
  /// For what is not JSON.
  [[noreturn]] void broken(const std::string& expected) const {
    if (at_ >= json_.size()) {
      fail("the JSON ends too early: " + expected + " was expected",
           "an object over several lines can be put on one: jq -c . OLD > NEW");
    }
    fail("this is no JSON: " + expected + " was expected in place of '" + printable(json_.substr(at_, 1)) + "'", kHint);
  }

  void blanks() {
    while (at_ < json_.size() && (here() == ' ' || here() == '\t' || here() == '\n' || here() == '\r')) ++at_;
  }

  const char* kind_here() const {
    const char c = here();
    return c == '"'                  ? "a string"
           : c == '['                ? "an array"
           : c == '{'                ? "an object"
           : c == 't' || c == 'f'    ? "a truth value"
           : c == 'n'                ? "null"
           : c == '-' || is_digit(c) ? "a number"
                                     : "something that is no JSON";
  }

  /// `tracked`: the field may lie within.
  void object(int level, bool tracked) {
    deeper(level);
    ++at_;
    blanks();
    if (here() == '}') {
      ++at_;
      return;
    }
    for (;;) {
      blanks();
      if (here() != '"') broken("a name in quotes");
      member(level, tracked);
      blanks();
      if (here() == '}') break;
      if (here() != ',') broken("',' or '}'");
      ++at_;
    }
    ++at_;
  }

  void member(int level, bool tracked) {
    const size_t begun = path_.size();
    if (tracked || names_) {
      if (begun > 0) path_ += '.';
      string(&path_);
    } else {
      string(nullptr);
    }
    blanks();
    if (here() != ':') broken("':'");
    ++at_;
    blanks();
    if (names_ && names_->strings.size() + names_->others.size() < kMostNames) {
      (here() == '"' ? names_->strings : names_->others).push_back(printable(path_));
    }
    if (tracked && path_ == field_) {
      take(level);
    } else {
      value(level + 1,
            tracked && field_.size() > path_.size() && field_.starts_with(path_) && field_[path_.size()] == '.');
    }
    path_.resize(begun);
  }

  void take(int level) {
    if (found_.kind != JsonField::Kind::absent) {
      fail("the field '" + std::string(field_) + "' is there twice", "leave one of them");
    }
    const size_t begin = at_;
    if (here() == '"') {
      found_.kind = JsonField::Kind::text;
      string(&found_.text);
      if (found_.text.find('\0') != std::string::npos) {
        fail_at(begin, "the field '" + std::string(field_) + "' has a NUL character", "leave such characters out");
      }
      return;
    }
    const std::string kind = kind_here();
    value(level + 1, false);
    if (kind != "null") {
      fail_at(begin, "the field '" + std::string(field_) + "' is " + kind + ", not a string",
              "name a field that holds text with field = \"...\"");
    }
    found_.kind = JsonField::Kind::null;
  }

  void value(int level, bool tracked) {
    switch (here()) {
      case '{':
        return object(level, tracked);
      case '[':
        return array(level);
      case '"':
        return string(nullptr);
      case 't':
        return literal("true");
      case 'f':
        return literal("false");
      case 'n':
        return literal("null");
      default:
        return number();
    }
  }

  void array(int level) {
    deeper(level);
    ++at_;
    blanks();
    if (here() != ']') {
      for (;;) {
        blanks();
        // Names within arrays are no fields.
        Names* const names = std::exchange(names_, nullptr);
        value(level + 1, false);
        names_ = names;
        blanks();
        if (here() == ']') break;
        if (here() != ',') broken("',' or ']'");
        ++at_;
      }
    }
    ++at_;
  }

  void deeper(int level) const {
    if (level > kMostLevels) fail("there are more than " + std::to_string(kMostLevels) + " levels", kHint);
  }

  void literal(std::string_view word) {
    if (json_.substr(at_, word.size()) != word) broken("'" + std::string(word) + "'");
    at_ += word.size();
  }

  void number() {
    if (here() == '-') ++at_;
    if (!is_digit(here())) broken("a value");
    if (here() == '0') {
      ++at_;
    } else {
      digits();
    }
    if (here() == '.') {
      ++at_;
      digits();
    }
    if (here() == 'e' || here() == 'E') {
      ++at_;
      if (here() == '+' || here() == '-') ++at_;
      digits();
    }
  }

  void digits() {
    if (!is_digit(here())) broken("a digit");
    while (is_digit(here())) ++at_;
  }

  /// From its quote on; what it says is added to `out`.
  void string(std::string* out) {
    ++at_;
    for (;;) {
      const size_t begin = at_;
      while (at_ < json_.size() && json_[at_] != '"' && json_[at_] != '\\' &&
             static_cast<unsigned char>(json_[at_]) >= 32)
        ++at_;
      if (out) out->append(json_, begin, at_ - begin);
      if (here() == '"' && at_ < json_.size()) break;
      if (here() != '\\') broken("the end of a string");
      escape(out);
    }
    ++at_;
  }

  void escape(std::string* out) {
    const size_t begin = at_++;
    static constexpr std::string_view kLetters = "\"\\/bfnrt", kMeant = "\"\\/\b\f\n\r\t";
    if (const size_t i = kLetters.find(here()); i != std::string_view::npos && at_ < json_.size()) {
      ++at_;
      if (out) out->push_back(kMeant[i]);
      return;
    }
    if (here() != 'u') broken("one of \" \\ / b f n r t u after '\\'");
    ++at_;
    uint32_t code = hexadecimal();
    if (code >= 0xd800 && code < 0xdc00 && json_.substr(at_, 2) == "\\u") {
      at_ += 2;
      const uint32_t low = hexadecimal();
      code = low >= 0xdc00 && low < 0xe000 ? 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00) : 0xd800;
    }
    if (code >= 0xd800 && code < 0xe000) {
      fail_at(begin, "half of a surrogate pair stands for no character", "write characters above U+FFFF as a pair");
    }
    if (out) append_utf8(*out, code);
  }

  uint32_t hexadecimal() {
    uint32_t code = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char c = here();
      const auto letter = static_cast<char>(c | 0x20);
      if (!is_digit(c) && !(letter >= 'a' && letter <= 'f')) broken("four hexadecimal digits after '\\u'");
      code = code * 16 + static_cast<uint32_t>(is_digit(c) ? c - '0' : letter - 'a' + 10);
    }
    return code;
  }

  std::string_view json_, field_;
  const std::string& place_;
  Names* names_;
  size_t at_ = 0;
  std::string path_;
  JsonField found_;
};

}  // namespace

JsonField json_field(std::string_view json, std::string_view field, const std::string& place) {
  return Scanner(json, field, place, nullptr).run();
}

std::vector<std::string> json_names(std::string_view json) {
  Names names;
  const std::string nowhere;
  Scanner(json, std::string_view("\0", 1), nowhere, &names).run();
  names.strings.insert(names.strings.end(), names.others.begin(), names.others.end());
  return names.strings;
}

}  // namespace etude::corpus
