// The two ends of a file of tokens, with a hash that fits: what is behind it must be checked all the same.

#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "etude/base/error.h"
#include "etude/base/file.h"
#include "etude/data/corpus/token_cache_format.h"
#include "tests/fuzz/planted.h"

using namespace etude::corpus;

namespace {

void look(std::string_view bytes) {
  const std::string_view tail = bytes.substr(bytes.size() - std::min<size_t>(bytes.size(), kCacheTail));
  try {
    const TokenCacheInfo info =
        token_cache_info(bytes.substr(0, kCacheHead), tail, static_cast<int64_t>(bytes.size()), "fuzz");
    const int64_t ids = static_cast<int64_t>(bytes.size()) - kCacheHead - kCacheTail;
    if (info.width * info.tokens != ids || info.tokens < 0 || info.documents < 0 || info.key.size() != 64) abort();
    planted(info.documents != 1);
  } catch (const etude::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string bytes(reinterpret_cast<const char*>(data), size);
  look(bytes);
  if (size < kCacheHead + kCacheTail) return 0;
  const size_t tail = size - kCacheTail;
  bytes.replace(tail + 24, 64, etude::file::sha256(bytes.substr(0, kCacheHead) + bytes.substr(tail, 24)));
  look(bytes);
  return 0;
}
