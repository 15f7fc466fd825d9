#pragma once
// Files that are mapped into memory: opened at once whatever their size, read as pages are touched.
//
// A mapped file that shrinks raises SIGBUS where its missing part is touched. Here such a page reads as zeros instead
// and the mapping remembers: whoever has read asks require_whole() before using what it got.

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace etude::file {

class Mapped {
 public:
  enum class Access { random, sequential };
  /// A regular file. Errors: Code::io with path and hint (not there, no regular file, can't be read or mapped).
  explicit Mapped(const std::string& path, Access access = Access::random);
  ~Mapped();
  Mapped(const Mapped&) = delete;
  Mapped& operator=(const Mapped&) = delete;

  std::string_view bytes() const;  ///< as many as the file had when it was opened; valid as long as this lives
  size_t size() const { return bytes().size(); }
  const std::string& path() const;
  /// Errors: Code::io when a part that was read is no longer there.
  void require_whole() const;
  /// Tells the kernel that a part will be needed soon.
  void will_need(size_t begin, size_t size) const;

 private:
  struct Region;
  std::unique_ptr<Region> region_;
};

}  // namespace etude::file
