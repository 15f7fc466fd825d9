#include "etude/data/tokenizers/token_table.h"

#include <algorithm>
#include <cstring>

namespace etude {

uint64_t hash_bytes(std::string_view bytes) {
  // Multiply and fold, eight bytes at a time.
  constexpr uint64_t kFactor = 0x9E3779B97F4A7C15;
  uint64_t hash = bytes.size() * kFactor;
  const auto mix = [&](uint64_t word) {
    hash = (hash ^ word) * kFactor;
    hash ^= hash >> 32;
  };
  const char* at = bytes.data();
  size_t left = bytes.size();
  for (; left >= 8; at += 8, left -= 8) {
    uint64_t word = 0;
    std::memcpy(&word, at, 8);
    mix(word);
  }
  uint64_t rest = 0;
  if (left > 0) std::memcpy(&rest, at, left);
  mix(rest);
  return hash;
}

void TokenTable::reserve(size_t tokens, size_t bytes) {
  bytes_.reserve(bytes);
  ends_.reserve(tokens + 1);
  size_t slots = 64;
  while (slots * 3 < tokens * 4) slots *= 2;
  if (slots > slots_.size()) resize(slots);
}

TokenTable::Added TokenTable::add(std::string_view token, int32_t id) {
  if (has(id)) return Added::id_is_taken;
  if ((static_cast<size_t>(tokens_) + 1) * 4 > slots_.size() * 3) resize(std::max<size_t>(64, slots_.size() * 2));
  const size_t at = slot(token);
  if (slots_[at] != kFree) return Added::token_is_there;
  const auto index = static_cast<size_t>(tokens_);
  if (by_id_.empty() && id != tokens_) {  // ids no longer count up
    for (int32_t i = 0; i < tokens_; ++i) ids_.push_back(i);
    by_id_ = ids_;
  }
  if (id != tokens_ || !by_id_.empty()) {
    ids_.push_back(id);
    if (static_cast<size_t>(id) >= by_id_.size()) by_id_.resize(static_cast<size_t>(id) + 1, kNoToken);
    by_id_[static_cast<size_t>(id)] = static_cast<int32_t>(index);
  }
  slots_[at] = slot_value(index, hash_bytes(token));
  bytes_ += token;
  ends_.push_back(static_cast<uint32_t>(bytes_.size()));
  ++tokens_;
  next_id_ = std::max(next_id_, int64_t{id} + 1);
  longest_ = std::max(longest_, token.size());
  return Added::new_token;
}

uint32_t TokenTable::slot_value(size_t index, uint64_t hash) const {
  return static_cast<uint32_t>(index | (hash >> 32) << index_bits_);
}

size_t TokenTable::slot(std::string_view token) const {
  const uint64_t hash = hash_bytes(token);
  const uint32_t index_mask = (uint32_t{1} << index_bits_) - 1, tag = slot_value(0, hash);
  const size_t mask = slots_.size() - 1;
  for (size_t at = hash & mask;; at = (at + 1) & mask) {
    const uint32_t value = slots_[at];
    if (value == kFree) return at;
    if ((value & ~index_mask) == tag && text(value & index_mask) == token) return at;
  }
}

size_t TokenTable::free_slot(uint64_t hash) const {
  const size_t mask = slots_.size() - 1;
  size_t at = hash & mask;
  while (slots_[at] != kFree) at = (at + 1) & mask;
  return at;
}

/// Indices have fewer values than slots, so that none looks like a free slot.
void TokenTable::resize(size_t slots) {
  slots_ = {};
  slots_.assign(slots, kFree);
  for (index_bits_ = 0; size_t{1} << index_bits_ < slots;) ++index_bits_;
  for (size_t i = 0; i < static_cast<size_t>(tokens_); ++i) {
    const uint64_t hash = hash_bytes(text(i));
    slots_[free_slot(hash)] = slot_value(i, hash);
  }
}

int32_t TokenTable::id(std::string_view token) const {
  if (slots_.empty()) return kNoToken;
  const uint32_t value = slots_[slot(token)];
  if (value == kFree) return kNoToken;
  const uint32_t index = value & ((uint32_t{1} << index_bits_) - 1);
  return by_id_.empty() ? static_cast<int32_t>(index) : ids_[index];
}

int64_t TokenTable::index_of(int64_t id) const {
  if (by_id_.empty()) return id >= 0 && id < tokens_ ? id : -1;
  return id >= 0 && id < static_cast<int64_t>(by_id_.size()) ? by_id_[static_cast<size_t>(id)] : -1;
}

bool TokenTable::has(int64_t id) const { return index_of(id) >= 0; }

std::string_view TokenTable::token(int64_t id) const {
  const int64_t index = index_of(id);
  return index < 0 ? std::string_view() : text(static_cast<size_t>(index));
}

}  // namespace etude
