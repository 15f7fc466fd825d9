// Files of token ids with and without a header.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "etude/base/error.h"
#include "etude/data/corpus/token_file.h"
#include "tests/fuzz/planted.h"

using namespace etude::corpus;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  for (const char* name : {"fuzz.bin", "fuzz.u32.bin"}) {
    try {
      const TokenRun run = token_run(bytes.substr(0, kTokenHead), static_cast<int64_t>(size), name);
      if (run.count < 1 || run.offset + run.count * run.width() != static_cast<int64_t>(size)) abort();
      std::vector<int32_t> ids(static_cast<size_t>(run.count));
      read_tokens(bytes, run, 0, run.count, 50000, name, ids.data());
      planted(run.offset == 1024 && ids.front() != 5);
      if (*std::min_element(ids.begin(), ids.end()) < 0 || *std::max_element(ids.begin(), ids.end()) >= 50000) abort();
    } catch (const etude::Error&) {
    }
  }
  return 0;
}
