#pragma once
// The "decoder" of a tokenizer.json: the text that tokens write.

#include <memory>
#include <string>
#include <vector>

#include "etude/data/tokenizers/json_view.h"

namespace etude {

class TokenDecoder {
 public:
  virtual ~TokenDecoder() = default;
  /// Rewrites tokens; what is left of them, one after another, is the text. Thread-safe.
  virtual void apply(std::vector<std::string>& tokens) const = 0;
};

/// Sequence, ByteLevel, Metaspace, WordPiece, BPEDecoder, ByteFallback, Fuse, Replace, Strip.
/// Errors: Code::data with the place for another type, naming these, and for options that are missing or wrong.
std::unique_ptr<TokenDecoder> read_decoder(const JsonView& json);

std::unique_ptr<TokenDecoder> byte_level_decoder();
/// Blanks before tokens without `prefix`; `cleanup` takes those before marks and English contractions away.
std::unique_ptr<TokenDecoder> word_piece_decoder(std::string prefix, bool cleanup);

/// The byte of a token of the form "<0x0A>"; -1 for others.
int byte_of_fallback(std::string_view token);

}  // namespace etude
