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
  entries_.reserve(tokens);
  by_id_.reserve(tokens);
  bytes_.reserve(bytes);
}

TokenTable::Added TokenTable::add(std::string_view token, int32_t id) {
  if (has(id)) return Added::id_is_taken;
  if ((entries_.size() + 1) * 4 > slots_.size() * 3) grow();
  const size_t at = slot(token);
  if (slots_[at] != kNoToken) return Added::token_is_there;
  slots_[at] = static_cast<int32_t>(entries_.size());
  if (static_cast<size_t>(id) >= by_id_.size()) by_id_.resize(static_cast<size_t>(id) + 1, kNoToken);
  by_id_[static_cast<size_t>(id)] = static_cast<int32_t>(entries_.size());
  entries_.push_back({bytes_.size(), static_cast<uint32_t>(token.size()), id});
  bytes_ += token;
  ++tokens_;
  next_id_ = std::max(next_id_, int64_t{id} + 1);
  longest_ = std::max(longest_, token.size());
  return Added::new_token;
}

size_t TokenTable::slot(std::string_view token) const {
  const size_t mask = slots_.size() - 1;
  size_t at = hash_bytes(token) & mask;
  while (slots_[at] != kNoToken && text(entries_[static_cast<size_t>(slots_[at])]) != token) at = (at + 1) & mask;
  return at;
}

void TokenTable::grow() {
  slots_.assign(std::max<size_t>(64, slots_.size() * 2), kNoToken);
  for (size_t i = 0; i < entries_.size(); ++i) slots_[slot(text(entries_[i]))] = static_cast<int32_t>(i);
}

int32_t TokenTable::id(std::string_view token) const {
  if (slots_.empty()) return kNoToken;
  const int32_t entry = slots_[slot(token)];
  return entry == kNoToken ? kNoToken : entries_[static_cast<size_t>(entry)].id;
}

bool TokenTable::has(int64_t id) const {
  return id >= 0 && id < static_cast<int64_t>(by_id_.size()) && by_id_[static_cast<size_t>(id)] != kNoToken;
}

std::string_view TokenTable::token(int64_t id) const {
  if (!has(id)) return {};
  return text(entries_[static_cast<size_t>(by_id_[static_cast<size_t>(id)])]);
}

}  // namespace etude
