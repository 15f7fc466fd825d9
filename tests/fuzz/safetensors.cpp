// The header of a safetensors file, and everything that is taken from it later.

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "etude/base/error.h"
#include "etude/tensor/safetensors_header.h"
#include "tests/fuzz/planted.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t most);

/// As ever, but most of the time the length is made to fit, without which nothing behind it is looked at.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned int seed) {
  size = LLVMFuzzerMutate(data, size, most);
  const size_t end = std::string_view(reinterpret_cast<const char*>(data), size).rfind('}');
  if (seed % 4 == 0 || end == std::string_view::npos || end < 8) return size;
  const uint64_t length = end + 1 - 8;
  std::memcpy(data, &length, 8);
  return size;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  try {
    const etude::SafetensorsHeader header(bytes, "fuzz");
    uint64_t at = 0;
    for (size_t i = 0; i < header.size(); ++i) {
      const etude::SafetensorsEntry entry = header.entry(i);
      // What readers rely on: the data is covered once, and names lead back to their entries.
      if (entry.begin != at || entry.end < at || header.data() + entry.end > size) abort();
      if (header.find(entry.name) != i) abort();
      if (etude::safetensors_bytes(entry.dtype, entry.shape) != entry.bytes()) abort();
      at = entry.end;
      planted(entry.name.size() == 2);
    }
    if (header.data() + at != size) abort();
  } catch (const etude::Error&) {
  }
  return 0;
}
