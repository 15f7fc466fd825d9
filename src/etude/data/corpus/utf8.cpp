#include "etude/data/corpus/utf8.h"

#include <algorithm>
#include <cstring>

#include "etude/data/corpus/errors.h"

namespace etude {
namespace {

/// Letters, digits and the like, eight at a time; stops before the first byte that is anything else.
size_t skip_ascii(std::string_view text, size_t i) {
  for (; i + 8 <= text.size(); i += 8) {
    uint64_t eight = 0;
    std::memcpy(&eight, text.data() + i, 8);
    const uint64_t high = 0x8080808080808080, ones = 0x0101010101010101;
    // A byte below 1 borrows: its high bit is set, or the byte was above 127 already.
    if (((eight | (eight - ones)) & high) != 0) break;
  }
  while (i < text.size() && static_cast<unsigned char>(text[i]) - 1u < 0x7f) ++i;
  return i;
}

}  // namespace

TextFault find_fault(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  for (size_t i = skip_ascii(text, 0); i < text.size(); i = skip_ascii(text, i)) {
    const unsigned char lead = byte(i);
    const auto fault = [&](TextFault::Kind kind) { return TextFault{static_cast<int64_t>(i), kind}; };
    if (lead == 0) return fault(TextFault::Kind::nul);
    const size_t length = lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
    if (length == 0) return fault(TextFault::Kind::encoding);
    for (size_t k = 1; k < length; ++k) {
      if (i + k == text.size()) return fault(TextFault::Kind::cut);
      // The second byte also rules out overlong forms, surrogates and what lies above U+10FFFF.
      const unsigned char low = k > 1 ? 0x80 : lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
      const unsigned char high = k > 1 ? 0xbf : lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
      if (byte(i + k) < low || byte(i + k) > high) return fault(TextFault::Kind::encoding);
    }
    i += length;
  }
  return {};
}

namespace corpus {

void require_text(std::string_view text, const TextPlace& place) {
  const TextFault fault = find_fault(text);
  if (fault.kind == TextFault::Kind::none) return;
  const int64_t line = place.line + std::count(text.begin(), text.begin() + fault.offset, '\n');
  const std::string where = place.file + ":" + std::to_string(line);
  const std::string offset = " at offset " + std::to_string(place.offset + fault.offset);
  if (place.offset == 0 && (text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff"))) {
    throw refuse("this text is in UTF-16, not in UTF-8", place.file, "convert it: iconv -f UTF-16 -t UTF-8 OLD > NEW");
  }
  switch (fault.kind) {
    case TextFault::Kind::nul:
      throw refuse("this is no text: there is a NUL byte" + offset, where, "give plain text; binary files don't count");
    case TextFault::Kind::cut:
      throw refuse("the text ends within a character that begins" + offset, where,
                   "the file seems to be truncated: copy it again");
    default: {
      static const char* kDigits = "0123456789abcdef";
      const auto byte = static_cast<unsigned char>(text[static_cast<size_t>(fault.offset)]);
      throw refuse(std::string("the text is not UTF-8: byte 0x") + kDigits[byte >> 4] + kDigits[byte & 15] + offset,
                   where,
                   "a binary file? Text in another encoding can be converted: iconv -f LATIN1 -t UTF-8 OLD > NEW");
    }
  }
}

}  // namespace corpus
}  // namespace etude
