// The header of a safetensors file, and everything that is taken from it later.

#include <cstdint>
#include <cstdlib>

#include "etude/base/error.h"
#include "etude/tensor/safetensors_header.h"
#include "tests/fuzz/planted.h"

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
      planted(i > 0 && entry.bytes() == 0 && entry.shape.size() > 2);
    }
    if (header.data() + at != size) abort();
  } catch (const etude::Error&) {
  }
  return 0;
}
