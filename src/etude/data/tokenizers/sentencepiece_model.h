#pragma once
// The file of a sentencepiece model, a message of Protocol Buffers (sentencepiece_model.proto), checked field by field
// before the library reads it: that one trusts the tables inside.

#include <string>
#include <string_view>
#include <vector>

#include "etude/data/tokenizers/token_table.h"

namespace etude {

struct SentencepieceModel {
  enum class Type : unsigned char { normal = 1, unknown, control, user_defined, unused, byte };
  TokenTable table;         ///< ids are places in the file
  std::vector<Type> types;  ///< of each piece
  std::string begin_piece = "<s>", end_piece = "</s>";
  bool dummy_prefix = true;       ///< a blank is put before a text
  bool fewer_blanks = true;       ///< blanks at the ends and next to each other are left out
  bool escaped_blanks = true;     ///< blanks are written as "▁"
  bool blanks_end_words = false;  ///< "▁" stands behind a word, not before it
  bool has_rules = false;         ///< text is normalized by rules of the model

  /// Whether a text may be cut before a blank that follows another character without any change to its tokens.
  bool keeps_words_apart() const;
};

/// Errors: Code::data with the place ("tokenizer.model: piece 12") for what is cut off, malformed, doubled, not UTF-8
/// or not finite.
SentencepieceModel read_sentencepiece_model(std::string_view bytes, const std::string& name);

}  // namespace etude
