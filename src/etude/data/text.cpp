#include "etude/data/text.h"

#include <algorithm>
#include <set>

#include "etude/base/error.h"
#include "etude/base/file.h"
#include "etude/base/text.h"
#include "etude/data/text_rows.h"
#include "etude/data/text_sources.h"

namespace etude {
namespace {

void check(const TextOptions& options) {
  if (!(options.validation >= 0 && options.validation < 1)) {
    throw Error(Code::config, "validation is no share in [0, 1)", "data.validation", "0.05 keeps a twentieth");
  }
  if (options.length < 2 || options.length > (int64_t{1} << 40)) {
    throw Error(Code::config, "length " + std::to_string(options.length) + " is out of range", "data.length",
                "a row has two tokens at least");
  }
}

/// One card for what is mixed: every part's hash and weight decides its own.
DataCard card_of(const std::vector<FoundText>& texts) {
  if (texts.size() == 1) return texts.front().card;
  DataCard card;
  std::string parts;
  std::set<std::string> licences;
  for (const FoundText& text : texts) {
    card.name += (card.name.empty() ? "" : " + ") + text.card.name;
    card.origin += (card.origin.empty() ? "" : "; ") + text.card.origin;
    if (licences.insert(text.card.licence).second)
      card.licence += (card.licence.empty() ? "" : "; ") + text.card.licence;
    card.bytes += text.card.bytes;
    parts += text.card.sha256 + " " + real_text(text.weight) + "\n";
  }
  card.sha256 = file::sha256(parts);
  return card;
}

}  // namespace

TextSplits open_text(const TextOptions& options) {
  check(options);
  const std::vector<FoundText> texts = found_texts(options);
  TextRows rows;
  rows.length = options.length;
  rows.card = card_of(texts);
  rows.tokenizer = tokenizer_of(options, texts);
  rows.document_end = document_end_of(options, texts, *rows.tokenizer);
  for (const FoundText& text : texts) {
    auto tokens = tokens_of(text, options, *rows.tokenizer, rows.document_end);
    auto layout =
        std::make_shared<const TextLayout>(tokens->size(), options.length, options.validation, text.source.path);
    rows.parts.push_back({std::move(tokens), std::move(layout), text.weight});
  }
  return {text_rows(rows, TextDataset::Split::train), text_rows(rows, TextDataset::Split::validation)};
}

std::shared_ptr<TextDataset> open_text(const TextOptions& options, TextDataset::Split split) {
  const TextSplits splits = open_text(options);
  return split == TextDataset::Split::train ? splits.train : splits.validation;
}

}  // namespace etude
