#pragma once
// The "normalizer" of a tokenizer.json: how a text is rewritten before it is cut.

#include <memory>
#include <optional>
#include <string>

#include "etude/data/tokenizers/json_view.h"
#include "etude/data/tokenizers/piece_text.h"

namespace etude {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  /// Rewrites the text, which is and stays one piece. Thread-safe.
  virtual void apply(PieceText& text) const = 0;
};

/// Sequence, NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, BertNormalizer, Prepend, Replace.
/// Errors: Code::data with the place for another type, naming these, and for options that are missing or wrong.
std::unique_ptr<Normalizer> read_normalizer(const JsonView& json);

struct BertNormalization {
  bool clean = true, ideographs = true, lower = true;
  std::optional<bool> strip_accents;  ///< as `lower`, if not said
};
std::unique_ptr<Normalizer> bert_normalizer(const BertNormalization& options);

}  // namespace etude
