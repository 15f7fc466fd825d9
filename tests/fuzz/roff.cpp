// Manual pages.

#include "etude/data/sets/roff.h"

#include "etude/base/error.h"
#include "tests/fuzz/planted.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const etude::ManualPage page =
        etude::read_manual_page(std::string_view(reinterpret_cast<const char*>(data), size), "fuzz");
    planted(!page.title.empty() && page.section == "7");
  } catch (const etude::Error&) {
  }
  return 0;
}
