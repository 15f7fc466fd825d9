#pragma once
// A run's tokenizer as the files that transformers reads.

#include <cstdint>
#include <vector>

#include "etude/data/tokenizer.h"

namespace etude::cli {

/// The tokenizer's own files; of bytes, a tokenizer.json of the same ids: a byte-level BPE without merges, whose
/// document end is "<|endoftext|>"; none of one that knows ids only. Beside them a tokenizer_config.json, unless there
/// is one. length: of the model.
std::vector<Tokenizer::File> exported_tokenizer(const Tokenizer& tokenizer, int64_t length);

}  // namespace etude::cli
