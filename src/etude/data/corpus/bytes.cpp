#include "etude/data/corpus/bytes.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "etude/data/corpus/errors.h"

namespace etude::corpus {
namespace {

constexpr size_t kPiece = size_t{1} << 20;

}  // namespace

Stamp stamp_of(const struct stat& info) {
  const auto nanoseconds = [](const struct timespec& t) { return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec; };
  return {info.st_dev, info.st_ino, info.st_size, nanoseconds(info.st_mtim), nanoseconds(info.st_ctim)};
}

Stamp stamp_of(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) throw failed("the text can't be read", errno, path);
  require_regular(info, path);
  return stamp_of(info);
}

FileBytes::FileBytes(const std::string& path, std::function<void(int64_t)> after_piece)
    : path_(path), after_piece_(std::move(after_piece)) {
  stamp_of(path);
  // Should it have become a FIFO since, opening it doesn't wait for a writer.
  fd_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd_ < 0) throw failed("the text can't be opened", errno, path);
  try {
    struct stat info {};
    if (fstat(fd_, &info) != 0) throw failed("the text can't be read", errno, path);
    require_regular(info, path);
    before_ = stamp_of(info);
    // One byte more than there should be shows whether it grows.
    piece_.resize(std::min(kPiece, static_cast<size_t>(before_.size) + 1));
  } catch (...) {
    close(fd_);
    throw;
  }
}

FileBytes::~FileBytes() { close(fd_); }

std::string_view FileBytes::next() {
  ssize_t got = 0;
  do {
    got = read(fd_, piece_.data(), piece_.size());
  } while (got < 0 && errno == EINTR);
  if (got < 0) throw failed("the text can't be read", errno, path_);
  given_ += got;
  if (got > 0 && after_piece_) after_piece_(given_);
  if (got == 0 || given_ > before_.size) require_unchanged();
  return {piece_.data(), static_cast<size_t>(got)};
}

void FileBytes::require_unchanged() const {
  struct stat info {};
  if (fstat(fd_, &info) != 0) throw failed("the text can't be read", errno, path_);
  const Stamp after = stamp_of(info);
  if (given_ == before_.size && after.size == before_.size && after.modified_ns == before_.modified_ns) return;
  const char* how = given_ < before_.size || after.size < before_.size   ? "shrank"
                    : given_ > before_.size || after.size > before_.size ? "grew"
                                                                         : "changed";
  throw refuse(std::string("the text ") + how + " while it was read: " + std::to_string(before_.size) +
                   " bytes at first, " + std::to_string(after.size) + " in the end",
               path_, "let whoever writes it finish first");
}

bool Lines::next(std::string_view& line) {
  begun_.clear();
  for (;;) {
    if (rest_.empty()) rest_ = bytes_->next();
    const bool end = rest_.empty();
    const size_t newline = rest_.find('\n');
    const std::string_view more = rest_.substr(0, newline);
    if (begun_.size() + more.size() > most_) {
      throw refuse("line " + std::to_string(number_ + 1) + " has more than " + std::to_string(most_) + " bytes",
                   bytes_->name() + ":" + std::to_string(number_ + 1), "cut it into several documents");
    }
    const bool whole = newline != std::string_view::npos;
    rest_.remove_prefix(whole ? newline + 1 : rest_.size());
    if (end && begun_.empty()) return false;
    if (!whole && !end) {
      begun_ += more;
      continue;
    }
    if (!begun_.empty() || end) begun_ += more;
    line = begun_.empty() ? more : std::string_view(begun_);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (++number_ == 1 && line.starts_with("\xef\xbb\xbf")) line.remove_prefix(3);
    return true;
  }
}

std::string Lines::place() const { return bytes_->name() + ":" + std::to_string(number_); }

}  // namespace etude::corpus
