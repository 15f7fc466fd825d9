#include "etude/data/text_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "etude/base/assets.h"
#include "etude/base/error.h"

namespace etude {
namespace {

namespace fs = std::filesystem;

Error bad(const std::string& what, const std::string& where, const std::string& hint) { return Error(Code::data, what, where, hint); }

/// Offset of the first byte that is no UTF-8 text, or -1. NUL bytes are no text.
int64_t first_bad_byte(const std::string& s) {
  for (size_t i = 0; i < s.size();) {
    const auto c = static_cast<unsigned char>(s[i]);
    const size_t n = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;
    if (n == 0 || c == 0 || i + n > s.size()) return static_cast<int64_t>(i);
    for (size_t k = 1; k < n; ++k)
      if ((static_cast<unsigned char>(s[i + k]) & 0xc0) != 0x80) return static_cast<int64_t>(i);
    i += n;
  }
  return -1;
}

std::string read_text(const std::string& path) {
  // O_NONBLOCK: opening a FIFO must not wait for a writer before we see what it is.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    const int why = errno;
    throw bad(std::string("the text cannot be opened: ") + std::strerror(why), path, why == ELOOP ? "its links form a circle" : why == EACCES ? "its permissions do not let you read it" : "see the path");
  }
  struct Close { int fd; ~Close() { close(fd); } } closer{fd};
  struct stat info {};
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) throw bad("this is no regular file", path, "texts are read from regular .txt files");
  if (info.st_size == 0) throw bad("the text is empty", path, "remove it, or put text into it");
  std::string text(static_cast<size_t>(info.st_size), '\0');
  size_t have = 0;
  while (have < text.size()) {
    const ssize_t got = ::read(fd, text.data() + have, text.size() - have);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw bad(std::string("the text cannot be read: ") + std::strerror(errno), path, "see the disk");
    if (got == 0) throw bad("the text shrank while it was read: " + std::to_string(have) + " of " + std::to_string(text.size()) + " bytes", path, "let whoever writes it finish first");
    have += static_cast<size_t>(got);
  }
  if (const int64_t at = first_bad_byte(text); at >= 0) throw bad("byte " + std::to_string(at) + " is no UTF-8 text", path, "is it a binary file, or another encoding? iconv -t utf-8 converts");
  return text;
}

void collect(const fs::path& folder, std::vector<std::string>& files, std::vector<fs::path>& above) {
  std::error_code failed;
  const fs::path real = fs::canonical(folder, failed);
  if (failed || std::count(above.begin(), above.end(), real)) throw bad("links in this folder form a circle", folder.string(), "remove the link that leads back");
  above.push_back(real);
  for (const auto& entry : fs::directory_iterator(folder, failed)) {
    if (fs::is_directory(entry.path(), failed)) collect(entry.path(), files, above);
    else if (entry.path().extension() == ".txt") files.push_back(entry.path().string());
  }
  if (failed) throw bad("the folder cannot be read: " + failed.message(), folder.string(), "see its permissions");
  above.pop_back();
}

}  // namespace

std::vector<Document> read_documents(const std::string& path) {
  if (path.rfind("builtin:", 0) == 0) {
    const std::string name = path.substr(8);
    const auto text = asset("data/" + name + ".txt");
    if (!text) throw bad("there is no built-in text '" + name + "'", "data.path", did_you_mean(name, {"web"}, "there is builtin:web"));
    std::vector<Document> documents;
    for (size_t begin = 0; begin < text->size();) {
      const size_t end = std::min(text->find('\f', begin), text->size());
      documents.push_back({name + "#" + std::to_string(documents.size()), std::string(text->substr(begin, end - begin))});
      begin = end + 1;
    }
    return documents;
  }
  struct stat info {};
  if (lstat(path.c_str(), &info) != 0) {
    std::vector<std::string> beside;
    std::error_code ignored;
    const fs::path parent = fs::path(path).has_parent_path() ? fs::path(path).parent_path() : fs::path(".");
    for (const auto& entry : fs::directory_iterator(parent, ignored)) beside.push_back(entry.path().filename().string());
    throw bad("there is no such file or folder", path, did_you_mean(fs::path(path).filename().string(), beside, "a .txt file, a folder of .txt files, or builtin:web"));
  }
  std::error_code failed;
  if (!fs::is_directory(path, failed)) return {{fs::path(path).filename().string(), read_text(path)}};
  std::vector<std::string> files;
  std::vector<fs::path> above;
  collect(path, files, above);
  if (files.empty()) throw bad("there is no .txt file in this folder", path, "texts must end in .txt");
  std::sort(files.begin(), files.end());
  std::vector<Document> documents;
  for (const std::string& one : files) documents.push_back({fs::path(one).lexically_relative(path).string(), read_text(one)});
  return documents;
}

}  // namespace etude
