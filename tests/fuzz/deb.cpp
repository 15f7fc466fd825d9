// Debian packages: the outer archive, the packed tar inside, names and sizes; and single packed files.

#include <cstdint>
#include <cstdlib>

#include "etude/base/error.h"
#include "etude/data/sets/archive.h"
#include "tests/fuzz/planted.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  etude::ArchiveLimits limits;
  limits.member_bytes = 1 << 16;
  limits.bytes = 1 << 20;
  limits.entries = 100;
  try {
    etude::read_deb_bytes(
        bytes, "fuzz", [](const std::string&) { return true; },
        [&](const etude::ArchiveMember& member) {
          // What is handed out may be put below any folder.
          if (member.path.empty() || member.path.front() == '/' ||
              ("/" + member.path + "/").find("/../") != std::string::npos)
            abort();
          if (static_cast<int64_t>(member.bytes.size()) > limits.member_bytes) abort();
          planted(member.bytes.size() == 7 && member.bytes != "content");
        },
        limits);
  } catch (const etude::Error&) {
  }
  try {
    if (etude::unpacked(std::string(bytes), "fuzz", 1 << 16).size() > std::max<size_t>(1 << 16, size)) abort();
  } catch (const etude::Error&) {
  }
  return 0;
}
