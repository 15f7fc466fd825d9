#pragma once
// The characters by which byte-level vocabularies write bytes: printable ones of Latin-1 stand for themselves, the
// others for 256 and on, in order ("Ġ" is a blank, "Ċ" a line end).

#include <string>
#include <string_view>

namespace etude {

/// The character of a byte, as UTF-8 of one or two bytes.
std::string_view byte_character(unsigned char byte);
/// The byte of a character; -1 if it stands for none.
int byte_of_character(char32_t character);
/// Each byte of a text as its character.
std::string as_byte_characters(std::string_view bytes);
/// The bytes that a token writes; the token itself where one of its characters stands for none.
std::string bytes_of_token(std::string_view token);

}  // namespace etude
