#pragma once
// Tokens that were made once out of a text and are kept below cache_directory(), in files of
// etude/data/corpus/token_cache_format.h.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "etude/data/corpus/token_cache_format.h"
#include "etude/data/corpus/token_sequence.h"

namespace etude::corpus {

/// The tokens of a file with this key, or none if there is no such file. One that is damaged is named in a warning and
/// counts as none.
std::shared_ptr<const TokenSequence> open_token_cache(const std::string& path, const std::string& key,
                                                      int64_t vocabulary);

/// The tokens under `key` in cache_directory(): found there, or written there by `make`, by one process at a time,
/// while others wait for it. Where nothing can be written there, a file without a name holds them until the program
/// ends, and a warning says so once. `about` is the text, for messages. Errors of `make`, and Code::io for a full disk,
/// pass through.
std::shared_ptr<const TokenSequence> cached_tokens(const std::string& key, int64_t vocabulary, const std::string& about,
                                                   const std::function<void(TokenCacheWriter&)>& make);

}  // namespace etude::corpus
