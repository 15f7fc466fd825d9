// Manual pages.

#include "etude/data/sets/roff.h"

#include "etude/base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    etude::read_manual_page(std::string_view(reinterpret_cast<const char*>(data), size), "fuzz");
  } catch (const etude::Error&) {
  }
  return 0;
}
