// A tokenizer.json, and text through what it describes.

#include <cstdint>
#include <cstdlib>

#include "etude/base/error.h"
#include "etude/data/tokenizers/tokenizer_readers.h"
#include "tests/fuzz/planted.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto tokenizer = etude::parse_tokenizer_json({reinterpret_cast<const char*>(data), size}, "fuzz");
    planted(tokenizer->token(0).size() > 6 || tokenizer->token(7).size() > 6);
    for (const char* text : {"ab abc  (c) 12\n", "Ünïcode e\u0301 中文 😀", "\xff\xc0 a"}) {
      const std::vector<int32_t> ids = tokenizer->encode(text);
      for (const int32_t id : ids) {
        if (id < 0 || id >= tokenizer->vocabulary()) abort();
      }
      if (tokenizer->encode_with_offsets(text).ids != ids) abort();
      tokenizer->decode({ids.begin(), ids.end()});
    }
  } catch (const etude::Error&) {
  }
  return 0;
}
