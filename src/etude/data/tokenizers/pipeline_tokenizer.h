#pragma once
// A tokenizer as tokenizer.json describes it: added tokens, normalizer, pre-tokenizer, model, and a decoder for the way
// back.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "etude/data/tokenizer.h"
#include "etude/data/tokenizers/added_tokens.h"
#include "etude/data/tokenizers/normalizers.h"
#include "etude/data/tokenizers/pre_tokenizers.h"
#include "etude/data/tokenizers/token_decoders.h"
#include "etude/data/tokenizers/token_model.h"

namespace etude {

struct TokenizerParts {
  std::unique_ptr<Normalizer> normalizer;  ///< none: text stays as it is
  PreTokenization pre_tokenization;
  std::unique_ptr<TokenModel> model;
  std::vector<AddedToken> added;
  std::unique_ptr<TokenDecoder> decoder;  ///< none: tokens with blanks between them

  /// Offsets of byte-level tokens leave out the blanks at their ends.
  struct Trim {
    bool prefix = true;  ///< whether a blank was put before the text
  };
  std::optional<Trim> trim;

  std::optional<std::string> document_begin, document_end;  ///< tokens; none: see usual_document_end()
  std::vector<Tokenizer::File> files;                       ///< what they were read from
  std::string name;                                         ///< of the file, for messages
};

/// Errors: Code::data as AddedTokens; for a document_begin or document_end that is not in the vocabulary.
std::shared_ptr<Tokenizer> pipeline_tokenizer(TokenizerParts parts);

}  // namespace etude
