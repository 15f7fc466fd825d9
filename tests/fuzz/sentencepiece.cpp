// A sentencepiece model, and text through the library that reads it.

#include <cstdint>
#include <cstdlib>

#include "etude/base/error.h"
#include "etude/data/tokenizers/sentencepiece_tokenizer.h"
#include "tests/fuzz/planted.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto tokenizer = etude::parse_sentencepiece({reinterpret_cast<const char*>(data), size}, "fuzz");
    planted(tokenizer->vocabulary() == 5);
    for (const char* text : {"ab ba  b", "Ünï 中文 😀 ", "\xff\xc0 a"}) {
      const std::vector<int32_t> ids = tokenizer->encode(text);
      for (const int32_t id : ids) {
        if (id < 0 || id >= tokenizer->vocabulary()) abort();
      }
      tokenizer->encode_with_offsets(text);
      tokenizer->decode({ids.begin(), ids.end()});
    }
  } catch (const etude::Error&) {
  }
  return 0;
}
