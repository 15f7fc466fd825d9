#pragma once
// Tokenizers from the contents of their files. open_tokenizer() finds the files.

#include <memory>
#include <string>
#include <string_view>

#include "etude/data/tokenizer.h"
#include "etude/data/tokenizers/tokenizer_settings.h"

namespace etude {

/// `name` is the file in messages. Errors of all: Code::data with file and place, what is wrong, and a hint.

/// tokenizer.json, what the library `tokenizers` of Hugging Face writes.
std::shared_ptr<Tokenizer> parse_tokenizer_json(std::string bytes, const std::string& name,
                                                TokenizerSettings settings = {});

/// vocab.json and merges.txt, cut as GPT-2 does; as Qwen 2 where the settings say so.
std::shared_ptr<Tokenizer> parse_merges(std::string vocabulary, const std::string& vocabulary_name, std::string merges,
                                        const std::string& merges_name, TokenizerSettings settings = {});

/// vocab.txt: BERT's pipeline over a token for each line. In lower case if the settings say so; where they don't, if
/// no token has a capital letter but those in brackets.
std::shared_ptr<Tokenizer> parse_vocabulary_txt(std::string bytes, const std::string& name,
                                                TokenizerSettings settings = {});

}  // namespace etude
