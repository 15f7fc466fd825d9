#pragma once
// Rows of tokens as a data set: see TextDataset.

#include <memory>
#include <optional>
#include <vector>

#include "etude/data/corpus/token_sequence.h"
#include "etude/data/text.h"
#include "etude/data/text_layout.h"

namespace etude {

/// One text: its tokens and how they are cut.
struct TextPart {
  std::shared_ptr<const corpus::TokenSequence> tokens;
  std::shared_ptr<const TextLayout> layout;
  double weight = 1;
};

struct TextRows {
  std::vector<TextPart> parts;  ///< one, or several that are mixed
  int64_t length = 0;
  std::shared_ptr<Tokenizer> tokenizer;
  std::optional<int64_t> document_end;
  DataCard card;  ///< but for the number of records
};

std::shared_ptr<TextDataset> text_rows(const TextRows& rows, TextDataset::Split split);

}  // namespace etude
