#pragma once
// Token ids by their place, wherever they are kept.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "etude/base/mapped_file.h"
#include "etude/data/corpus/token_file.h"

namespace etude::corpus {

/// May be read by several threads at once.
class TokenSequence {
 public:
  virtual ~TokenSequence() = default;
  virtual int64_t size() const = 0;
  virtual int64_t documents() const = 0;       ///< -1: nobody has counted
  virtual int64_t empty() const { return 0; }  ///< documents without text, which were left out
  /// Ids begin..begin + count - 1. Errors: Code::data for an id outside the vocabulary. Required: they are there.
  virtual void read(int64_t begin, int64_t count, int32_t* out) const = 0;
  /// Says that they will be read soon.
  virtual void will_need(int64_t begin, int64_t count) const = 0;
  /// Errors: Code::data when what was read is no longer what was written.
  virtual void require_whole() const = 0;
};

std::shared_ptr<const TokenSequence> tokens_in_memory(std::vector<uint16_t> tokens, int64_t documents);

/// A mapped file and where its ids lie.
struct MappedRun {
  std::shared_ptr<const file::Mapped> file;
  TokenRun run;
};
/// The ids of several files, one file after the other; `vocabulary`: ids are 0..vocabulary-1. Opening them reads
/// nothing.
std::shared_ptr<const TokenSequence> mapped_tokens(std::vector<MappedRun> files, int64_t vocabulary, int64_t documents,
                                                   int64_t empty = 0);

}  // namespace etude::corpus
