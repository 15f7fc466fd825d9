// Tables; the first byte says how long the pieces are that they come in, and whether tabs or commas are between cells.

#include <cstdint>
#include <cstdlib>

#include "etude/base/error.h"
#include "etude/data/corpus/readers.h"
#include "etude/data/corpus/utf8.h"
#include "tests/fuzz/planted.h"

using namespace etude;

namespace {

/// All documents and what ended them.
std::string read(std::string_view bytes, char delimiter, size_t piece) {
  std::string all;
  try {
    const auto reader = corpus::delimited(std::make_unique<corpus::MemoryBytes>(bytes, "fuzz", piece), "fuzz", "t",
                                          delimiter, size_t{1} << 16);
    for (Document document; reader->next(document);) {
      if (document.text.empty() || find_fault(document.text).offset >= 0) abort();
      planted(document.text.find("\"\r\n\"") != std::string::npos);
      all += document.name + "=" + document.text + ";";
    }
  } catch (const Error& error) {
    all += error.what();
  }
  return all;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const char delimiter = data[0] & 1 ? ',' : '\t';
  if (read(bytes, delimiter, 1 + data[0] / 2) != read(bytes, delimiter, 1 << 20)) abort();
  return 0;
}
