#pragma once
// A vocabulary: tokens by id and ids by token, in three flat arrays.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace etude {

inline constexpr int32_t kNoToken = -1;

/// A hash of a few bytes, for tables in memory only.
uint64_t hash_bytes(std::string_view bytes);

class TokenTable {
 public:
  enum class Added { new_token, token_is_there, id_is_taken };
  /// Required: 0 <= id < 2^31 - 1, and all tokens together take less than 4 GiB. Nothing changes unless the result is
  /// new_token.
  Added add(std::string_view token, int32_t id);
  /// Memory for so many tokens of so many bytes in all: what is added then needs no more.
  void reserve(size_t tokens, size_t bytes);

  int32_t id(std::string_view token) const;    ///< kNoToken if there is none
  std::string_view token(int64_t id) const;    ///< "" where there is none
  bool has(int64_t id) const;                  ///< ids may have holes
  int64_t size() const { return tokens_; }     ///< tokens
  int64_t limit() const { return next_id_; }   ///< the greatest id and one
  size_t longest() const { return longest_; }  ///< bytes

 private:
  /// Of a slot: which token, and some bits of its hash, so that few others are looked at.
  static constexpr uint32_t kFree = ~uint32_t{0};
  size_t slot(std::string_view token) const;
  size_t free_slot(uint64_t hash) const;
  void resize(size_t slots);
  uint32_t slot_value(size_t index, uint64_t hash) const;
  std::string_view text(size_t index) const {
    return std::string_view(bytes_).substr(ends_[index], ends_[index + 1] - ends_[index]);
  }
  int64_t index_of(int64_t id) const;

  std::string bytes_;
  std::vector<uint32_t> ends_{0};  // of the tokens in the order of adding, behind where the first begins
  std::vector<int32_t> ids_;       // of those tokens, and
  std::vector<int32_t> by_id_;     // their places by id; both empty as long as ids count up from 0
  std::vector<uint32_t> slots_;    // open addressing
  int index_bits_ = 0;
  int64_t tokens_ = 0, next_id_ = 0;
  size_t longest_ = 0;
};

}  // namespace etude
