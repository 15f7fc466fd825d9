#include "etude/base/powercut.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "etude/base/error.h"

namespace etude::file {
namespace {

/// "a/b/" as "a" and "b"; "b" as "." and "b".
std::pair<std::string, std::string> split(const std::string& path) {
  const size_t last = path.find_last_not_of('/');
  const std::string trimmed = last == std::string::npos ? "/" : path.substr(0, last + 1);
  const size_t slash = trimmed.rfind('/');
  if (slash == std::string::npos) return {".", trimmed};
  return {slash == 0 ? "/" : trimmed.substr(0, slash), trimmed.substr(slash + 1)};
}

struct stat info_of(int fd) {
  struct stat info {};
  ETUDE_CHECK(fstat(fd, &info) == 0, "the journal lost a descriptor");
  return info;
}

void write_whole(int fd, const char* data, size_t size) {
  while (size > 0) {
    const ssize_t n = ::write(fd, data, size);
    ETUDE_CHECK(n > 0, "the journal can't put bytes back");
    data += n;
    size -= static_cast<size_t>(n);
  }
}

}  // namespace

Journal::Content& Journal::content(int fd) {
  const struct stat info = info_of(fd);
  const auto [place, added] = contents_.try_emplace(Id{info.st_dev, info.st_ino});
  if (added) place->second = {fcntl(fd, F_DUPFD_CLOEXEC, 3), info.st_size, {}};
  return place->second;
}

void Journal::will_append(int fd) { content(fd); }

void Journal::will_truncate(int fd, off_t size) {
  Content& durable = content(fd);
  if (size >= durable.kept) return;
  std::string cut(static_cast<size_t>(durable.kept - size), '\0');
  const ssize_t n = pread(fd, cut.data(), cut.size(), size);
  ETUDE_CHECK(n == static_cast<ssize_t>(cut.size()), "the journal can't read what is being cut off");
  durable.cut = cut + durable.cut;
  durable.kept = size;
}

std::shared_ptr<Journal::Directory> Journal::directory(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  ETUDE_CHECK(fd >= 0, "the journal can't open the directory " + path);
  const struct stat info = info_of(fd);
  auto& known = directories_[Id{info.st_dev, info.st_ino}];
  if (known) {
    close(fd);
  } else {
    known = std::make_shared<Directory>(Directory{fd});
  }
  return known;
}

void Journal::added(const std::string& path, bool is_directory) {
  const auto [parent, name] = split(path);
  Entry entry{
      is_directory ? Entry::Change::add_directory : Entry::Change::add_file, directory(parent), {}, name, {}, {}, {}};
  entry.unsynced = {entry.directory};
  entries_.push_back(std::move(entry));
}

Journal::Stash Journal::stash(const std::string& path) {
  struct stat info {};
  if (lstat(path.c_str(), &info) != 0) return {};
  Stash out;
  out.mode = info.st_mode & 07777;
  if (S_ISDIR(info.st_mode)) {
    out.form = Stash::Form::directory;
    out.directory = directory(path);
  } else if (S_ISLNK(info.st_mode)) {
    out.form = Stash::Form::link;
    out.target = std::filesystem::read_symlink(path);
  } else if (S_ISREG(info.st_mode)) {
    out.form = Stash::Form::file;
    out.fd = open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    ETUDE_CHECK(out.fd >= 0, "the journal can't open " + path);
  }
  return out;
}

void Journal::will_remove(const std::string& path) {
  const auto [parent, name] = split(path);
  Entry entry{Entry::Change::remove, directory(parent), {}, name, {}, stash(path), {}};
  entry.unsynced = {entry.directory};
  entries_.push_back(std::move(entry));
}

void Journal::will_rename(const std::string& from, const std::string& to) {
  const auto [from_parent, from_name] = split(from);
  const auto [to_parent, to_name] = split(to);
  Entry entry{Entry::Change::rename, directory(from_parent), directory(to_parent), from_name, to_name, stash(to), {}};
  entry.unsynced = {entry.directory, entry.to_directory};
  entries_.push_back(std::move(entry));
}

void Journal::synced(int fd) {
  const struct stat info = info_of(fd);
  const auto place = contents_.find(Id{info.st_dev, info.st_ino});
  if (place == contents_.end()) return;
  close(place->second.fd);
  contents_.erase(place);
}

void Journal::synced_directory(int fd) {
  const struct stat info = info_of(fd);
  const auto known = directories_.find(Id{info.st_dev, info.st_ino});
  if (known == directories_.end()) return;
  for (Entry& entry : entries_) std::erase(entry.unsynced, known->second);
  std::erase_if(entries_, [](const Entry& entry) {
    if (entry.unsynced.empty() && entry.stash.fd >= 0) close(entry.stash.fd);
    return entry.unsynced.empty();
  });
}

void Journal::put_back(const Stash& stash, int directory, const std::string& name) {
  switch (stash.form) {
    case Stash::Form::nothing:
      return;
    case Stash::Form::link:
      (void)!symlinkat(stash.target.c_str(), directory, name.c_str());
      return;
    case Stash::Form::directory:
      // A new directory takes the place of the one that is gone, also for earlier entries within it.
      mkdirat(directory, name.c_str(), stash.mode);
      stash.directory->fd = openat(directory, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
      return;
    case Stash::Form::file:
      break;
  }
  const int fd = openat(directory, name.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, stash.mode);
  ETUDE_CHECK(fd >= 0, "the journal can't put back " + name);
  std::string piece(1 << 16, '\0');
  for (off_t at = 0;;) {
    const ssize_t n = pread(stash.fd, piece.data(), piece.size(), at);
    if (n <= 0) break;
    write_whole(fd, piece.data(), static_cast<size_t>(n));
    at += n;
  }
  close(fd);
}

void Journal::undo(const Entry& entry) {
  const int directory = entry.directory->fd;
  switch (entry.change) {
    case Entry::Change::add_file:
      unlinkat(directory, entry.name.c_str(), 0);
      return;
    case Entry::Change::add_directory:
      std::filesystem::remove_all("/proc/self/fd/" + std::to_string(directory) + "/" + entry.name);
      return;
    case Entry::Change::remove:
      if (info_of(directory).st_nlink == 0) return;  // its directory is gone for good, and all in it
      put_back(entry.stash, directory, entry.name);
      return;
    case Entry::Change::rename:
      break;
  }
  const int target = entry.to_directory->fd;
  renameat(target, entry.to_name.c_str(), directory, entry.name.c_str());
  put_back(entry.stash, target, entry.to_name);
}

void Journal::lose() {
  for (const auto& [id, durable] : contents_) {
    ETUDE_CHECK(ftruncate(durable.fd, durable.kept) == 0, "the journal can't cut a file");
    lseek(durable.fd, durable.kept, SEEK_SET);
    write_whole(durable.fd, durable.cut.data(), durable.cut.size());
  }
  for (auto entry = entries_.rbegin(); entry != entries_.rend(); ++entry) undo(*entry);
  contents_.clear();
  entries_.clear();
}

}  // namespace etude::file
