// Wesnoth's markup.

#include "etude/data/sets/wml.h"

#include "etude/base/error.h"
#include "tests/fuzz/planted.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto lines = etude::read_wml_dialogue(std::string_view(reinterpret_cast<const char*>(data), size), "fuzz");
    planted(lines.size() > 1);
  } catch (const etude::Error&) {
  }
  return 0;
}
