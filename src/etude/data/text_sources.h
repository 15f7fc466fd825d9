#pragma once
// From the options of a text to its tokens.

#include <memory>
#include <optional>
#include <vector>

#include "etude/data/corpus/content.h"
#include "etude/data/corpus/token_sequence.h"
#include "etude/data/text.h"

namespace etude {

/// A text that was found and read once, for its hash.
struct FoundText {
  TextSource source;
  std::string field;
  double weight = 1;
  corpus::Content content;
  DataCard card;
};

/// The texts of data.path or of data.mix. Errors: those of find_texts() and content_of(), Code::config.
std::vector<FoundText> found_texts(const TextOptions& options);

/// Errors: of the tokenizer, Code::config where it doesn't fit the texts.
std::shared_ptr<Tokenizer> tokenizer_of(const TextOptions& options, const std::vector<FoundText>& texts);

/// The token that closes a document, as the options or the tokenizer say; none for token ids that nobody explains.
/// Errors: Code::config for an id that the tokenizer doesn't have, Code::data where texts need one and there is none.
std::optional<int64_t> document_end_of(const TextOptions& options, const std::vector<FoundText>& texts,
                                       const Tokenizer& tokenizer);

/// In memory, out of the cache or where they are. Errors: of reading, of the tokenizer, of a full disk.
std::shared_ptr<const corpus::TokenSequence> tokens_of(const FoundText& text, const TextOptions& options,
                                                       const Tokenizer& tokenizer, std::optional<int64_t> document_end);

}  // namespace etude
