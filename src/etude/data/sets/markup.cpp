#include "etude/data/sets/markup.h"

#include <charconv>

#include "etude/base/text.h"

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

void append_character(std::string& out, uint32_t character) {
  if (character == 0 || character > 0x10FFFF || (character >= 0xD800 && character < 0xE000)) character = 0xFFFD;
  append_utf8(out, character);
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
      append_character(out, character);
      text.remove_prefix(end + 1);
    }
  }
}

}  // namespace etude
