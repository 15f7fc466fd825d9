// JSON lines, in pieces of any size, and one field of a JSON object.

#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "etude/base/error.h"
#include "etude/data/corpus/json_field.h"
#include "etude/data/corpus/readers.h"
#include "etude/data/corpus/utf8.h"
#include "tests/fuzz/planted.h"

using namespace etude;

namespace {

void read_lines(std::string_view bytes, size_t piece) {
  try {
    const auto reader =
        corpus::json_lines(std::make_unique<corpus::MemoryBytes>(bytes, "fuzz", piece), "fuzz", "a.b", size_t{1} << 16);
    for (Document document; reader->next(document);) {
      if (document.text.empty() || find_fault(document.text).offset >= 0) abort();
      planted(document.text.find('/') != std::string::npos);
    }
  } catch (const Error&) {
  }
}

/// Another parser must take what this one takes, and the other way round.
void compare(std::string_view bytes) {
  // The other one passes over a byte order mark, which here is taken off before a line is looked at.
  if (find_fault(bytes).offset >= 0 || bytes.starts_with("\xEF\xBB\xBF")) return;
  bool taken = true;
  try {
    corpus::json_field(bytes, "a.b", "fuzz");
    corpus::json_names(bytes);
  } catch (const Error& error) {
    // What is JSON, but no text.
    if (error.message().find("JSON") == std::string::npos) return;
    taken = false;
  }
  const nlohmann::json other = nlohmann::json::parse(bytes, nullptr, false);
  const bool overflow = other.is_discarded() && taken;  // numbers beyond a double are numbers all the same
  if (!overflow && taken != other.is_object()) abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  read_lines(bytes, 1 + data[0]);
  compare(bytes);
  return 0;
}
