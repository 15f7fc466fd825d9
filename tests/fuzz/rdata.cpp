// R's data files: a value, named values, and the index of a package with its values.

#include "etude/data/sets/rdata.h"
#include "etude/base/error.h"
#include "tests/fuzz/planted.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  try {
    const etude::RValue value = etude::read_rds(bytes, "fuzz");
    for (size_t i = 0; i < value->size() && i < 3; ++i) value->text(i);
    planted(value->kind == etude::RKind::logical && value->size() > 0);
    etude::data_frame(*value, "fuzz");
  } catch (const etude::Error&) {
  }
  try {
    etude::read_rda(bytes, "fuzz");
  } catch (const etude::Error&) {
  }
  try {
    const etude::RLazyData lazy(bytes, bytes, "fuzz");
    for (const std::string& name : lazy.names()) lazy.read(name);
  } catch (const etude::Error&) {
  }
  return 0;
}
