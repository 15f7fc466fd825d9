#include "etude/data/tokenizers/byte_characters.h"

#include <array>

#include "etude/data/tokenizers/unicode.h"

namespace etude {
namespace {

constexpr int kHighest = 256 + 68;  // 188 bytes stand for themselves

struct Tables {
  std::array<std::string, 256> characters;
  std::array<int, kHighest> bytes;
  Tables() {
    bytes.fill(-1);
    char32_t next = 256;
    for (int byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
      const char32_t character = printable ? static_cast<char32_t>(byte) : next++;
      unicode::append(characters[static_cast<size_t>(byte)], character);
      bytes[character] = byte;
    }
  }
};

const Tables& tables() {
  static const Tables made;
  return made;
}

}  // namespace

std::string_view byte_character(unsigned char byte) { return tables().characters[byte]; }

int byte_of_character(char32_t character) {
  return character < kHighest ? tables().bytes[static_cast<size_t>(character)] : -1;
}

std::string as_byte_characters(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const char byte : bytes) text += byte_character(static_cast<unsigned char>(byte));
  return text;
}

std::string bytes_of_token(std::string_view token) {
  std::string bytes;
  for (size_t at = 0; at < token.size();) {
    const unicode::Char c = unicode::decode(token, at);
    const int byte = byte_of_character(c.code);
    if (byte < 0) return std::string(token);
    bytes += static_cast<char>(byte);
    at += c.length;
  }
  return bytes;
}

}  // namespace etude
