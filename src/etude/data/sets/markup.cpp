#include "etude/data/sets/markup.h"

#include <charconv>

namespace etude {
namespace {

/// The character of a reference without '&' and ';' ("amp", "#233", "#xe9"); 0 if it is unknown.
uint32_t referenced(std::string_view name) {
  if (name == "amp") return '&';
  if (name == "lt") return '<';
  if (name == "gt") return '>';
  if (name == "quot") return '"';
  if (name == "apos") return '\'';
  if (name.size() < 2 || name[0] != '#') return 0;
  const bool hexadecimal = name[1] == 'x' || name[1] == 'X';
  name.remove_prefix(hexadecimal ? 2 : 1);
  uint32_t character = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), character, hexadecimal ? 16 : 10);
  return error == std::errc() && end == name.data() + name.size() ? character : 0;
}

}  // namespace

void append_utf8(std::string& out, uint32_t character) {
  if (character == 0 || character > 0x10FFFF || (character >= 0xD800 && character < 0xE000)) character = 0xFFFD;
  if (character < 0x80) {
    out += static_cast<char>(character);
  } else if (character < 0x800) {
    out += static_cast<char>(0xC0 | character >> 6);
    out += static_cast<char>(0x80 | (character & 0x3F));
  } else if (character < 0x10000) {
    out += static_cast<char>(0xE0 | character >> 12);
    out += static_cast<char>(0x80 | (character >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (character & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | character >> 18);
    out += static_cast<char>(0x80 | (character >> 12 & 0x3F));
    out += static_cast<char>(0x80 | (character >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (character & 0x3F));
  }
}

std::string without_entities(std::string_view text) {
  constexpr size_t kLongest = 12;  // of a reference, so that a text of many '&' stays linear
  std::string out;
  while (true) {
    const size_t at = text.find('&');
    out += text.substr(0, at);
    if (at == text.npos) return out;
    text.remove_prefix(at + 1);
    const size_t end = text.substr(0, kLongest).find(';');
    const uint32_t character = end == text.npos ? 0 : referenced(text.substr(0, end));
    if (character == 0) {
      out += '&';
    } else {
      append_utf8(out, character);
      text.remove_prefix(end + 1);
    }
  }
}

}  // namespace etude
