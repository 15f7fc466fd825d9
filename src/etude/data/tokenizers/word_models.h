#pragma once
// Models that look pieces up: WordPiece (Devlin et al., 2019: the longest known beginning, again and again) and
// WordLevel.

#include "etude/data/tokenizers/token_model.h"

namespace etude {

struct WordPieceOptions {
  std::string unknown = "[UNK]";
  std::string prefix = "##";   ///< of tokens that don't begin a word
  int64_t longest_word = 100;  ///< characters; longer ones are unknown
};

/// Errors of both: Code::data if `unknown` is not in the vocabulary; of the first for a token of more than 1024 bytes.
std::unique_ptr<TokenModel> word_piece_model(TokenTable table, const WordPieceOptions& options,
                                             const std::string& where);
std::unique_ptr<TokenModel> word_level_model(TokenTable table, const std::string& unknown, const std::string& where);

}  // namespace etude
