#include "etude/report/format.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <span>
#include <utility>

#include "etude/base/text.h"

namespace etude::report {
namespace {

constexpr std::string_view kMinus = "\u2212", kPlusMinus = "\u00b1", kThinSpace = "\u202f", kSpace = "\u00a0",
                           kInfinity = "\u221e", kNothing = "\u2013", kMicro = "\u00b5";

std::string chars(double value, std::chars_format format, int precision) {
  std::array<char, 400> buffer;  // the longest double in fixed form has 309 digits before the point
  const auto result = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, format, precision);
  return {buffer.data(), result.ptr};
}

std::string not_finite(double value) {
  if (std::isnan(value)) return "nan";
  return (value > 0 ? "" : std::string(kMinus)) + std::string(kInfinity);
}

std::string minus_of(std::string text) {
  if (text.starts_with('-')) text.replace(0, 1, kMinus);
  return text;
}

/// "-0.00" says nothing that "0.00" doesn't.
bool rounds_to_zero(const std::string& text) { return text.find_first_of("123456789") == std::string::npos; }

struct Scale {
  double from, unit;
  std::string_view name;
};

/// In the largest unit that it reaches, with three significant digits.
std::string scaled(double amount, std::span<const Scale> scales) {
  if (!std::isfinite(amount)) return not_finite(amount);
  for (const auto& [from, unit, name] : scales)
    if (std::abs(amount) >= from) return significant(amount / unit, 3) + std::string(kSpace) + std::string(name);
  return significant(amount, 3);
}

/// "12 800": thousands set apart.
std::string grouped(double whole) {
  std::string text = fixed(std::abs(whole), 0);
  for (auto at = static_cast<std::ptrdiff_t>(text.size()) - 3; at > 0; at -= 3)
    text.insert(static_cast<size_t>(at), kThinSpace);
  return whole < 0 ? std::string(kMinus) + text : text;
}

std::string two_digits(int64_t n) { return (n < 10 ? "0" : "") + std::to_string(n); }

}  // namespace

std::string fixed(double value, int decimals) {
  if (!std::isfinite(value)) return not_finite(value);
  const auto text = chars(value, std::chars_format::fixed, decimals);
  return rounds_to_zero(text) && text.starts_with('-') ? text.substr(1) : minus_of(text);
}

std::string with_sign(double value, int decimals) {
  const auto text = fixed(value, decimals);
  return value > 0 && !rounds_to_zero(text) ? "+" + text : text;
}

std::string significant(double value, int digits) {
  if (!std::isfinite(value)) return not_finite(value);
  if (value == 0) return "0";
  const double magnitude = std::floor(std::log10(std::abs(value)));
  if (magnitude < -5 || magnitude > 14) return minus_of(chars(value, std::chars_format::scientific, digits - 1));
  auto text = chars(value, std::chars_format::fixed, std::max(0, digits - 1 - static_cast<int>(magnitude)));
  return minus_of(text);
}

std::string shortest(double value) { return std::isfinite(value) ? minus_of(plain_number(value)) : not_finite(value); }

int decimals_for(double uncertainty) {
  if (!(uncertainty > 0) || !std::isfinite(uncertainty)) return 4;
  return std::clamp(1 - static_cast<int>(std::floor(std::log10(uncertainty))), 0, 6);
}

std::string mean_and_sd(double mean, double sd, int64_t n, std::optional<int> decimals) {
  if (n < 1) return std::string(kNothing);
  const int digits = decimals.value_or(n < 2 ? 4 : decimals_for(sd));
  if (n < 2) return fixed(mean, digits);
  return fixed(mean, digits) + " " + std::string(kPlusMinus) + " " + fixed(sd, digits);
}

std::string mean_and_interval(const Interval& interval, std::optional<int> decimals) {
  if (interval.n < 1) return std::string(kNothing);
  const int digits = decimals.value_or(interval.n < 2 ? 4 : decimals_for(interval.high - interval.mean));
  if (interval.n < 2) return with_sign(interval.mean, digits);
  return with_sign(interval.mean, digits) + " [" + with_sign(interval.low, digits) + ", " +
         with_sign(interval.high, digits) + "]";
}

std::string bytes_text(double bytes) {
  static constexpr Scale kScales[] = {{1e15, 1e15, "PB"}, {1e12, 1e12, "TB"}, {1e9, 1e9, "GB"},
                                      {1e6, 1e6, "MB"},   {1e3, 1e3, "kB"},   {0, 1, "B"}};
  return scaled(bytes, kScales);
}

std::string count_text(double count) {
  static constexpr Scale kScales[] = {
      {1e18, 1e18, "E"}, {1e15, 1e15, "P"}, {1e12, 1e12, "T"}, {1e9, 1e9, "G"}, {1e6, 1e6, "M"}};
  const bool whole = std::abs(count) < 1e6 && count == std::floor(count);
  return whole ? grouped(count) : scaled(count, kScales);
}

std::string seconds_text(double seconds) {
  static constexpr Scale kScales[] = {{1, 1, "s"}, {1e-3, 1e-3, "ms"}, {0, 1e-6, "\u00b5s"}};
  if (!(seconds >= 59.95)) return scaled(seconds, kScales);
  if (!std::isfinite(seconds)) return not_finite(seconds);
  const auto total = static_cast<int64_t>(std::llround(seconds));
  const std::string space(kSpace);
  if (total < 3600) return std::to_string(total / 60) + space + "min" + space + two_digits(total % 60) + space + "s";
  return std::to_string(total / 3600) + space + "h" + space + two_digits(total % 3600 / 60) + space + "min";
}

std::string short_commits(std::string_view commits) {
  constexpr size_t kDigits = 12;
  std::string result;
  size_t digits = 0;
  for (const char c : commits) {
    digits = c == ',' || c == ' ' ? 0 : digits + 1;
    if (digits <= kDigits) result += c;
  }
  return result;
}

std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : printable(text)) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      case '\'':
        result += "&#39;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

std::string plain(std::string_view text) {
  static constexpr std::pair<std::string_view, std::string_view> kAscii[] = {
      {kMinus, "-"},   {kPlusMinus, "+-"}, {kThinSpace, " "}, {kSpace, " "},   {kInfinity, "inf"}, {kNothing, "-"},
      {kMicro, "u"},   {"\u00b7", "|"},    {"\u2713", "+"},   {"\u2717", "x"}, {"\u2026", "..."},  {"\u2191", "^"},
      {"\u2193", "v"}, {"\u2014", "-"},    {"\u2019", "'"},   {"\u2500", "-"}};
  std::string result;
  while (!text.empty()) {
    const auto* known = std::find_if(std::begin(kAscii), std::end(kAscii),
                                     [&](const auto& pair) { return text.starts_with(pair.first); });
    if (known != std::end(kAscii)) {
      result += known->second;
      text.remove_prefix(known->first.size());
      continue;
    }
    const auto byte = static_cast<unsigned char>(text.front());
    if (byte < 0x80) result += text.front();
    if (byte >= 0xC0) result += '?';
    text.remove_prefix(1);
  }
  return result;
}

}  // namespace etude::report
