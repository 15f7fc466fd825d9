#pragma once
// The ids of words seen before: most words of a text are few.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace etude {

class WordCache {
 public:
  /// The ids of a word as [first, first + count), if it is known; until the next add().
  struct Ids {
    const int32_t* first = nullptr;
    size_t count = 0;
  };
  bool find(std::string_view word, Ids& ids) const;
  /// Remembers a word that find() did not know. Everything is forgotten when the memory is full.
  void add(std::string_view word, const int32_t* first, size_t count);

 private:
  static constexpr size_t kSlots = 1 << 16, kLongestWord = 128, kBytes = 8 << 20;
  struct Slot {
    uint64_t hash = 0;
    uint32_t begin = 0, ids_begin = 0;
    uint16_t size = 0, ids_count = 0;  ///< size 0: free
  };
  size_t slot(std::string_view word, uint64_t hash) const;

  std::vector<Slot> slots_;
  std::string bytes_;
  std::vector<int32_t> ids_;
  size_t words_ = 0;
};

}  // namespace etude
