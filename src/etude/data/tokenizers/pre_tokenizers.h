#pragma once
// The "pre_tokenizer" of a tokenizer.json: how a text is cut into the pieces within which tokens are sought.

#include <memory>
#include <string>
#include <vector>

#include "etude/data/tokenizers/json_view.h"
#include "etude/data/tokenizers/piece_text.h"

namespace etude {

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  /// Cuts each piece into smaller ones; some rewrite the text. Thread-safe.
  virtual void apply(PieceText& text) const = 0;
};
using PreTokenizers = std::vector<std::unique_ptr<PreTokenizer>>;

struct PreTokenization {
  PreTokenizers steps;
  /// The last step was to write bytes as characters (byte_characters.h): it is left out, the model takes bytes.
  bool ends_in_bytes = false;
  bool cuts = false;  ///< whether pieces are words, or the whole text is one piece
};

/// Sequence, ByteLevel, Split, Whitespace, WhitespaceSplit, BertPreTokenizer, Punctuation, Digits, Metaspace.
/// Errors: Code::data with the place for another type, naming these, and for options that are missing or wrong.
PreTokenization read_pre_tokenizer(const JsonView& json);

/// As GPT-2 cuts: the pattern of words, then bytes.
PreTokenization gpt2_pre_tokenization(bool add_prefix_space);
PreTokenization bert_pre_tokenization();
/// Cuts before each kWordSign that follows another character.
std::unique_ptr<PreTokenizer> word_cutter();
/// Writes bytes as characters: what PreTokenization leaves out.
std::unique_ptr<PreTokenizer> byte_writer();

}  // namespace etude
