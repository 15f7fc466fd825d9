// A vocab.json, a NUL, and a merges.txt.

#include <cstdint>
#include <cstdlib>

#include "etude/base/error.h"
#include "etude/data/tokenizers/tokenizer_readers.h"
#include "tests/fuzz/planted.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  const size_t cut = std::min(bytes.find('\0'), bytes.size());
  try {
    const auto tokenizer =
        etude::parse_merges(bytes.substr(0, cut), "vocab", bytes.substr(std::min(cut + 1, bytes.size())), "merges");
    planted(tokenizer->vocabulary() >= 20);
    for (const std::string& text : {std::string("ab abab\nba"), std::string(60, 'a') + "b"}) {
      const std::vector<int32_t> ids = tokenizer->encode(text);
      for (const int32_t id : ids) {
        if (id < 0 || id >= tokenizer->vocabulary()) abort();
      }
      tokenizer->decode({ids.begin(), ids.end()});
    }
  } catch (const etude::Error&) {
  }
  return 0;
}
