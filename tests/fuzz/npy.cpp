// Arrays of token ids.

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
  try {
    const TokenRun run = token_run(bytes.substr(0, kTokenHead), static_cast<int64_t>(size), "fuzz.npy");
    if (run.count < 1 || run.offset + run.count * run.width() != static_cast<int64_t>(size)) abort();
    std::vector<int32_t> ids(static_cast<size_t>(run.count));
    read_tokens(bytes, run, 0, run.count, 1000, "fuzz.npy", ids.data());
    planted(run.type == TokenRun::Type::i4 && ids.front() != 1);
    if (*std::min_element(ids.begin(), ids.end()) < 0 || *std::max_element(ids.begin(), ids.end()) >= 1000) abort();
  } catch (const etude::Error&) {
  }
  return 0;
}
