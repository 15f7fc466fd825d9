// Catalogues of messages.

#include "etude/data/sets/mo.h"

#include "etude/base/error.h"
#include "tests/fuzz/planted.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto messages = etude::read_mo(std::string_view(reinterpret_cast<const char*>(data), size), "fuzz");
    for (const etude::Message& message : messages) planted(!message.context.empty());
  } catch (const etude::Error&) {
  }
  return 0;
}
