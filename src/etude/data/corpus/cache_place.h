#pragma once
// Where results of reading a text are kept between runs: below cache_directory().

#include <functional>
#include <memory>
#include <string>

namespace etude::corpus {

/// The folder cache_directory()/part, made if need be; "" where it can't be made or written into, with a warning once.
/// `cost` says what is done again each time: "tokens are made anew in every run".
std::string cache_folder(const std::string& part, const std::string& cost);

/// Holds the lock of this path while it lives; waits for whoever holds it, and says so. Where the file system knows no
/// locks, nothing is held: two processes then do the same work.
class BuildLock {
 public:
  BuildLock(const std::string& path, const std::string& about);
  ~BuildLock();
  BuildLock(const BuildLock&) = delete;

 private:
  struct Held;
  std::unique_ptr<Held> held_;
};

}  // namespace etude::corpus
