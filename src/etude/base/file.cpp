#include "etude/base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <system_error>

#include "etude/base/error.h"
#include "etude/base/file_ops.h"

namespace etude::file {
namespace {

std::string errno_text(int problem) { return std::generic_category().message(problem); }

std::string parent_of(const std::string& path) {
  const size_t end = path.find_last_not_of('/');
  const size_t slash = end == std::string::npos ? end : path.rfind('/', end);
  if (slash == std::string::npos) return path.starts_with('/') ? "/" : ".";
  const size_t last = path.find_last_not_of('/', slash);
  return last == std::string::npos ? "/" : path.substr(0, last + 1);
}

/// The outermost directory on the way to `path` that is missing; empty if only `path` itself is.
std::string missing_parent(const std::string& path) {
  std::string missing;
  struct stat info {};
  for (std::string p = parent_of(path); stat(p.c_str(), &info) != 0 && errno == ENOENT; p = parent_of(p)) {
    missing = p;
    if (p == "." || p == "/") break;
  }
  return missing;
}

std::string hint_for(const std::string& path, int problem) {
  switch (problem) {
    case ENOSPC:
    case EDQUOT:
      return "the disk is full: free some space, or choose another disk with --out";
    case EROFS:
      return "the disk is mounted read-only: choose another place with --out";
    case EACCES:
    case EPERM:
      return "the permissions forbid it: choose a place of your own with --out";
    case ENOTDIR:
      return "a part of the path is a file, not a directory";
    case EISDIR:
      return "it is a directory";
    case ENOTEMPTY:
    case EEXIST:
      return "something is there already";
    case ELOOP:
      return "symbolic links lead in a circle";
    case ENAMETOOLONG:
      return "a name has at most 255 bytes, a path 4095";
    case EMFILE:
    case ENFILE:
      return "too many files are open: see ulimit -n";
    case EFBIG:
      return "the file would exceed a limit: see ulimit -f";
    case EIO:
      return "the disk reports an error: see dmesg";
    case EXDEV:
      return "both places must be on the same disk";
    case ENOLCK:
      return "this file system knows no locks: choose another place with --out";
    default:
      break;
  }
  if (problem != ENOENT) return {};
  const std::string missing = missing_parent(path);
  return missing.empty() ? "check the spelling" : "the directory '" + missing + "' does not exist";
}

using ops::failure;

/// A descriptor that is closed at the end of its scope.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

/// Calls use(data, size) for each piece of a regular file.
template <class Use>
void read_in_pieces(const std::string& path, const Use& use) {
  const Descriptor file(ops::open_regular(path));
  std::string piece(size_t{1} << 18, '\0');
  for (;;) {
    const ssize_t n = ::read(file.get(), piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw failure("read", path, errno);
    if (n == 0) return;
    use(piece.data(), static_cast<size_t>(n));
  }
}

/// stat(2); false if there is no such thing.
bool inspect(const std::string& path, struct stat& info) {
  if (stat(path.c_str(), &info) == 0) return true;
  if (errno == ENOENT || errno == ENOTDIR) return false;
  throw failure("look at", path, errno);
}

std::string host_name() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 ? name : "unknown";
}

}  // namespace

Error ops::failure(const std::string& action, const std::string& path, int problem) {
  return {Code::io, "can't " + action + " '" + path + "': " + errno_text(problem), path, hint_for(path, problem)};
}

int ops::open_regular(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) throw failure("read", path, errno);
  struct stat info {};
  const int problem = fstat(fd, &info) != 0 ? errno : S_ISDIR(info.st_mode) ? EISDIR : 0;
  if (problem == 0 && S_ISREG(info.st_mode)) return fd;
  ::close(fd);
  if (problem != 0) throw failure("read", path, problem);
  throw Error(Code::io, "can't read '" + path + "': it is no regular file", path,
              "give a regular file, not a pipe, socket or device");
}

std::string read(const std::string& path) {
  std::string out;
  read_in_pieces(path, [&](const char* data, size_t n) { out.append(data, n); });
  return out;
}

bool exists(const std::string& path) {
  struct stat info {};
  return inspect(path, info);
}

bool is_directory(const std::string& path) {
  struct stat info {};
  return inspect(path, info) && S_ISDIR(info.st_mode);
}

int64_t size(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) throw failure("look at", path, errno);
  return info.st_size;
}

std::vector<std::string> list(const std::string& directory) {
  std::vector<std::string> names;
  DIR* const handle = opendir(directory.c_str());
  if (!handle) {
    if (errno == ENOENT) return names;
    throw failure("list", directory, errno);
  }
  const std::unique_ptr<DIR, int (*)(DIR*)> closer(handle, closedir);
  for (;;) {
    errno = 0;
    const dirent* const entry = readdir(handle);
    if (!entry && errno != 0) throw failure("list", directory, errno);
    if (!entry) break;
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

void make_directories(const std::string& path) {
  if (is_directory(path)) return;
  const std::string parent = parent_of(path);
  if (parent != path) make_directories(parent);
  if (ops::mkdir(path) != 0) {
    const int problem = errno;
    if (problem == EEXIST && is_directory(path)) return;  // another process was faster
    throw failure("make the directory", path, problem == EEXIST ? ENOTDIR : problem);
  }
  sync_directory(parent);
}

void remove_all(const std::string& path) {
  struct stat info {};
  if (lstat(path.c_str(), &info) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return;
    throw failure("remove", path, errno);
  }
  if (S_ISDIR(info.st_mode)) {
    for (const std::string& name : list(path)) remove_all(std::string(path).append("/").append(name));
  }
  const int result = S_ISDIR(info.st_mode) ? ops::rmdir(path) : ops::unlink(path);
  if (result != 0 && errno != ENOENT) throw failure("remove", path, errno);
}

void rename_durably(const std::string& from, const std::string& to) {
  if (ops::rename(from, to) != 0) {
    const int problem = errno;
    struct stat info {};
    if (problem == ENOENT && lstat(from.c_str(), &info) != 0) throw failure("rename", from, problem);
    throw failure("rename '" + from + "' to", to, problem);
  }
  const std::string from_parent = parent_of(from), to_parent = parent_of(to);
  sync_directory(to_parent);
  if (from_parent != to_parent) sync_directory(from_parent);
}

void sync_directory(const std::string& path) {
  if (ops::sync_directory(path) != 0) throw failure("make durable the directory", path, errno);
}

void write_atomically(const std::string& path, std::string_view content) {
  write_atomically(path, [&](Writer& writer) { writer.write(content); });
}

void write_atomically(const std::string& path, const std::function<void(Writer&)>& fill) {
  static std::atomic<int> counter = 0;
  const size_t name = path.rfind('/') == std::string::npos ? 0 : path.rfind('/') + 1;
  const std::string aside = path.substr(0, name) + "." + path.substr(name) + kTemporary + std::to_string(getpid()) +
                            "-" + std::to_string(++counter);
  try {
    Writer writer(aside, Writer::Mode::create);
    fill(writer);
    writer.sync();
    rename_durably(aside, path);
  } catch (const Error& error) {
    ::unlink(aside.c_str());
    throw Error(error.code(), "can't write '" + path + "': " + error.message(), path, error.hint());
  }
}

bool is_temporary(std::string_view name) {
  return name.starts_with('.') && name.find(kTemporary) != std::string_view::npos;
}

Writer::Writer(const std::string& path, Mode mode)
    : path_(path), fd_(mode == Mode::create ? ops::open_create(path) : ops::open_append(path)) {
  if (fd_ < 0) throw failure("write", path, errno);
  if (mode == Mode::create) return;
  struct stat info {};
  if (fstat(fd_, &info) == 0) position_ = info.st_size;
}

Writer::~Writer() {
  if (fd_ >= 0) ::close(fd_);
}

void Writer::write(const void* data, size_t size) {
  if (size == 0) return;
  if (ops::write(fd_, static_cast<const char*>(data), size) != 0) throw failure("write", path_, errno);
  position_ += static_cast<int64_t>(size);
}

void Writer::sync() {
  if (ops::sync(fd_) != 0) throw failure("make durable", path_, errno);
}

void Writer::truncate(int64_t size) {
  if (ops::truncate(fd_, size) != 0) throw failure("shorten", path_, errno);
  if (lseek(fd_, size, SEEK_SET) < 0) throw failure("shorten", path_, errno);
  position_ = size;
}

Lock::Lock(const std::string& path) : fd_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) {
  if (fd_ < 0) throw failure("lock", path, errno);
  if (flock(fd_, LOCK_EX | LOCK_NB) == 0) {
    const std::string holder = "process " + std::to_string(getpid()) + " on " + host_name() + "\n";
    // Only for people to read: the lock holds without it, on a full disk too.
    if (ftruncate(fd_, 0) == 0) (void)!::pwrite(fd_, holder.data(), holder.size(), 0);
    return;
  }
  const int problem = errno;
  char holder[300] = {};
  const ssize_t n = problem == EWOULDBLOCK ? ::pread(fd_, holder, sizeof holder - 1, 0) : 0;
  ::close(fd_);
  if (problem != EWOULDBLOCK) throw failure("lock", path, problem);
  std::string who(holder, static_cast<size_t>(std::max<ssize_t>(n, 0)));
  while (!who.empty() && who.back() == '\n') who.pop_back();
  throw Error(Code::checkpoint, "'" + parent_of(path) + "' is in use by " + (who.empty() ? "another process" : who),
              path, "wait until it ends, stop it, or choose another place with --out");
}

Lock::~Lock() { ::close(fd_); }

std::string sha256_file(const std::string& path) {
  Sha256 hash;
  read_in_pieces(path, [&](const char* data, size_t n) { hash.add(data, n); });
  return hash.hex();
}

}  // namespace etude::file
