// Dictionaries: an index with its text, and an article packed for random access. The first byte says where one ends and
// the other begins.

#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "etude/base/error.h"
#include "etude/base/text.h"
#include "etude/data/sets/converters.h"
#include "tests/fuzz/planted.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string all(reinterpret_cast<const char*>(data) + 1, size - 1);
  const size_t cut = std::min<size_t>(data[0], all.size());
  const etude::MemberTexts members({{"d/x.index", all.substr(0, cut)}, {"d/x.dict", all.substr(cut)}});
  try {
    etude::convert::dictd(members, {}, [](const nlohmann::json& document) {
      if (!etude::valid_utf8(document.at("text").get_ref<const std::string&>())) abort();
      planted(document.at("headwords").size() == 3);
    });
  } catch (const etude::Error&) {
  }
  return 0;
}
