#pragma once
// Numbers as text, the same in every locale, and small helpers for text.

#include <cstdint>
#include <string>
#include <string_view>

namespace etude {

/// The shortest text that reads back as the same double, with a point or an exponent, so that it stays
/// a real number in TOML and JSON: "0.0003", "1.0", "1e-5", "1e22", "-0.0", "nan", "inf".
std::string real_text(double value);

/// The same for people, without the point of a whole number: "1000000".
std::string plain_number(double value);

/// Rounded to so many significant digits, without trailing zeros: "0.38", "1.2e-09".
std::string rounded_number(double value, int digits = 4);

/// Reads all of `text` as a finite double (what from_chars takes, and a leading '+'). Returns false if
/// it is no number or doesn't fit.
bool parse_number(std::string_view text, double& value);

/// Without blanks, tabs and line ends on both sides.
std::string_view trim(std::string_view text);

/// Whether the bytes are well-formed UTF-8.
bool valid_utf8(std::string_view text);

/// Appends a code point as UTF-8. Required: at most U+10FFFF, no surrogate.
void append_utf8(std::string& out, uint32_t point);

/// The text with '?' for bytes that are not UTF-8 and for control characters but tab and line end: safe
/// to show on a terminal and to put into JSON.
std::string printable(std::string_view text);

/// Columns that UTF-8 text takes on a terminal: none for combining marks, two for East Asian wide
/// characters and emoji, else one for each code point. Requires printable text.
int columns(std::string_view text);

/// The longest beginning of printable text that fits `width` columns; cut text ends with an ellipsis.
std::string fitted(std::string_view text, int width);

}  // namespace etude
