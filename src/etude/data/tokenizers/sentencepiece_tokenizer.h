#pragma once
// Tokenizers of the library sentencepiece (Kudo and Richardson, 2018): read, and trained on a text.

#include <functional>
#include <memory>
#include <string>

#include "etude/data/tokenizer.h"
#include "etude/data/tokenizer_options.h"
#include "etude/data/tokenizers/tokenizer_settings.h"

namespace etude {

/// A sentencepiece .model; `name` is the file in messages. Errors: Code::data with the place in the file.
std::shared_ptr<Tokenizer> parse_sentencepiece(std::string bytes, const std::string& name,
                                               TokenizerSettings settings = {});

/// Trains a model on lines: next_line(line) gives the next one, or false. The same lines give the same model.
///
/// Text stays as it is (no normalization, blanks are kept), so with byte_fallback every text can be decoded again. Ids
/// 0, 1, 2 are <unk>, <s>, </s>; </s> closes documents. Of more lines than options.sentences, every 2nd, 4th, ... is
/// used, as many as fit. Lines of more than 4000 bytes are cut, at a blank where there is one.
///
/// Errors: Code::data for a text that has too little in it for the vocabulary, or too many characters for it, with the
/// size that would do.
std::shared_ptr<Tokenizer> train_sentencepiece(const std::function<bool(std::string& line)>& next_line,
                                               const SentencepieceTraining& options);

}  // namespace etude
