#include "etude/base/text.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <utility>

#include "etude/base/error.h"

namespace etude {
namespace {

/// The shortest digits that read back: 0.0003 and 1000000 plainly, 1e-5 and 1e15 with an exponent.
std::string shortest(double value) {
  const double size = std::abs(value);
  const bool plainly = value == 0 || (size >= 1e-4 && size < 1e15);
  const auto format = plainly ? std::chars_format::fixed : std::chars_format::scientific;
  char buffer[64];
  std::string text(buffer, std::to_chars(buffer, buffer + sizeof buffer, value, format).ptr);
  const size_t exponent = text.find('e');
  if (exponent == std::string::npos) return text;
  const bool negative = text[exponent + 1] == '-';  // to_chars writes e-05 and e+22
  const size_t digits = text.find_first_not_of("+-0", exponent + 1);
  return text.substr(0, exponent + 1) + (negative ? "-" : "") + text.substr(digits);
}

}  // namespace

std::string real_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  std::string text = shortest(value);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string plain_number(double value) { return std::isfinite(value) ? shortest(value) : real_text(value); }

std::string rounded_number(double value, int digits) {
  char text[64];
  const auto [end, problem] = std::to_chars(text, text + sizeof text, value, std::chars_format::general, digits);
  ETUDE_CHECK(problem == std::errc(), "so many digits don't fit");
  return {text, end};
}

bool parse_number(std::string_view text, double& value) {
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);
  const char* const end = text.data() + text.size();
  const auto [stop, problem] = std::from_chars(text.data(), end, value);
  return problem == std::errc() && stop == end && std::isfinite(value);
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  const size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

namespace {

/// The code point that begins at `i`, and its length; length 0 if the bytes are not UTF-8.
std::pair<uint32_t, size_t> decode(std::string_view text, size_t i) {
  constexpr std::pair<uint32_t, size_t> kBad = {0, 0};
  const auto lead = static_cast<unsigned char>(text[i]);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xC2 || lead > 0xF4) return kBad;
  const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if (text.size() - i < length) return kBad;
  uint32_t point = lead & (0x7Fu >> length);
  for (size_t k = 1; k < length; ++k) {
    const auto byte = static_cast<unsigned char>(text[i + k]);
    if ((byte & 0xC0) != 0x80) return kBad;
    point = point << 6 | (byte & 0x3F);
  }
  const bool overlong = (length == 3 && point < 0x800) || (length == 4 && point < 0x10000);
  const bool surrogate = point >= 0xD800 && point <= 0xDFFF;
  return overlong || surrogate || point > 0x10FFFF ? kBad : std::pair(point, length);
}

int columns_of(uint32_t point) {
  struct Span {
    uint32_t first, last;
  };
  constexpr Span kNone[] = {{0x300, 0x36F}, {0x200B, 0x200F}, {0x20D0, 0x20FF}, {0xFE00, 0xFE0F}};
  constexpr Span kTwo[] = {{0x1100, 0x115F},   {0x2E80, 0x303E},   {0x3041, 0xA4CF},   {0xAC00, 0xD7A3},
                           {0xF900, 0xFAFF},   {0xFE30, 0xFE6F},   {0xFF00, 0xFF60},   {0xFFE0, 0xFFE6},
                           {0x1F300, 0x1F64F}, {0x1F680, 0x1F6FF}, {0x1F900, 0x1FAFF}, {0x20000, 0x3FFFD}};
  for (const auto& s : kNone)
    if (point >= s.first && point <= s.last) return 0;
  for (const auto& s : kTwo)
    if (point >= s.first && point <= s.last) return 2;
  return 1;
}

}  // namespace

bool valid_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const size_t length = decode(text, i).second;
    if (length == 0) return false;
    i += length;
  }
  return true;
}

void append_utf8(std::string& out, uint32_t point) {
  if (point < 0x80) {
    out += static_cast<char>(point);
  } else if (point < 0x800) {
    out += static_cast<char>(0xC0 | point >> 6);
    out += static_cast<char>(0x80 | (point & 0x3F));
  } else if (point < 0x10000) {
    out += static_cast<char>(0xE0 | point >> 12);
    out += static_cast<char>(0x80 | (point >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (point & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | point >> 18);
    out += static_cast<char>(0x80 | (point >> 12 & 0x3F));
    out += static_cast<char>(0x80 | (point >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (point & 0x3F));
  }
}

std::string printable(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const auto [point, length] = decode(text, i);
    const bool control = (point < 0x20 && point != '\n' && point != '\t') || (point >= 0x7F && point < 0xA0);
    if (length == 0 || control) {
      out += '?';
    } else {
      out += text.substr(i, length);
    }
    i += std::max<size_t>(length, 1);
  }
  return out;
}

int columns(std::string_view text) {
  int total = 0;
  for (size_t i = 0; i < text.size();) {
    const auto [point, length] = decode(text, i);
    total += columns_of(point);
    i += std::max<size_t>(length, 1);
  }
  return total;
}

std::string fitted(std::string_view text, int width) {
  if (columns(text) <= width) return std::string(text);
  if (width < 1) return {};
  int used = 1;  // the ellipsis
  size_t i = 0;
  while (i < text.size()) {
    const auto [point, length] = decode(text, i);
    if (used + columns_of(point) > width) break;
    used += columns_of(point);
    i += std::max<size_t>(length, 1);
  }
  return std::string(text.substr(0, i)) + "\u2026";
}

}  // namespace etude
