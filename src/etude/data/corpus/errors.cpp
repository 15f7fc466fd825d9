#include "etude/data/corpus/errors.h"

#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace etude::corpus {
namespace {

const char* kind_of(mode_t mode) {
  return S_ISFIFO(mode)   ? "a FIFO"
         : S_ISSOCK(mode) ? "a socket"
         : S_ISCHR(mode)  ? "a character device"
         : S_ISBLK(mode)  ? "a block device"
         : S_ISDIR(mode)  ? "a folder"
                          : "no regular file";
}

}  // namespace

Error refuse(const std::string& what, const std::string& where, const std::string& hint) {
  return Error(Code::data, what, where, hint);
}

Error circle(const std::string& path) {
  return refuse("links form a circle", path, "remove the link that leads back to where it comes from");
}

Error failed(const std::string& what, int problem, const std::string& path) {
  if (problem == ELOOP) return circle(path);
  const bool denied = problem == EACCES || problem == EPERM;
  return refuse(
      what + ": " + std::generic_category().message(problem), path,
      denied ? "let this user read it (chmod), or copy it to a place of this user's" : "check the path and the disk");
}

void require_regular(const struct stat& info, const std::string& path) {
  if (S_ISREG(info.st_mode)) return;
  throw refuse(std::string("this is ") + kind_of(info.st_mode) + ", not a regular file", path,
               "copy what it gives into a .txt file, and give that");
}

void require_memory(int64_t bytes, const std::string& path) {
  const int64_t memory = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  if (memory <= 0 || bytes <= memory / 3) return;
  throw refuse("the text of " + std::to_string(bytes) + " bytes is too large for the " + std::to_string(memory) +
                   " bytes of memory, of which it would need three times its size",
               path, "give a part of it");
}

}  // namespace etude::corpus
