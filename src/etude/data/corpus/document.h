#pragma once
// Documents, one at a time.

#include <cstdint>
#include <string>
#include <vector>

namespace etude {

/// A document, or a piece of one that is large.
struct Document {
  std::string name;               ///< path below the folder, name of the file, "web#3" or "train.jsonl:17"
  std::string text{};             ///< UTF-8 without NUL; not empty, unless there are tokens
  std::vector<int32_t> tokens{};  ///< of what was tokenised elsewhere, ends of documents included
  bool ends = true;               ///< false: the next one goes on with the same document
};

class DocumentReader {
 public:
  virtual ~DocumentReader() = default;
  /// False at the end. Errors: Code::data, each with the file (and the line) and a hint.
  virtual bool next(Document& document) = 0;
  virtual int64_t empty() const { return 0; }  ///< documents without text, which were left out so far
  virtual int64_t bytes() const { return 0; }  ///< of files, read so far
};

}  // namespace etude
