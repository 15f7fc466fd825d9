#pragma once
// The unigram language model (Kudo, 2018): the segmentation whose tokens have the greatest sum of log-probabilities,
// found by Viterbi's algorithm.

#include <array>
#include <vector>

#include "etude/data/tokenizers/byte_trie.h"
#include "etude/data/tokenizers/token_model.h"

namespace etude {

class UnigramModel : public TokenModel {
 public:
  /// Ids are places in `scores`; `unknown` is kNoToken where the model has none.
  UnigramModel(TokenTable table, std::vector<double> scores, int32_t unknown, bool byte_fallback);

  /// Errors also: Code::data for a character outside of the vocabulary of a model without unknown token.
  void tokenize(std::string_view piece, ModelScratch& scratch, std::vector<ModelToken>& tokens) const override;
  const TokenTable& table() const override { return table_; }

 private:
  void find_paths(std::string_view piece, std::vector<ModelScratch::Path>& paths) const;
  void add_unknown(std::string_view piece, uint32_t begin, uint32_t end, std::vector<ModelToken>& tokens) const;

  TokenTable table_;
  std::vector<double> scores_;
  int32_t unknown_;
  double unknown_score_ = 0;
  bool has_fallback_ = false;
  std::array<int32_t, 256> byte_ids_{};
  ByteTrie trie_;
};

}  // namespace etude
