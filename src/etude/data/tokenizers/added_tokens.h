#pragma once
// Tokens that are sought in the text before all else: "<|endoftext|>", "[MASK]".

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "etude/data/tokenizers/byte_trie.h"
#include "etude/data/tokenizers/json_view.h"
#include "etude/data/tokenizers/normalizers.h"
#include "etude/data/tokenizers/piece_text.h"
#include "etude/data/tokenizers/token_table.h"

namespace etude {

struct AddedToken {
  std::string content;
  int64_t id = 0;
  bool special = false;                 ///< stands for no text
  bool single_word = false;             ///< not within a word
  bool lstrip = false, rstrip = false;  ///< takes the space on that side along
  bool normalized = false;              ///< sought in the normalized text, itself normalized
};

class AddedTokens {
 public:
  /// Errors: Code::data for an id that is negative, taken by another token, or far beyond both vocabularies; for an
  /// empty token and one of more than 1024 bytes.
  AddedTokens(std::vector<AddedToken> tokens, const TokenTable& table, const Normalizer* normalizer,
              const std::string& where);

  /// A token or, with the id kNoToken, text between tokens.
  struct Section {
    int32_t id;
    PieceText::Range range;
  };
  /// Appends the sections of a text, in order and without gaps: the leftmost token first, the longest of those.
  void split(std::string_view text, bool normalized, std::vector<Section>& sections) const;
  bool any(bool normalized) const { return !(normalized ? normalized_ : raw_).empty(); }

  const AddedToken* find(int64_t id) const;
  const AddedToken* find(std::string_view content) const;
  int64_t limit() const { return limit_; }  ///< the greatest id and one
  bool special(int64_t id) const {
    const AddedToken* token = find(id);
    return token && token->special;
  }

 private:
  PieceText::Range take_space(std::string_view text, const AddedToken& token, PieceText::Range range,
                              size_t from) const;

  std::vector<AddedToken> tokens_;
  std::unordered_map<int64_t, size_t> by_id_;
  std::unordered_map<std::string, size_t> by_content_;
  ByteTrie raw_, normalized_;  // of indices
  int64_t limit_ = 0;
};

/// "added_tokens" of a tokenizer.json.
std::vector<AddedToken> read_added_tokens(const JsonView& json);
/// The members of one token but for its id: content, special, single_word, lstrip, rstrip, normalized.
AddedToken read_added_token(const JsonView& json);

}  // namespace etude
