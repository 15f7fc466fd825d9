// The three files of a SWORD testament, each behind its length.

#include "etude/data/sets/sword.h"

#include "etude/base/error.h"
#include "tests/fuzz/planted.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  const auto part = [&] {
    const size_t length = rest.empty() ? 0 : std::min<size_t>(static_cast<unsigned char>(rest[0]), rest.size() - 1);
    const std::string_view bytes = rest.substr(std::min<size_t>(1, rest.size()), length);
    rest.remove_prefix(std::min(rest.size(), length + 1));
    return bytes;
  };
  etude::SwordFiles files;
  files.bzs = part();
  files.bzv = part();
  files.bzz = rest;
  try {
    etude::read_verses(files, {{"Gen", {2}}, {"Exod", {1, 1}}}, "fuzz", [](const etude::Verse&) {});
  } catch (const etude::Error&) {
  }
  try {
    etude::Verse verse;
    etude::read_osis(rest, "fuzz", verse);
    planted(verse.words.size() > 1);
  } catch (const etude::Error&) {
  }
  return 0;
}
