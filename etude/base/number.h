#pragma once
// Numbers as text, the same in every locale.

#include <string>
#include <string_view>

namespace etude {

/// The shortest text that reads back as the same double, with a point or an exponent, so that it stays
/// a real number in TOML and JSON: "0.1", "1.0", "1e+22", "-0.0", "nan", "inf".
std::string real_text(double value);

/// The shortest text for people: as real_text, but whole numbers below 1e15 print plainly: "1000000".
std::string plain_number(double value);

/// Reads all of `text` as a finite double (what from_chars takes, and a leading '+'). Returns false if
/// it is no number or doesn't fit.
bool parse_number(std::string_view text, double& value);

/// Without blanks, tabs and line ends on both sides.
std::string_view trim(std::string_view text);

/// Whether the bytes are well-formed UTF-8.
bool valid_utf8(std::string_view text);

}  // namespace etude
