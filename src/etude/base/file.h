#pragma once
// Durable files. Everything that a run writes goes through this layer, which is also where faults are
// injected: `--inject io:N:kill|powercut|enospc|eio` makes the N-th operation (open for writing, write,
// truncate, fsync, rename, unlink, mkdir, directory fsync) end the process without unwinding; the same
// with everything that was not fsynced, directory entries included, undone first; or fail with ENOSPC or
// EIO. A write at which it strikes has written half of its bytes (but for EIO). Locks are not counted.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace etude::file {

/// Errors of all functions: Code::io with path, errno text and a hint (disk full, read-only, ...).

/// The bytes of a regular file; pipes and devices are refused.
std::string read(const std::string& path);
bool exists(const std::string& path);  ///< links are followed
bool is_directory(const std::string& path);
int64_t size(const std::string& path);  ///< bytes
/// Names in a directory, sorted; empty if there is no such directory.
std::vector<std::string> list(const std::string& directory);
/// Makes a directory and the missing ones above it, durably.
void make_directories(const std::string& path);
/// Removes a file or a tree (links themselves, never what they point to); absent is fine. Not durable
/// until the parent is synced: after a power cut, all or some of it may be back.
void remove_all(const std::string& path);
/// rename(2), then fsync of both parents.
void rename_durably(const std::string& from, const std::string& to);
void sync_directory(const std::string& path);

/// Writes aside, fsyncs, renames, fsyncs the directory: readers see the old or the new content.
void write_atomically(const std::string& path, std::string_view content);
/// The same with content that is written a piece at a time.
void write_atomically(const std::string& path, const std::function<void(class Writer&)>& fill);
/// Whether a file of this name was being written aside by write_atomically(): left behind by a process
/// that died, if none is at work.
bool is_temporary(std::string_view name);
inline constexpr const char* kTemporary = ".tmp-";

/// A file being written. Not durable until sync(). The destructor closes without sync.
class Writer {
 public:
  enum class Mode { create, append };  ///< create empties a file that is there
  Writer(const std::string& path, Mode mode);
  ~Writer();
  Writer(const Writer&) = delete;
  void write(const void* data, size_t size);
  void write(std::string_view text) { write(text.data(), text.size()); }
  void sync();
  void truncate(int64_t size);                    ///< bytes to keep; writing goes on behind them
  int64_t position() const { return position_; }  ///< bytes from the beginning of the file
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int fd_ = -1;
  int64_t position_ = 0;
};

/// An exclusive lock held as long as the object lives. Errors: Code::checkpoint naming the process and
/// host that hold it. Freed by the kernel when its holder dies, so none is ever stale; the file stays.
class Lock {
 public:
  explicit Lock(const std::string& path);
  ~Lock();
  Lock(const Lock&) = delete;

 private:
  int fd_ = -1;
};

struct Injection {
  int64_t at = 0;  ///< 1-based operation; 0: none
  enum class Fault { kill, powercut, enospc, eio } fault = Fault::kill;
  static Injection parse(std::string_view text);  ///< "io:17:powercut". Errors: Code::usage.
};
/// For the whole process. Operations are counted from this call on.
void inject(const Injection& injection);
/// Operations since inject() or the start of the process.
int64_t operations();

/// SHA-256 in lower-case hexadecimal.
std::string sha256(std::string_view bytes);
std::string sha256_file(const std::string& path);
/// For hashing in pieces.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  void add(const void* data, size_t size);
  void add(std::string_view text) { add(text.data(), text.size()); }
  std::string hex();  ///< of all that was added; once

 private:
  std::unique_ptr<struct Sha256State> state_;
};

}  // namespace etude::file
