#pragma once
// Files of tokens that were made once out of a text, and are mapped into memory whenever it is used again.
//
//   bytes 0..127     "etudetok", version (uint32), bytes of an id (uint32, 2 or 4), key (64 hexadecimal digits), zeros
//   then             ids, little-endian
//   last 128 bytes   ids, documents, documents without text (int64 each), SHA-256 of the first 128 bytes and of these
//                    numbers (64 hexadecimal digits), zeros, "etudeend"
//
// Opening one reads its two ends only, whatever its size.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "etude/base/file.h"

namespace etude::corpus {

struct TokenCacheInfo {
  std::string key;
  int64_t width = 2;  ///< bytes of an id
  int64_t tokens = 0, documents = 0, empty = 0;
};

inline constexpr std::string_view kCacheMagic = "etudetok";  ///< what a file begins with
inline constexpr int64_t kCacheHead = 128, kCacheTail = 128;

/// What the two ends of a file of `size` bytes say. Errors: Code::data at `name`: anything that is not as above.
TokenCacheInfo token_cache_info(std::string_view head, std::string_view tail, int64_t size, const std::string& name);

/// Writes such a file into `writer`, from its beginning on.
class TokenCacheWriter {
 public:
  /// Required: 1 <= vocabulary <= 2^31, which decides the width; a key of 64 characters.
  TokenCacheWriter(file::Writer& writer, const std::string& key, int64_t vocabulary);
  void add(std::span<const int32_t> ids);
  void finish(int64_t documents, int64_t empty);

 private:
  void flush();

  file::Writer& writer_;
  std::string head_, buffer_;
  int64_t width_, tokens_ = 0;
};

}  // namespace etude::corpus
