#pragma once
// How many verses each chapter of the Bible has when it is counted as in the King James Version: 66 books, 1,189
// chapters, 31,102 verses.

#include <string>
#include <vector>

namespace etude {

struct VerseBook {
  std::string name;         ///< as OSIS abbreviates it: "Gen", "1Cor"
  std::vector<int> verses;  ///< of each chapter, the first at 0
};

const std::vector<VerseBook>& old_testament();  ///< 39 books, 929 chapters, 23,145 verses
const std::vector<VerseBook>& new_testament();  ///< 27 books, 260 chapters, 7,957 verses

}  // namespace etude
