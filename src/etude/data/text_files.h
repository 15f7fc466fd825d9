#pragma once
// Reading text that users point at: regular files only, whole, valid UTF-8.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace etude {

struct Document {
  std::string name;  ///< path below the folder, name of the file, or "web#3"
  std::string text;  ///< UTF-8, not empty
};

/// The documents of a file, of a folder or of builtin:NAME, in a fixed order.
///
/// A file, whatever its name, is one document. Of a folder, every file below it whose name ends in .txt (in
/// any case) is one, sorted by the bytes of their paths; names that begin with a dot are left out; links are followed;
/// a folder that is met again by another way is read once. A built-in text is cut at its blank lines. A UTF-8
/// byte order mark is left out, everything else (line ends too) is kept byte by byte.
///
/// Errors: Code::data, each with the path and a hint: nothing there (with the nearest name), no file in a folder, an
/// empty file, one that is not UTF-8 or has NUL bytes, that changes while it is read, that is a FIFO, a device
/// or a socket (which is never opened), that can't be read or is larger than memory, links in a circle.
std::vector<Document> read_documents(const std::string& path);

/// One file, with the checks above. `after_chunk` is called with the bytes read so far, for tests of what
/// happens meanwhile.
std::string read_text_file(const std::string& path, const std::function<void(int64_t)>& after_chunk = {});

/// Where and why bytes are not text.
struct TextFault {
  int64_t offset = -1;                                             ///< of the first byte at fault; -1: none
  enum class Kind { none, nul, encoding, cut } kind = Kind::none;  ///< cut: ends within a character
};
/// The first byte that is NUL or breaks UTF-8 (RFC 3629: shortest form, no surrogates, up to U+10FFFF).
TextFault find_fault(std::string_view text);

}  // namespace etude
