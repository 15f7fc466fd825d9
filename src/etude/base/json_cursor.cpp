#include "etude/base/json_cursor.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <utility>

#include "etude/base/text.h"

namespace etude {
namespace {

constexpr size_t kShown = 80;  ///< bytes of a text in a message

/// What a two-character escape stands for; 0 if there is no such escape.
char escaped(char c) {
  switch (c) {
    case '"':
    case '\\':
    case '/':
      return c;
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    default:
      return 0;
  }
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_part_of_number(char c) { return is_digit(c) || c == '.' || c == '-' || c == '+' || c == 'e' || c == 'E'; }

/// Whether all of it is a number as JSON writes it.
bool is_number(std::string_view text) {
  size_t i = 0;
  const auto digits = [&] {
    const size_t begin = i;
    while (i < text.size() && is_digit(text[i])) ++i;
    return i - begin;
  };
  if (i < text.size() && text[i] == '-') ++i;
  const bool zero = i < text.size() && text[i] == '0';
  const size_t whole = digits();
  if (whole == 0 || (zero && whole > 1)) return false;
  if (i < text.size() && text[i] == '.') {
    ++i;
    if (digits() == 0) return false;
  }
  if (i < text.size() && (text[i] == 'e' || text[i] == 'E')) {
    ++i;
    if (i < text.size() && (text[i] == '+' || text[i] == '-')) ++i;
    if (digits() == 0) return false;
  }
  return i == text.size();
}

}  // namespace

std::string shortened(std::string_view text) {
  size_t end = std::min(text.size(), kShown);
  while (end < text.size() && end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  std::string out = printable(text.substr(0, end));
  std::replace_if(
      out.begin(), out.end(), [](char c) { return c == '\n' || c == '\t'; }, '?');
  return end < text.size() ? out + "..." : out;
}

JsonCursor::JsonCursor(std::string_view text, std::string what, std::function<void(const std::string&)> refuse)
    : text_(text), what_(std::move(what)), refuse_(std::move(refuse)) {}

char JsonCursor::next() {
  while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r')) {
    ++at_;
  }
  return at_ < text_.size() ? text_[at_] : '\0';
}

void JsonCursor::open(char c) {
  if (next() != c) misplaced();
  ++at_;
}

bool JsonCursor::closes(char c) {
  if (next() != c) return false;
  ++at_;
  return true;
}

bool JsonCursor::goes_on(char end) {
  if (closes(end)) return false;
  require(',');
  return true;
}

void JsonCursor::require(char c) {
  if (next() != c) no_json();
  ++at_;
}

std::pair<size_t, bool> JsonCursor::end_of_text() const {
  size_t end = at_ + 1;
  bool plain = true;
  for (; end < text_.size() && text_[end] != '"'; ++end) {
    const auto c = static_cast<unsigned char>(text_[end]);
    plain = plain && c >= 0x20 && c < 0x80 && c != '\\';
    if (c == '\\') ++end;
  }
  return {end, plain};
}

uint32_t JsonCursor::hexadecimal(size_t at) {
  uint32_t value = 0;
  const char* const begin = text_.data() + at;
  if (at + 4 > text_.size() || std::from_chars(begin, begin + 4, value, 16).ptr != begin + 4) no_json();
  return value;
}

std::string JsonCursor::text() {
  if (next() != '"') misplaced();
  const auto [end, plain] = end_of_text();
  if (end >= text_.size()) no_json();
  const std::string_view raw = text_.substr(at_ + 1, end - at_ - 1);
  if (!plain && !valid_utf8(raw)) refuse(what_ + " is not UTF-8 in the text at byte " + std::to_string(at_));
  std::string out = plain ? std::string(raw) : unescaped(end);
  at_ = end + 1;
  return out;
}

std::string JsonCursor::unescaped(size_t end) {
  std::string out;
  out.reserve(end - at_);
  for (size_t i = at_ + 1; i < end; ++i) {
    const char c = text_[i];
    if (static_cast<unsigned char>(c) < 0x20) no_json();
    if (c != '\\') {
      out += c;
    } else if (text_[++i] != 'u') {
      const char meant = escaped(text_[i]);
      if (meant == 0) no_json();
      out += meant;
    } else {
      uint32_t point = hexadecimal(i + 1);
      i += 4;
      if (point >= 0xD800 && point < 0xDC00 && text_.substr(i + 1, 2) == "\\u") {
        const uint32_t low = hexadecimal(i + 3);
        if (low < 0xDC00 || low > 0xDFFF) no_json();
        point = 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00);
        i += 6;
      }
      if (point >= 0xD800 && point < 0xE000) no_json();
      append_utf8(out, point);
    }
  }
  return out;
}

std::string_view JsonCursor::number() const {
  size_t end = at_;
  while (end < text_.size() && is_part_of_number(text_[end])) ++end;
  return text_.substr(at_, end - at_);
}

uint64_t JsonCursor::count() {
  const char c = next();
  if (!is_digit(c) && c != '-') misplaced();
  const std::string_view digits = number();
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  const bool whole = error == std::errc() && end == digits.data() + digits.size();
  if (!whole || (c == '0' && digits.size() > 1)) {
    if (!is_number(digits)) no_json();
    refuse(c == '-' ? "the negative number " + shortened(digits) : "the number " + shortened(digits) + " is no count");
  }
  at_ += digits.size();
  return value;
}

bool JsonCursor::at_digits() {
  next();
  const std::string_view digits = number();
  return !digits.empty() && std::all_of(digits.begin(), digits.end(), is_digit);
}

void JsonCursor::skip_word(std::string_view word) {
  if (text_.substr(at_, word.size()) != word) no_json();
  at_ += word.size();
}

bool JsonCursor::null() {
  if (next() != 'n') return false;
  skip_word("null");
  return true;
}

void JsonCursor::skip(int depth) {
  const char c = next();
  if (c == '{' || c == '[') {
    if (depth == 0) refuse(what_ + " is nested too deep at byte " + std::to_string(at_));
    if (c == '{') {
      table([&](const std::string&) { skip(depth - 1); });
    } else {
      list([&] { skip(depth - 1); });
    }
  } else if (c == '"') {
    text();
  } else if (c == 't') {
    skip_word("true");
  } else if (c == 'f') {
    skip_word("false");
  } else if (!null()) {
    const std::string_view digits = number();
    if (!is_number(digits)) no_json();
    at_ += digits.size();
  }
}

void JsonCursor::finish() {
  if (next() != '\0' || at_ < text_.size()) no_json();
}

void JsonCursor::misplaced() {
  const char c = next();
  if (c == '{') refuse("a table stands where none belongs");
  if (c == '[') refuse("a list stands where none belongs");
  if (c == '"') refuse("a text stands where none belongs");
  if (c == 't' || c == 'f') refuse("true or false stands where a value belongs");
  if (c == 'n') refuse("null stands where a value belongs");
  if (is_digit(c) || c == '-') refuse("a number stands where none belongs");
  no_json();
}

void JsonCursor::no_json() { refuse(what_ + " is no JSON at byte " + std::to_string(at_)); }

void JsonCursor::refuse(const std::string& what) {
  refuse_(what);
  std::abort();  // refuse_ must throw
}

}  // namespace etude
