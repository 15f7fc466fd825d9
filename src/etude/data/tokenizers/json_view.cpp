#include "etude/data/tokenizers/json_view.h"

#include <charconv>
#include <cstring>
#include <limits>
#include <unordered_map>

#include "etude/base/text.h"
#include "etude/data/tokenizers/unicode.h"

namespace etude {

struct JsonView::Source {
  std::string_view text;
  std::string name;
  std::string where(size_t at) const;
  /// Where large values end, once looked for: members are found one by one in the same object.
  mutable std::unordered_map<const char*, size_t> large;
};

namespace {

constexpr int kDeepest = 64;

bool is_blank(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// The end of a value that was checked before: no more than counting brackets outside of strings.
size_t end_of_string(std::string_view text, size_t at) {
  for (++at; text[at] != '"'; ++at) {
    if (text[at] == '\\') ++at;
  }
  return at + 1;
}

size_t end_of_value(std::string_view text, size_t at) {
  if (text[at] == '"') return end_of_string(text, at);
  if (text[at] != '{' && text[at] != '[') {
    while (at < text.size() && text[at] != ',' && text[at] != ']' && text[at] != '}' && !is_blank(text[at])) ++at;
    return at;
  }
  int depth = 0;
  do {
    if (text[at] == '"') {
      at = end_of_string(text, at);
      continue;
    }
    if (text[at] == '{' || text[at] == '[') ++depth;
    if (text[at] == '}' || text[at] == ']') --depth;
    ++at;
  } while (depth > 0);
  return at;
}

size_t skip_blanks(std::string_view text, size_t at) {
  while (at < text.size() && is_blank(text[at])) ++at;
  return at;
}

int hex_value(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// The four digits behind \u; -1 if they are none.
int read_hex4(std::string_view text, size_t at) {
  if (at + 4 > text.size()) return -1;
  int code = 0;
  for (size_t i = at; i < at + 4; ++i) {
    const int digit = hex_value(text[i]);
    if (digit < 0) return -1;
    code = code * 16 + digit;
  }
  return code;
}

/// Reads the whole text once; every later step relies on what it has seen.
class Checker {
 public:
  Checker(std::string_view text, std::function<std::string(size_t)> where) : text_(text), where_(std::move(where)) {}

  /// The one value that the text is, without blanks around it.
  std::string_view document() {
    at_ = skip_blanks(text_, 0);
    if (at_ == text_.size()) fail("the file is empty, where JSON was expected", at_);
    const size_t begin = at_;
    value(0);
    const size_t end = at_;
    at_ = skip_blanks(text_, at_);
    if (at_ != text_.size()) fail("something follows the end of the JSON value", at_);
    return text_.substr(begin, end - begin);
  }

 private:
  [[noreturn]] void fail(const std::string& what, size_t at) const {
    throw Error(Code::data, what, where_(at), "is the file complete, and JSON?");
  }

  char peek() const {
    if (at_ >= text_.size()) fail("the JSON ends too early", text_.size());
    return text_[at_];
  }

  void expect(char c, const char* what) {
    if (peek() != c) fail(std::string("expected ") + what, at_);
    ++at_;
  }

  void blanks() { at_ = skip_blanks(text_, at_); }

  void value(int depth) {
    if (depth > kDeepest) fail("more than 64 values are nested", at_);
    switch (peek()) {
      case '{':
        return table(depth);
      case '[':
        return list(depth);
      case '"':
        return string();
      case 't':
        return word("true");
      case 'f':
        return word("false");
      case 'n':
        return word("null");
      default:
        return number();
    }
  }

  void table(int depth) {
    ++at_;
    blanks();
    if (peek() == '}') return void(++at_);
    while (true) {
      if (peek() != '"') fail("expected a key in quotes", at_);
      string();
      blanks();
      expect(':', "':' after a key");
      blanks();
      value(depth + 1);
      blanks();
      if (peek() == '}') return void(++at_);
      expect(',', "',' or '}'");
      blanks();
    }
  }

  void list(int depth) {
    ++at_;
    blanks();
    if (peek() == ']') return void(++at_);
    while (true) {
      value(depth + 1);
      blanks();
      if (peek() == ']') return void(++at_);
      expect(',', "',' or ']'");
      blanks();
    }
  }

  void word(std::string_view expected) {
    if (text_.substr(at_, expected.size()) != expected) fail("no JSON value begins here", at_);
    at_ += expected.size();
  }

  void number() {
    const size_t begin = at_;
    if (peek() == '-') ++at_;
    const size_t whole = at_;
    digits(begin);
    if (at_ - whole > 1 && text_[whole] == '0') fail("a number begins with 0", begin);
    if (at_ < text_.size() && text_[at_] == '.') {
      ++at_;
      digits(begin);
    }
    if (at_ < text_.size() && (text_[at_] == 'e' || text_[at_] == 'E')) {
      ++at_;
      if (at_ < text_.size() && (text_[at_] == '+' || text_[at_] == '-')) ++at_;
      digits(begin);
    }
  }

  void digits(size_t begin) {
    const size_t first = at_;
    while (at_ < text_.size() && is_digit(text_[at_])) ++at_;
    if (at_ == first) fail("no JSON value begins here", begin);
  }

  void string() {
    const size_t begin = at_++;
    while (true) {
      if (at_ >= text_.size()) fail("a string has no end", begin);
      const auto c = static_cast<unsigned char>(text_[at_]);
      if (c == '"') return void(++at_);
      if (c == '\\') {
        escape();
      } else if (c < 0x20) {
        fail("a control character stands in a string", at_);
      } else if (c < 0x80) {
        ++at_;
      } else {
        const unicode::Char character = unicode::decode(text_, at_);
        if (unicode::ill_formed(character)) fail("a string is not UTF-8", at_);
        at_ += character.length;
      }
    }
  }

  void escape() {
    const char kind = at_ + 1 < text_.size() ? text_[at_ + 1] : '\0';
    if (kind != 'u') {
      if (kind == '\0' || !std::strchr("\"\\/bfnrt", kind)) fail("an escape is none of JSON's", at_);
      at_ += 2;
      return;
    }
    const int code = read_hex4(text_, at_ + 2);
    if (code < 0) fail("\\u needs four hexadecimal digits", at_);
    if (code >= 0xDC00 && code <= 0xDFFF) fail("the second half of a surrogate pair stands alone", at_);
    const size_t begin = at_;
    at_ += 6;
    if (code < 0xD800 || code > 0xDBFF) return;
    const int low = text_.substr(at_, 2) == "\\u" ? read_hex4(text_, at_ + 2) : -1;
    if (low < 0xDC00 || low > 0xDFFF) fail("the first half of a surrogate pair stands alone", begin);
    at_ += 6;
  }

  std::string_view text_;
  std::function<std::string(size_t)> where_;
  size_t at_ = 0;
};

void append_escape(std::string& out, std::string_view text, size_t& at) {
  const char kind = text[at + 1];
  at += 2;
  switch (kind) {
    case 'b':
      out += '\b';
      return;
    case 'f':
      out += '\f';
      return;
    case 'n':
      out += '\n';
      return;
    case 'r':
      out += '\r';
      return;
    case 't':
      out += '\t';
      return;
    case 'u':
      break;
    default:
      out += kind;
      return;
  }
  int code = read_hex4(text, at);
  at += 4;
  if (code >= 0xD800 && code <= 0xDBFF) {
    code = 0x10000 + ((code - 0xD800) << 10) + (read_hex4(text, at + 2) - 0xDC00);
    at += 6;
  }
  unicode::append(out, static_cast<char32_t>(code));
}

}  // namespace

std::string JsonView::Source::where(size_t at) const {
  int line = 1;
  size_t begin = 0;
  for (size_t i = 0; i < at && i < text.size(); ++i) {
    if (text[i] != '\n') continue;
    ++line;
    begin = i + 1;
  }
  return name + ":" + std::to_string(line) + ":" + std::to_string(at - begin + 1);
}

JsonView JsonView::parse(std::string_view text, const std::string& name) {
  if (text.substr(0, 3) == "\xef\xbb\xbf") text.remove_prefix(3);
  auto source = std::make_shared<Source>(Source{text, name, {}});
  Checker checker(text, [&](size_t at) { return source->where(at); });
  return JsonView(checker.document(), source);
}

std::string_view JsonView::type_name() const {
  if (is_null()) return "null";
  if (is_bool()) return "a boolean";
  if (is_string()) return "a string";
  if (is_list()) return "a list";
  if (is_table()) return "an object";
  return "a number";
}

std::string JsonView::where() const { return source_->where(static_cast<size_t>(raw_.data() - source_->text.data())); }

void JsonView::fail(std::string what, std::string hint) const {
  if (hint.empty()) hint = "is the file complete, and as its maker wrote it?";
  throw Error(Code::data, std::move(what), where(), std::move(hint));
}

namespace {
std::string wrong_type(std::string_view what, std::string_view expected, std::string_view found) {
  return "'" + printable(what) + "' must be " + std::string(expected) + ", not " + std::string(found);
}
}  // namespace

bool JsonView::as_bool(std::string_view what) const {
  if (!is_bool()) fail(wrong_type(what, "a boolean", type_name()));
  return raw_.front() == 't';
}

int64_t JsonView::as_int(std::string_view what) const {
  int64_t value = 0;
  const auto result = std::from_chars(raw_.data(), raw_.data() + raw_.size(), value);
  if (!is_number() || result.ec != std::errc{} || result.ptr != raw_.data() + raw_.size()) {
    const std::string found = is_number() ? std::string(raw_.substr(0, 30)) : std::string(type_name());
    fail(wrong_type(what, "a whole number", found));
  }
  return value;
}

double JsonView::as_real(std::string_view what) const {
  double value = 0;
  if (!is_number()) fail(wrong_type(what, "a number", type_name()));
  if (!parse_number(raw_, value)) fail(wrong_type(what, "a finite number", raw_.substr(0, 30)));
  return value;
}

std::string JsonView::as_string(std::string_view what) const {
  std::string buffer;
  return std::string(as_string(what, buffer));
}

std::string_view JsonView::as_string(std::string_view what, std::string& buffer) const {
  if (!is_string()) fail(wrong_type(what, "a string", type_name()));
  const std::string_view inner = raw_.substr(1, raw_.size() - 2);
  if (std::memchr(inner.data(), '\\', inner.size()) == nullptr) return inner;
  buffer.clear();
  for (size_t at = 0; at < inner.size();) {
    if (inner[at] == '\\') {
      append_escape(buffer, inner, at);
    } else {
      buffer += inner[at++];
    }
  }
  return buffer;
}

void JsonView::each_member(std::string_view what, const std::function<void(std::string_view, JsonView)>& f) const {
  if (!is_table()) fail(wrong_type(what, "an object", type_name()));
  std::string buffer;
  for (size_t at = skip_blanks(raw_, 1); raw_[at] != '}';) {
    const size_t key_end = end_of_string(raw_, at);
    const std::string_view key = JsonView(raw_.substr(at, key_end - at), source_).as_string("key", buffer);
    const size_t begin = skip_blanks(raw_, skip_blanks(raw_, key_end) + 1);
    const size_t end = end_of_value(raw_, begin);
    f(key, JsonView(raw_.substr(begin, end - begin), source_));
    at = skip_blanks(raw_, end);
    if (raw_[at] == ',') at = skip_blanks(raw_, at + 1);
  }
}

void JsonView::each_element(std::string_view what, const std::function<void(JsonView)>& f) const {
  if (!is_list()) fail(wrong_type(what, "a list", type_name()));
  for (size_t at = skip_blanks(raw_, 1); raw_[at] != ']';) {
    const size_t end = end_of_value(raw_, at);
    f(JsonView(raw_.substr(at, end - at), source_));
    at = skip_blanks(raw_, end);
    if (raw_[at] == ',') at = skip_blanks(raw_, at + 1);
  }
}

size_t JsonView::count_elements(std::string_view what) const {
  size_t count = 0;
  each_element(what, [&](const JsonView&) { ++count; });
  return count;
}

std::optional<JsonView> JsonView::find(std::string_view key) const {
  if (!is_table()) fail(wrong_type("the value", "an object", type_name()));
  constexpr size_t kLarge = 4096;
  std::optional<JsonView> found;
  std::string buffer;
  for (size_t at = skip_blanks(raw_, 1); raw_[at] != '}';) {
    const size_t key_end = end_of_string(raw_, at);
    const JsonView name(raw_.substr(at, key_end - at), source_);
    const size_t begin = skip_blanks(raw_, skip_blanks(raw_, key_end) + 1);
    const auto known = source_->large.find(raw_.data() + begin);
    const size_t size = known != source_->large.end() ? known->second : end_of_value(raw_, begin) - begin;
    if (known == source_->large.end() && size > kLarge) source_->large.emplace(raw_.data() + begin, size);
    if (name.as_string("key", buffer) == key) {
      const JsonView value(raw_.substr(begin, size), source_);
      if (found) value.fail("the key '" + printable(key) + "' stands twice");
      found = value;
    }
    at = skip_blanks(raw_, begin + size);
    if (raw_[at] == ',') at = skip_blanks(raw_, at + 1);
  }
  if (found && found->is_null()) return std::nullopt;
  return found;
}

JsonView JsonView::at(std::string_view key) const {
  const std::optional<JsonView> found = find(key);
  if (!found) fail("the key '" + std::string(key) + "' is missing");
  return *found;
}

std::string json_quoted(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20) {
      out += "\\u00";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    } else {
      out += c;
    }
  }
  return out + '"';
}

}  // namespace etude
