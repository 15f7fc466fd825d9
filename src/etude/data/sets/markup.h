#pragma once
// What texts in markup share.

#include <cstdint>
#include <string>
#include <string_view>

namespace etude {

/// Appends a character as UTF-8; U+FFFD for what is none (0, surrogates, beyond U+10FFFF).
void append_character(std::string& out, uint32_t character);

/// The text with &amp; &lt; &gt; &quot; &apos; and numeric references replaced; other references stay.
std::string without_entities(std::string_view text);

}  // namespace etude
