#pragma once
// Debian packages and packed files, read with libarchive. Nothing is executed and no path of an archive is used as it
// stands.

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace etude {

/// What reading one package may come to. Everything beyond is refused, before memory or disk is taken for it.
struct ArchiveLimits {
  int64_t member_bytes = int64_t{1} << 30;
  int64_t bytes = int64_t{8} << 30;  ///< of all that the package holds, wanted or not
  int64_t entries = 200'000;
};

/// A regular file in a package.
struct ArchiveMember {
  std::string path;  ///< "usr/share/...": without "./", never empty, no "..", not absolute
  std::string bytes;
};

/// Hands out the regular files of a .deb whose paths `wanted` takes, in the order in which they are packed. Links,
/// devices and folders are passed over, whatever their name; a wanted path that comes twice is refused, and so is one
/// that is absolute, climbs out with "..", or has control characters.
/// Errors: Code::data with the package's path and what is wrong with it: no Debian package, one that is cut or
/// damaged, beyond the limits; Code::io when it can't be opened.
void read_deb(const std::string& path, const std::function<bool(const std::string&)>& wanted,
              const std::function<void(ArchiveMember)>& take, const ArchiveLimits& limits = {});
/// The same of bytes in memory; `name` is for messages.
void read_deb_bytes(std::string_view bytes, const std::string& name,
                    const std::function<bool(const std::string&)>& wanted,
                    const std::function<void(ArchiveMember)>& take, const ArchiveLimits& limits = {});

/// The content of one packed file: gzip, xz, zstd, lz4, bzip2, lzma by its first bytes; anything else is returned as it
/// is. Errors: Code::data naming the file for damage, for bytes behind the end, and beyond `most` bytes.
std::string unpacked(std::string bytes, const std::string& name, int64_t most = int64_t{1} << 30);

}  // namespace etude
