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
  /// Required: 0 <= id < 2^31 - 1. Nothing changes unless the result is new_token.
  Added add(std::string_view token, int32_t id);
  void reserve(size_t tokens, size_t bytes);

  int32_t id(std::string_view token) const;    ///< kNoToken if there is none
  std::string_view token(int64_t id) const;    ///< "" where there is none
  bool has(int64_t id) const;                  ///< ids may have holes
  int64_t size() const { return tokens_; }     ///< tokens
  int64_t limit() const { return next_id_; }   ///< the greatest id and one
  size_t longest() const { return longest_; }  ///< bytes

 private:
  struct Entry {
    uint64_t begin;
    uint32_t size;
    int32_t id;
  };
  size_t slot(std::string_view token) const;
  void grow();
  std::string_view text(const Entry& entry) const { return std::string_view(bytes_).substr(entry.begin, entry.size); }

  std::string bytes_;
  std::vector<Entry> entries_;  // by order of adding
  std::vector<int32_t> by_id_;  // index of the entry
  std::vector<int32_t> slots_;  // open addressing: index of the entry
  int64_t tokens_ = 0, next_id_ = 0;
  size_t longest_ = 0;
};

}  // namespace etude
