#pragma once
// What the files beside a tokenizer say of it: tokenizer_config.json, special_tokens_map.json, added_tokens.json and
// config.json, as Hugging Face writes them.

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "etude/data/tokenizer.h"
#include "etude/data/tokenizers/added_tokens.h"

namespace etude {

struct TokenizerSettings {
  std::optional<std::string> document_begin;  ///< bos_token, where add_bos_token is set
  std::optional<std::string> document_end;    ///< eos_token
  std::optional<int64_t> document_end_id;     ///< eos_token_id of config.json, where there is no eos_token
  std::vector<std::string> special;           ///< every token that is named for a purpose, once
  std::vector<AddedToken> added;              ///< of added_tokens_decoder and added_tokens.json
  std::optional<bool> lower_case, strip_accents, ideographs, prefix_space;
  std::string tokenizer_class;         ///< "Qwen2TokenizerFast"; may be empty
  std::vector<Tokenizer::File> files;  ///< those of them that belong to the tokenizer
};

/// Reads those of the files that lie in a folder. Errors: Code::data with the place of what is wrong.
TokenizerSettings read_tokenizer_settings(const std::string& folder);

/// `settings.files` so that they name this token as the one that closes a document.
void name_document_end(TokenizerSettings& settings, const std::string& token);

/// The first that the vocabulary has of <|endoftext|>, <|end_of_text|>, </s>, <|im_end|>, <eos> and [SEP].
std::optional<int64_t> usual_document_end(const std::function<std::optional<int64_t>(std::string_view)>& id);

std::string hash_of_files(const std::vector<Tokenizer::File>& files);

}  // namespace etude
