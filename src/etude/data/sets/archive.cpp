#include "etude/data/sets/archive.h"

#include <archive.h>
#include <archive_entry.h>

#include <algorithm>
#include <memory>
#include <set>

#include "etude/base/error.h"
#include "etude/base/file.h"
#include "etude/base/mapped_file.h"
#include "etude/base/text.h"

namespace etude {
namespace {

constexpr size_t kBlock = 1 << 16;

[[noreturn]] void refuse(const std::string& name, const std::string& what) {
  throw Error(Code::data, what, name, "fetch it again; if that doesn't help, the copy in the archive is at fault");
}

struct Freed {
  void operator()(archive* a) const { archive_read_free(a); }
};
using Archive = std::unique_ptr<archive, Freed>;

Archive new_archive() {
  Archive a(archive_read_new());
  if (!a) throw std::bad_alloc();
  return a;
}

/// Filters that libarchive has inside; those that would start a program of the system are left out.
void support_filters(archive* a) {
  archive_read_support_filter_gzip(a);
  archive_read_support_filter_xz(a);
  archive_read_support_filter_zstd(a);
  archive_read_support_filter_lz4(a);
  archive_read_support_filter_bzip2(a);
  archive_read_support_filter_lzma(a);
}

std::string complaint(archive* a) {
  const char* const text = archive_error_string(a);
  return text ? printable(text) : "it is cut or damaged";
}

void check(archive* a, int result, const std::string& name) {
  if (result < ARCHIVE_WARN) refuse(name, "the package can't be read: " + complaint(a));
}

/// The next entry, or none at the end. Warnings (odd names, times) are no concern of ours.
archive_entry* next(archive* a, const std::string& name) {
  archive_entry* entry = nullptr;
  const int result = archive_read_next_header(a, &entry);
  if (result == ARCHIVE_EOF) return nullptr;
  check(a, result, name);
  return entry;
}

/// "./usr/share/x" as "usr/share/x"; "" for a path that is not to be trusted.
std::string clean_path(const char* raw) {
  std::string_view path(raw ? raw : "");
  while (path.starts_with("./")) path.remove_prefix(2);
  if (path.empty() || path.size() > 4096 || path.front() == '/' || !valid_utf8(path)) return "";
  if (std::any_of(path.begin(), path.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F || c == '\\'; }))
    return "";
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = path.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") return "";
    begin = end + 1;
  }
  return std::string(path);
}

/// Bytes of the current entry, checked against what its header says and what may be taken.
std::string content(archive* a, archive_entry* entry, const std::string& path, const std::string& name,
                    const ArchiveLimits& limits) {
  std::string bytes;
  std::vector<char> block(kBlock);
  for (la_ssize_t n; (n = archive_read_data(a, block.data(), block.size())) != 0;) {
    if (n < 0) refuse(name, "its member " + path + " is cut or damaged: " + complaint(a));
    if (static_cast<int64_t>(bytes.size()) + n > limits.member_bytes)
      refuse(name, "its member " + path + " has more than " + std::to_string(limits.member_bytes) + " bytes");
    bytes.append(block.data(), static_cast<size_t>(n));
  }
  if (archive_entry_size_is_set(entry) && archive_entry_size(entry) != static_cast<la_int64_t>(bytes.size()))
    refuse(name, "its member " + path + " has " + std::to_string(bytes.size()) + " bytes instead of " +
                     std::to_string(archive_entry_size(entry)));
  return bytes;
}

/// The tar inside the package, through the part of the outer archive that is open.
struct Inside {
  archive* outer;
  std::vector<char> block = std::vector<char>(kBlock);
};

la_ssize_t read_inside(archive* inner, void* data, const void** buffer) {
  auto* const inside = static_cast<Inside*>(data);
  *buffer = inside->block.data();
  const la_ssize_t n = archive_read_data(inside->outer, inside->block.data(), inside->block.size());
  if (n < 0) archive_set_error(inner, archive_errno(inside->outer), "%s", archive_error_string(inside->outer));
  return n;
}

void read_tar(archive* outer, const std::string& name, const std::function<bool(const std::string&)>& wanted,
              const std::function<void(ArchiveMember)>& take, const ArchiveLimits& limits) {
  const Archive tar = new_archive();
  support_filters(tar.get());
  archive_read_support_format_tar(tar.get());
  Inside inside{outer};
  check(tar.get(), archive_read_open(tar.get(), &inside, nullptr, read_inside, nullptr), name);
  std::set<std::string> taken;
  int64_t bytes = 0, entries = 0;
  while (archive_entry* const entry = next(tar.get(), name)) {
    const int64_t size = archive_entry_size_is_set(entry) ? archive_entry_size(entry) : 0;
    if (++entries > limits.entries) refuse(name, "it holds more than " + std::to_string(limits.entries) + " files");
    if (size < 0 || size > limits.bytes - bytes)
      refuse(name, "unpacked it has more than " + std::to_string(limits.bytes) + " bytes");
    bytes += size;
    if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry)) continue;
    const char* const raw = archive_entry_pathname(entry);
    const std::string path = clean_path(raw);
    if (path.empty())
      refuse(name, "it has a member with the name '" + printable(raw ? raw : "") + "', which may not be unpacked");
    if (!wanted(path)) continue;
    if (!taken.insert(path).second) refuse(name, "it has " + path + " twice");
    if (size > limits.member_bytes)
      refuse(name, "its member " + path + " has more than " + std::to_string(limits.member_bytes) + " bytes");
    take({path, content(tar.get(), entry, path, name, limits)});
  }
}

}  // namespace

void read_deb_bytes(std::string_view bytes, const std::string& name,
                    const std::function<bool(const std::string&)>& wanted,
                    const std::function<void(ArchiveMember)>& take, const ArchiveLimits& limits) {
  if (!bytes.starts_with("!<arch>\n")) refuse(name, "this is no Debian package: it doesn't begin like one");
  const Archive package = new_archive();
  archive_read_support_format_ar(package.get());
  check(package.get(), archive_read_open_memory(package.get(), bytes.data(), bytes.size()), name);
  bool versioned = false;
  while (archive_entry* const entry = next(package.get(), name)) {
    const char* const raw = archive_entry_pathname(entry);
    const std::string part = raw ? raw : "";
    if (part == "debian-binary") {
      ArchiveLimits small = limits;
      small.member_bytes = 64;
      const std::string version = content(package.get(), entry, part, name, small);
      if (!version.starts_with("2."))
        refuse(name, "it is a Debian package of version '" + std::string(trim(printable(version))) +
                         "'; version 2 can be read");
      versioned = true;
    } else if (part.starts_with("data.tar")) {
      if (!versioned) refuse(name, "this is no Debian package: it has no debian-binary before its data");
      return read_tar(package.get(), name, wanted, take, limits);
    }
  }
  refuse(name, "this is no whole Debian package: it has no data");
}

void read_deb(const std::string& path, const std::function<bool(const std::string&)>& wanted,
              const std::function<void(ArchiveMember)>& take, const ArchiveLimits& limits) {
  const file::Mapped package(path, file::Mapped::Access::sequential);
  read_deb_bytes(package.bytes(), path, wanted, take, limits);
  package.require_whole();
}

std::string unpacked(std::string bytes, const std::string& name, int64_t most) {
  using namespace std::string_view_literals;
  const bool packed = bytes.starts_with("\x1F\x8B"sv) ||
                      bytes.starts_with(
                          "\xFD"
                          "7zXZ\0"sv) ||
                      bytes.starts_with("\x28\xB5\x2F\xFD"sv) || bytes.starts_with("\x04\x22\x4D\x18"sv) ||
                      bytes.starts_with("BZh"sv) || bytes.starts_with("\x5D\0\0"sv);
  if (!packed) return bytes;
  const Archive a = new_archive();
  support_filters(a.get());
  archive_read_support_format_raw(a.get());
  if (archive_read_open_memory(a.get(), bytes.data(), bytes.size()) < ARCHIVE_WARN || !next(a.get(), name))
    refuse(name, "the packed file can't be read: " + complaint(a.get()));
  if (archive_filter_count(a.get()) < 2) return bytes;  // none of the formats after all
  std::string out;
  std::vector<char> block(kBlock);
  for (la_ssize_t n; (n = archive_read_data(a.get(), block.data(), block.size())) != 0;) {
    if (n < 0) refuse(name, "the packed file is cut or damaged: " + complaint(a.get()));
    if (static_cast<int64_t>(out.size()) + n > most)
      refuse(name, "unpacked it has more than " + std::to_string(most) + " bytes");
    out.append(block.data(), static_cast<size_t>(n));
  }
  return out;
}

}  // namespace etude
