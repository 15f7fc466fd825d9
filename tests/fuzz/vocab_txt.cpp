// A vocab.txt, and text through BERT's pipeline over it.

#include <cstdint>
#include <cstdlib>

#include "etude/base/error.h"
#include "etude/data/tokenizers/tokenizer_readers.h"
#include "tests/fuzz/planted.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto tokenizer = etude::parse_vocabulary_txt({reinterpret_cast<const char*>(data), size}, "fuzz");
    planted(tokenizer->token(1).size() > 12);
    const std::vector<int32_t> ids = tokenizer->encode("Hello, wörld! e\u0301 中文 \xff");
    for (const int32_t id : ids) {
      if (id < 0 || id >= tokenizer->vocabulary()) abort();
    }
    tokenizer->decode({ids.begin(), ids.end()});
  } catch (const etude::Error&) {
  }
  return 0;
}
