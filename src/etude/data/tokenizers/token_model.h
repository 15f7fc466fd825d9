#pragma once
// The "model" of a tokenizer.json: the tokens of a piece of text.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "etude/data/tokenizers/json_view.h"
#include "etude/data/tokenizers/token_table.h"

namespace etude {

struct ModelToken {
  int32_t id;
  uint32_t begin, end;  ///< bytes of the piece
};

/// Memory that tokenizing needs, kept from piece to piece; one for each thread at work.
struct ModelScratch {
  struct Candidate {
    int32_t rank;
    uint32_t at;
    int32_t id;
  };
  struct Link {
    int32_t before, next;
  };
  struct Path {
    double score;
    uint32_t begin;
    int32_t id;
  };
  std::vector<Candidate> candidates;
  std::vector<Link> links;
  std::vector<Path> paths;
  std::string text;
};

class TokenModel {
 public:
  virtual ~TokenModel() = default;
  /// Appends the tokens of a piece in order. Thread-safe. Errors: Code::data for a piece of 2 GiB and more.
  virtual void tokenize(std::string_view piece, ModelScratch& scratch, std::vector<ModelToken>& tokens) const = 0;
  virtual const TokenTable& table() const = 0;
  /// Whether no token reaches over a "▁" that follows another character: a text may be cut there, into words, without
  /// any change to its tokens.
  virtual bool keeps_words_apart() const { return false; }
};

inline constexpr std::string_view kWordSign = "▁";  ///< by which vocabularies write a blank
/// Whether kWordSign stands in a token behind another character.
bool reaches_over_words(std::string_view token);

/// What a BPE model knows beside its vocabulary and merges.
struct BpeOptions {
  bool bytes = false;   ///< pieces come as bytes, the vocabulary writes byte characters
  std::string unknown;  ///< token for characters outside of the vocabulary; empty: these are dropped
  bool fuse_unknown = false, byte_fallback = false, ignore_merges = false;
  std::string continuing_prefix, end_suffix;
};

/// BPE, WordPiece, WordLevel, Unigram. `bytes`: see BpeOptions; for BPE only.
/// Errors: Code::data with the place for another type, naming these; for ids that are negative, taken twice or far
/// beyond the number of tokens; for merges of tokens that are not in the vocabulary.
std::unique_ptr<TokenModel> read_model(const JsonView& json, bool bytes);
std::string model_type(const JsonView& json);  ///< told by the members where "type" is missing

/// {"token": id, ...}
TokenTable read_vocabulary(const JsonView& json);
/// A token for each line, ids from 0 on. Errors as read_vocabulary(); a token on two lines.
TokenTable read_vocabulary_lines(std::string_view text, const std::string& name);

}  // namespace etude
