#pragma once
// Whether bytes are text, with errors that say where not.

#include <cstdint>
#include <string>
#include <string_view>

namespace etude {

/// Where and why bytes are not text.
struct TextFault {
  int64_t offset = -1;                                             ///< of the first byte at fault; -1: none
  enum class Kind { none, nul, encoding, cut } kind = Kind::none;  ///< cut: ends within a character
};
/// The first byte that is NUL or breaks UTF-8 (RFC 3629: shortest form, no surrogates, up to U+10FFFF).
TextFault find_fault(std::string_view text);

namespace corpus {

/// A part of a file, and where it begins there.
struct TextPlace {
  std::string file;
  int64_t offset = 0, line = 1;
};
/// Errors: Code::data at "file:line", with the offset and a hint.
void require_text(std::string_view text, const TextPlace& place);

}  // namespace corpus
}  // namespace etude
