#pragma once
// For tests: Debian packages of a few bytes, honest and hostile.

#include <archive.h>
#include <archive_entry.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace etude::testing_deb {

struct Entry {
  std::string path, content;
  int type = AE_IFREG;
  std::string target = {};  ///< of links
};

inline std::string written(const std::function<void(archive*)>& set_up, const std::vector<Entry>& entries) {
  std::string out(1 << 20, '\0');
  size_t used = 0;
  archive* const a = archive_write_new();
  set_up(a);
  archive_write_set_bytes_in_last_block(a, 1);
  archive_write_open_memory(a, out.data(), out.size(), &used);
  for (const Entry& e : entries) {
    archive_entry* const entry = archive_entry_new();
    archive_entry_set_pathname(entry, e.path.c_str());
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_filetype(entry, static_cast<unsigned>(e.type));
    archive_entry_set_size(entry, static_cast<la_int64_t>(e.content.size()));
    if (e.type == AE_IFLNK) archive_entry_set_symlink(entry, e.target.c_str());
    if (e.type == AE_IFREG && !e.target.empty()) archive_entry_set_hardlink(entry, e.target.c_str());
    archive_write_header(a, entry);
    archive_write_data(a, e.content.data(), e.content.size());
    archive_entry_free(entry);
  }
  archive_write_close(a);
  archive_write_free(a);
  out.resize(used);
  return out;
}

inline std::string tar(const std::vector<Entry>& entries, int filter = ARCHIVE_FILTER_XZ) {
  return written(
      [&](archive* a) {
        archive_write_set_format_gnutar(a);
        archive_write_add_filter(a, filter);
      },
      entries);
}

inline std::string ar(const std::vector<Entry>& entries) {
  return written([](archive* a) { archive_write_set_format_ar_bsd(a); }, entries);
}

/// A package that holds these files.
inline std::string deb(const std::vector<Entry>& entries, int filter = ARCHIVE_FILTER_XZ,
                       const std::string& data_name = "data.tar.xz") {
  return ar({{"debian-binary", "2.0\n"},
             {"control.tar.xz", tar({{"./control", "Package: some\n"}})},
             {data_name, tar(entries, filter)}});
}

}  // namespace etude::testing_deb
