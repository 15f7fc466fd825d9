#pragma once
// Bytes that are read once from begin to end, a piece at a time, so that memory doesn't grow with the file.

#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace etude::corpus {

class Bytes {
 public:
  virtual ~Bytes() = default;
  /// The bytes that follow, valid until the next call; none at the end.
  virtual std::string_view next() = 0;
  /// The file, as errors name it.
  virtual const std::string& name() const = 0;
};

/// Which file it is and whether it is still the same: everything that a change of its content changes.
struct Stamp {
  uint64_t device = 0, inode = 0;
  int64_t size = 0, modified_ns = 0, changed_ns = 0;
  bool operator==(const Stamp&) const = default;
};
Stamp stamp_of(const struct stat& info);
/// Errors: Code::data if it isn't there, or no regular file.
Stamp stamp_of(const std::string& path);

/// A regular file, whole. Errors: Code::data with path and hint: a FIFO, a device or a socket (which is never opened),
/// one that can't be read, and one that changes while it is read (told at its end, or where it is too long).
class FileBytes : public Bytes {
 public:
  /// `after_piece` is called with the bytes read so far, for tests of what happens meanwhile.
  explicit FileBytes(const std::string& path, std::function<void(int64_t)> after_piece = {});
  ~FileBytes() override;
  FileBytes(const FileBytes&) = delete;

  std::string_view next() override;
  const std::string& name() const override { return path_; }
  int64_t size() const { return before_.size; }   ///< of the file as it was opened
  const Stamp& stamp() const { return before_; }  ///< the same
  int64_t given() const { return given_; }        ///< bytes so far

 private:
  void require_unchanged() const;

  std::string path_;
  std::function<void(int64_t)> after_piece_;
  int fd_ = -1;
  Stamp before_;
  int64_t given_ = 0;
  std::string piece_;
};

/// Bytes in memory, in pieces of at most `most`: for what is built in, and for tests.
class MemoryBytes : public Bytes {
 public:
  explicit MemoryBytes(std::string_view bytes, std::string name = "memory", size_t most = size_t{1} << 16)
      : rest_(bytes), name_(std::move(name)), most_(most) {}
  std::string_view next() override {
    const std::string_view piece = rest_.substr(0, most_);
    rest_.remove_prefix(piece.size());
    return piece;
  }
  const std::string& name() const override { return name_; }

 private:
  std::string_view rest_;
  std::string name_;
  size_t most_;
};

/// Lines, which end with "\n", "\r\n" or the bytes. A byte order mark before the first is left out.
class Lines {
 public:
  /// Required: most >= 1.
  Lines(std::unique_ptr<Bytes> bytes, size_t most) : bytes_(std::move(bytes)), most_(most) {}
  /// False at the end. `line`, without its end, is valid until the next call. Errors: Code::data for a line of more
  /// than `most` bytes.
  bool next(std::string_view& line);
  int64_t number() const { return number_; }  ///< of that line, from 1
  std::string place() const;                  ///< "file:17"
  const std::string& name() const { return bytes_->name(); }

 private:
  std::unique_ptr<Bytes> bytes_;
  size_t most_;
  std::string_view rest_;  ///< of the piece that is being cut into lines
  std::string begun_;      ///< beginning of a line, from earlier pieces
  int64_t number_ = 0;
};

}  // namespace etude::corpus
