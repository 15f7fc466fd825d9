#include "etude/data/text_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <set>
#include <system_error>
#include <utility>

#include "etude/base/error.h"
#include "etude/data/sets.h"

namespace etude {
namespace {

constexpr size_t kChunk = size_t{1} << 20;  ///< bytes read at once

using FileId = std::pair<dev_t, ino_t>;
FileId id_of(const struct stat& info) { return {info.st_dev, info.st_ino}; }

Error refuse(const std::string& what, const std::string& where, const std::string& hint) {
  return Error(Code::data, what, where, hint);
}

Error circle(const std::string& path) {
  return refuse("links form a circle", path, "remove the link that leads back to where it comes from");
}

/// The error of a system call on a path.
Error failed(const std::string& what, int problem, const std::string& path) {
  if (problem == ELOOP) return circle(path);
  const bool denied = problem == EACCES || problem == EPERM;
  return refuse(
      what + ": " + std::generic_category().message(problem), path,
      denied ? "let this user read it (chmod), or copy it to a place of this user's" : "check the path and the disk");
}

const char* kind_of(mode_t mode) {
  return S_ISFIFO(mode)   ? "a FIFO"
         : S_ISSOCK(mode) ? "a socket"
         : S_ISCHR(mode)  ? "a character device"
         : S_ISBLK(mode)  ? "a block device"
         : S_ISDIR(mode)  ? "a folder"
                          : "no regular file";
}

void require_regular(const struct stat& info, const std::string& path) {
  if (S_ISREG(info.st_mode)) return;
  throw refuse(std::string("this is ") + kind_of(info.st_mode) + ", not a regular file", path,
               "copy what it gives into a .txt file, and give that");
}

bool is_text_name(std::string_view name) {
  if (name.size() < 4) return false;
  const std::string_view end = name.substr(name.size() - 4);
  return end[0] == '.' && (end[1] | 0x20) == 't' && (end[2] | 0x20) == 'x' && (end[3] | 0x20) == 't';
}

/// Names in a folder but hidden ones, sorted by their bytes.
std::vector<std::string> names_in(const std::string& folder) {
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(opendir(folder.c_str()), closedir);
  if (!stream) throw failed("the folder can't be read", errno, folder);
  std::vector<std::string> names;
  while (true) {
    errno = 0;
    const dirent* entry = readdir(stream.get());
    if (!entry) break;
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  if (errno != 0) throw failed("the folder can't be read", errno, folder);
  std::sort(names.begin(), names.end());
  return names;
}

/// Collects the text files below a folder.
class Walk {
 public:
  void into(const std::string& folder, const std::string& below) {
    struct stat info {};
    if (stat(folder.c_str(), &info) != 0) throw failed("the folder can't be read", errno, folder);
    const FileId id = id_of(info);
    if (std::find(above_.begin(), above_.end(), id) != above_.end()) throw circle(folder);
    if (!seen_.insert(id).second) return;
    above_.push_back(id);
    for (const std::string& name : names_in(folder)) visit(folder + "/" + name, below + name);
    above_.pop_back();
  }
  std::vector<std::string> files;  ///< below the folder

 private:
  void visit(const std::string& path, const std::string& below) {
    struct stat info {};
    if (stat(path.c_str(), &info) != 0) {
      if (errno == ELOOP) throw circle(path);
      if (!is_text_name(path)) return;  // not ours, whatever is wrong with it
      if (errno == ENOENT)
        throw refuse("this link points to nothing", path, "remove it, or put back what it points to");
      throw failed("the text can't be read", errno, path);
    }
    if (S_ISDIR(info.st_mode)) {
      into(path, below + "/");
    } else if (is_text_name(path)) {
      require_regular(info, path);
      files.push_back(below);
    }
  }

  std::vector<FileId> above_;
  std::set<FileId> seen_;
};

/// "did you mean": the nearest name beside the first part of the path that is missing.
[[noreturn]] void throw_missing(const std::string& path) {
  std::string there, missing = path;
  for (size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    struct stat info {};
    const std::string begin = path.substr(0, slash);
    if (stat(begin.c_str(), &info) != 0) break;
    there = begin;
    missing = path.substr(slash + 1);
  }
  if (there.empty() && path[0] == '/') {
    there = "/";
    missing = path.substr(1);
  }
  const std::string first = missing.substr(0, missing.find('/'));
  std::vector<std::string> beside;
  try {
    beside = names_in(there.empty() ? "." : there);
  } catch (const Error&) {
    // Without its names there is no suggestion.
  }
  throw refuse("there is no file or folder '" + path + "'", "data.path",
               did_you_mean(first, beside, "give a .txt file, a folder of them, or builtin:web"));
}

int64_t line_of(std::string_view text, int64_t offset) {
  const auto end = text.begin() + offset;
  return 1 + std::count(text.begin(), end, '\n');
}

void require_text(std::string_view text, const std::string& path) {
  const TextFault fault = find_fault(text);
  if (fault.kind == TextFault::Kind::none) return;
  const std::string place = path + ":" + std::to_string(line_of(text, fault.offset));
  const std::string offset = " at offset " + std::to_string(fault.offset);
  if (text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff")) {
    throw refuse("this text is in UTF-16, not in UTF-8", path, "convert it: iconv -f UTF-16 -t UTF-8 OLD > NEW");
  }
  switch (fault.kind) {
    case TextFault::Kind::nul:
      throw refuse("this is no text: there is a NUL byte" + offset, place, "give plain text; binary files don't count");
    case TextFault::Kind::cut:
      throw refuse("the text ends within a character that begins" + offset, place,
                   "the file seems to be truncated: copy it again");
    default: {
      static const char* kDigits = "0123456789abcdef";
      const auto byte = static_cast<unsigned char>(text[static_cast<size_t>(fault.offset)]);
      throw refuse(std::string("the text is not UTF-8: byte 0x") + kDigits[byte >> 4] + kDigits[byte & 15] + offset,
                   place,
                   "a binary file? Text in another encoding can be converted: iconv -f LATIN1 -t UTF-8 OLD > NEW");
    }
  }
}

/// Packed, a byte of text takes three bytes of memory, until that of the text itself is freed.
void require_memory(int64_t bytes, const std::string& path) {
  const int64_t memory = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  if (memory <= 0 || bytes <= memory / 3) return;
  throw refuse("the text of " + std::to_string(bytes) + " bytes is too large for the " + std::to_string(memory) +
                   " bytes of memory, of which it would need three times its size",
               path, "give a part of it");
}

std::vector<Document> builtin_documents(const std::string& name) {
  const std::string_view text = builtin_text(name);
  std::vector<Document> documents;
  for (size_t begin = 0; begin < text.size();) {
    const size_t blank = text.find("\n\n", begin);
    const size_t end = blank == std::string_view::npos ? text.size() : blank + 1;
    documents.push_back({name + "#" + std::to_string(documents.size()), std::string(text.substr(begin, end - begin))});
    begin = end + 1;
  }
  return documents;
}

std::vector<Document> folder_documents(const std::string& path) {
  Walk walk;
  walk.into(path, "");
  if (walk.files.empty()) {
    const bool empty = names_in(path).empty();
    throw refuse(empty ? "the folder is empty" : "there is no .txt file in this folder or below", path,
                 "texts are the files whose names end in .txt");
  }
  std::sort(walk.files.begin(), walk.files.end());
  int64_t bytes = 0;
  for (const std::string& below : walk.files) {
    struct stat info {};
    if (stat((path + "/" + below).c_str(), &info) == 0) bytes += info.st_size;
  }
  require_memory(bytes, path);
  std::vector<Document> documents;
  for (const std::string& below : walk.files) documents.push_back({below, read_text_file(path + "/" + below)});
  return documents;
}

}  // namespace

TextFault find_fault(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  for (size_t i = 0; i < text.size();) {
    const unsigned char lead = byte(i);
    if (lead - 1u < 0x7f) {
      ++i;
      continue;
    }
    const auto fault = [&](TextFault::Kind kind) { return TextFault{static_cast<int64_t>(i), kind}; };
    if (lead == 0) return fault(TextFault::Kind::nul);
    const size_t length = lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
    if (length == 0) return fault(TextFault::Kind::encoding);
    for (size_t k = 1; k < length; ++k) {
      if (i + k == text.size()) return fault(TextFault::Kind::cut);
      // The second byte also rules out overlong forms, surrogates and what lies above U+10FFFF.
      const unsigned char low = k > 1 ? 0x80 : lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
      const unsigned char high = k > 1 ? 0xbf : lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
      if (byte(i + k) < low || byte(i + k) > high) return fault(TextFault::Kind::encoding);
    }
    i += length;
  }
  return {};
}

std::string read_text_file(const std::string& path, const std::function<void(int64_t)>& after_chunk) {
  struct stat before {};
  if (stat(path.c_str(), &before) != 0) throw failed("the text can't be read", errno, path);
  require_regular(before, path);
  // Should it have become a FIFO since, opening it doesn't wait for a writer.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) throw failed("the text can't be opened", errno, path);
  const struct Closer {
    int fd;
    ~Closer() { close(fd); }
  } closer{fd};
  if (fstat(fd, &before) != 0) throw failed("the text can't be read", errno, path);
  require_regular(before, path);
  if (before.st_size == 0) throw refuse("the text is empty", path, "put text into it, or remove it");
  require_memory(before.st_size, path);

  // One byte more than there should be shows whether it grows.
  std::string text(static_cast<size_t>(before.st_size) + 1, '\0');
  size_t have = 0;
  while (have < text.size()) {
    const ssize_t got = read(fd, text.data() + have, std::min(kChunk, text.size() - have));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw failed("the text can't be read", errno, path);
    if (got == 0) break;
    have += static_cast<size_t>(got);
    if (after_chunk) after_chunk(static_cast<int64_t>(have));
  }
  struct stat after {};
  if (fstat(fd, &after) != 0) throw failed("the text can't be read", errno, path);
  const auto size = static_cast<size_t>(before.st_size);
  const bool touched = after.st_mtim.tv_sec != before.st_mtim.tv_sec || after.st_mtim.tv_nsec != before.st_mtim.tv_nsec;
  if (have != size || after.st_size != before.st_size || touched) {
    const char* how = have < size || after.st_size < before.st_size ? "shrank" : have > size ? "grew" : "changed";
    throw refuse(std::string("the text ") + how + " while it was read: " + std::to_string(size) + " bytes at first, " +
                     std::to_string(after.st_size) + " in the end",
                 path, "let whoever writes it finish first");
  }
  text.resize(size);
  if (text.starts_with("\xef\xbb\xbf")) text.erase(0, 3);
  if (text.empty()) throw refuse("the text is empty but for a byte order mark", path, "put text into it, or remove it");
  require_text(text, path);
  return text;
}

std::vector<Document> read_documents(const std::string& path) {
  static constexpr std::string_view kBuiltin = "builtin:";
  if (path.starts_with(kBuiltin)) return builtin_documents(path.substr(kBuiltin.size()));
  if (path.empty() || path.find('\0') != std::string::npos) {
    throw refuse("the path of the text is empty", "data.path", "give a .txt file, a folder of them, or builtin:web");
  }
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) {
    if (errno != ENOENT && errno != ENOTDIR) throw failed("the text can't be read", errno, path);
    if (lstat(path.c_str(), &info) == 0) {
      throw refuse("this link points to nothing", path, "remove it, or put back what it points to");
    }
    throw_missing(path);
  }
  if (S_ISDIR(info.st_mode)) return folder_documents(path);
  const size_t slash = path.rfind('/');
  return {{slash == std::string::npos ? path : path.substr(slash + 1), read_text_file(path)}};
}

}  // namespace etude
