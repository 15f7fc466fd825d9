#pragma once
// Bible texts of the SWORD project, as its zText modules keep them: verses of one testament in zlib blocks.
//
//   .bzs  a block each:  offset in .bzz, packed size, unpacked size      3 x uint32, little endian
//   .bzv  a verse each:  block, first byte in it, length                 uint32, uint32, uint16
//   .bzz  the blocks
//
// Before the verses stand slots for the module and the testament, before each book and each chapter one for its
// heading. The text is OSIS markup, in which most words carry their number in Strong's concordance: what two
// translations say with the same number, they say for the same Hebrew or Greek word.

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "etude/data/sets/versification.h"

namespace etude {

struct Verse {
  std::string book;  ///< as in VerseBook
  int chapter = 0, verse = 0;
  std::string text;  ///< one line, without notes and titles; may be empty
  /// Groups of words with their numbers: {"the heaven", "H8064"}, {"de Jesucristo", "G2424 G5547"}.
  std::vector<std::pair<std::string, std::string>> words;
};

/// The three files of a testament.
struct SwordFiles {
  std::string_view bzs, bzv, bzz;
};

/// The verses of a testament in their order, those without text too. Errors: Code::data at "PLACE.bzv: byte 20" or
/// "PLACE Gen 1:1": sizes that don't fit each other or the versification, damaged blocks, markup that doesn't end.
void read_verses(const SwordFiles& files, const std::vector<VerseBook>& books, const std::string& place,
                 const std::function<void(const Verse&)>& on_verse);

/// Text and words of a verse in OSIS markup, set in `verse`. Errors: Code::data at `place`.
void read_osis(std::string_view markup, const std::string& place, Verse& verse);

}  // namespace etude
