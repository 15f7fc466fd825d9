// Packed files; the first byte says how and in pieces of which size they come.

#include <cstdint>
#include <cstdlib>

#include "etude/base/error.h"
#include "etude/data/corpus/compressed.h"
#include "tests/fuzz/planted.h"

using namespace etude::corpus;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const Packing packing = data[0] % 3 == 0 ? Packing::gzip : data[0] % 3 == 1 ? Packing::zstd : Packing::xz;
  const UnpackLimits limits = {100, int64_t{1} << 16};
  int64_t made = 0;
  try {
    const auto source = unpacked(std::make_unique<MemoryBytes>(bytes, "fuzz", 1 + data[0] / 3), packing, limits);
    for (std::string_view piece; !(piece = source->next()).empty();) {
      made += static_cast<int64_t>(piece.size());
      planted(packing == Packing::gzip && piece.starts_with('#'));
    }
  } catch (const etude::Error&) {
  }
  // One piece may go beyond the limit before it is seen.
  if (made > limits.free + limits.ratio * static_cast<int64_t>(size)) abort();
  return 0;
}
