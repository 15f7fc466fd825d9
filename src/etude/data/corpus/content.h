#pragma once
// What a text is, by its bytes: the key of all that is kept of it.

#include <cstdint>
#include <string>
#include <vector>

#include "etude/data/corpus/bytes.h"
#include "etude/data/text_files.h"

namespace etude::corpus {

struct Content {
  std::string sha256;         ///< of each file's name, length and bytes; of a built-in text, that of its card
  int64_t bytes = 0;          ///< of all files, without byte order marks
  int64_t largest = -1;       ///< of the ids, where all files are token ids
  std::vector<Stamp> stamps;  ///< of the files, as they were read
};

/// Reads all files, or remembers what was read when none of them has changed since: the results for large texts are
/// kept in cache_directory()/sources, with size, times, device and inode of each file. What was changed less than two
/// seconds before it was read is read again the next time.
/// Errors: Code::data, those of FileBytes and token_run(), and for a built-in text whose bytes are others.
Content content_of(const TextSource& source);

/// Errors: Code::data if a file is no longer the one that `content` was taken of.
void require_same(const TextSource& source, const Content& content);

}  // namespace etude::corpus
