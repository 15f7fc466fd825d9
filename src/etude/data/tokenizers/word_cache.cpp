#include "etude/data/tokenizers/word_cache.h"

#include "etude/data/tokenizers/token_table.h"

namespace etude {

size_t WordCache::slot(std::string_view word, uint64_t hash) const {
  size_t at = hash & (kSlots - 1);
  while (slots_[at].size != 0) {
    const Slot& slot = slots_[at];
    if (slot.hash == hash && std::string_view(bytes_).substr(slot.begin, slot.size) == word) break;
    at = (at + 1) & (kSlots - 1);
  }
  return at;
}

bool WordCache::find(std::string_view word, Ids& ids) const {
  if (slots_.empty() || word.size() > kLongestWord) return false;
  const Slot& found = slots_[slot(word, hash_bytes(word))];
  if (found.size == 0) return false;
  ids = {ids_.data() + found.ids_begin, found.ids_count};
  return true;
}

void WordCache::add(std::string_view word, const int32_t* first, size_t count) {
  if (word.empty() || word.size() > kLongestWord || count > 0xFFFF) return;
  if (slots_.empty() || words_ * 4 > kSlots * 3 || bytes_.size() + ids_.size() * sizeof(int32_t) > kBytes) {
    slots_.assign(kSlots, {});
    bytes_.clear();
    ids_.clear();
    words_ = 0;
  }
  const uint64_t hash = hash_bytes(word);
  slots_[slot(word, hash)] = {hash, static_cast<uint32_t>(bytes_.size()), static_cast<uint32_t>(ids_.size()),
                              static_cast<uint16_t>(word.size()), static_cast<uint16_t>(count)};
  bytes_ += word;
  ids_.insert(ids_.end(), first, first + count);
  ++words_;
}

}  // namespace etude
