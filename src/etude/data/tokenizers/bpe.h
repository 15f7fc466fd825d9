#pragma once
// Byte pair encoding (Sennrich et al., 2016): the two neighbours whose merge was learned first become one token, until
// no neighbours merge.

#include <array>

#include "etude/data/tokenizers/token_model.h"

namespace etude {

class BpeModel : public TokenModel {
 public:
  /// Errors: Code::data if `options.unknown` is not in the vocabulary.
  BpeModel(TokenTable table, BpeOptions options, const std::string& where);

  /// The next merge in order. Errors: Code::data if one of the tokens or what they make is not in the vocabulary.
  void add_merge(std::string_view left, std::string_view right, const std::string& where);
  void reserve(size_t merges);

  void tokenize(std::string_view piece, ModelScratch& scratch, std::vector<ModelToken>& tokens) const override;
  const TokenTable& table() const override { return table_; }
  bool keeps_words_apart() const override;

 private:
  struct Merge {
    uint64_t pair = kNoPair;
    int32_t rank = 0, id = kNoToken;
  };
  static constexpr uint64_t kNoPair = ~uint64_t{0};

  static uint64_t pair_of(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  size_t slot(uint64_t pair) const;
  const Merge& merge_of(int32_t left, int32_t right) const { return merges_[slot(pair_of(left, right))]; }
  void resize(size_t slots);

  void first_tokens(std::string_view piece, ModelScratch& scratch, std::vector<ModelToken>& tokens) const;
  std::string_view as_written(std::string_view piece, size_t begin, size_t end, std::string& buffer) const;
  bool fall_back(std::string_view character, uint32_t begin, std::vector<ModelToken>& tokens) const;
  void merge_few(size_t first, ModelScratch& scratch, std::vector<ModelToken>& tokens) const;
  void merge_many(size_t first, ModelScratch& scratch, std::vector<ModelToken>& tokens) const;

  TokenTable table_;
  BpeOptions options_;
  int32_t unknown_ = kNoToken;
  std::array<int32_t, 256> byte_ids_{};  // of byte characters, or of "<0x0A>" for the fallback
  bool merges_reach_over_words_ = false;
  std::vector<Merge> merges_;  // open addressing
  size_t count_ = 0;
  int32_t next_rank_ = 0;
};

}  // namespace etude
