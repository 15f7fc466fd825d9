#include "etude/data/text_sources.h"

#include <algorithm>
#include <chrono>

#include "etude/base/error.h"
#include "etude/base/file.h"
#include "etude/base/log.h"
#include "etude/base/text.h"
#include "etude/data/corpus/readers.h"
#include "etude/data/corpus/token_cache.h"
#include "etude/data/corpus/token_packer.h"
#include "etude/data/sets.h"

namespace etude {
namespace {

constexpr int64_t kInMemory = int64_t{32} << 20;  ///< bytes of a text whose byte tokens need no file
constexpr int64_t kShown = int64_t{16} << 20;     ///< bytes from which on people want to see that it goes on

DataCard card_of(const std::string& path, const corpus::Content& content) {
  DataCard card;
  card.name = path;
  card.origin = path;
  card.licence = "the user's own";
  for (const DataCard& builtin : data_sets()) {
    if (path == "builtin:" + builtin.name) card = builtin;
  }
  if (path.starts_with("set:")) {
    for (const NamedSet& set : named_sets()) {
      if (path == "set:" + set.name) card.licence = set.licence;
    }
  }
  card.sha256 = content.sha256;
  card.bytes = content.bytes;
  return card;
}

bool fits_memory(const FoundText& text) {
  const bool packed = std::any_of(text.source.files.begin(), text.source.files.end(), [](const TextFile& file) {
    return file.packing != corpus::Packing::none || file.format == TextFormat::tokens;
  });
  return !packed && text.content.bytes < kInMemory;
}

/// How far the tokens of a long text are.
class Meter {
 public:
  explicit Meter(const FoundText& text) : text_(text) {
    if (text.content.bytes >= kShown) line_ = std::make_unique<LiveLine>();
  }
  void show(int64_t read, int64_t tokens) {
    constexpr int64_t kOften = int64_t{1} << 20;
    if (!line_ || read - shown_ < kOften) return;
    shown_ = read;
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - begin_;
    const auto megabytes = [](int64_t bytes) { return rounded_number(static_cast<double>(bytes) / 1e6, 4); };
    line_->show("tokens of " + text_.source.path + ": " + megabytes(read) + " of " + megabytes(text_.content.bytes) +
                " MB read, " + megabytes(tokens) + " million tokens, " +
                rounded_number(static_cast<double>(read) / 1e6 / std::max(spent.count(), 1e-3), 3) + " MB/s");
  }
  void finish(int64_t tokens) {
    if (line_) line_->finish("tokens of " + text_.source.path + ": " + std::to_string(tokens));
  }

 private:
  const FoundText& text_;
  std::unique_ptr<LiveLine> line_;
  int64_t shown_ = 0;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

struct Packed {
  int64_t documents = 0, empty = 0;
};

/// Reads all documents and gives their tokens to `out`.
Packed pack(const FoundText& text, const Tokenizer& tokenizer, int64_t document_end,
            const corpus::TokenPacker::Out& out) {
  int64_t tokens = 0;
  corpus::TokenPacker packer(tokenizer, document_end, [&](std::span<const int32_t> ids) {
    tokens += static_cast<int64_t>(ids.size());
    out(ids);
  });
  Meter meter(text);
  const auto reader = open_documents(text.source, text.field);
  for (Document document; reader->next(document);) {
    packer.add(document);
    meter.show(reader->bytes(), tokens);
  }
  meter.finish(tokens);
  corpus::require_same(text.source, text.content);
  const int64_t empty = reader->empty();
  if (empty > 0) inform(std::to_string(empty) + " documents without text were left out of " + text.source.path);
  if (packer.documents() == 0) {
    throw Error(Code::data, "there is no text in any of the " + std::to_string(empty) + " documents", text.source.path,
                "is '" + printable(text.field) + "' the field that holds the text?");
  }
  return {packer.documents(), empty};
}

std::shared_ptr<const corpus::TokenSequence> byte_tokens(const FoundText& text, const Tokenizer& tokenizer,
                                                         int64_t document_end) {
  std::vector<uint16_t> tokens;
  tokens.reserve(static_cast<size_t>(text.content.bytes + text.content.bytes / 64));
  const Packed packed = pack(text, tokenizer, document_end, [&](std::span<const int32_t> ids) {
    for (const int32_t id : ids) tokens.push_back(static_cast<uint16_t>(id));
  });
  return corpus::tokens_in_memory(std::move(tokens), packed.documents);
}

/// All that decides the tokens of a text.
std::string key_of(const FoundText& text, const Tokenizer& tokenizer, int64_t document_end) {
  return file::sha256("tokens of pieces of " + std::to_string(corpus::kTextPiece) + "\n" + text.content.sha256 + "\n" +
                      text.field + "\n" + tokenizer.hash() + "\n" + std::to_string(document_end));
}

std::shared_ptr<const corpus::TokenSequence> tokens_in_place(const FoundText& text, const Tokenizer& tokenizer,
                                                             std::optional<int64_t> document_end) {
  if (text.content.largest >= tokenizer.vocabulary()) {
    throw Error(Code::data,
                "id " + std::to_string(text.content.largest) + " is not in the vocabulary of " +
                    std::to_string(tokenizer.vocabulary()),
                text.source.path,
                "name the tokenizer that made these ids: tokenizer = {kind = \"file\", path = \"...\"}");
  }
  std::vector<corpus::MappedRun> runs;
  for (const TextFile& file : text.source.files) {
    auto mapped = std::make_shared<file::Mapped>(file.path);
    const auto run = corpus::token_run(mapped->bytes().substr(0, corpus::kTokenHead),
                                       static_cast<int64_t>(mapped->size()), file.path);
    runs.push_back({std::move(mapped), run});
  }
  corpus::require_same(text.source, text.content);
  return corpus::mapped_tokens(std::move(runs), tokenizer.vocabulary(), document_end ? -1 : 1);
}

}  // namespace

std::vector<FoundText> found_texts(const TextOptions& options) {
  std::vector<MixedTextOptions> wanted = options.mix;
  if (wanted.empty()) wanted.push_back({options.path, 1, options.field});
  std::vector<FoundText> found;
  for (size_t i = 0; i < wanted.size(); ++i) {
    const MixedTextOptions& one = wanted[i];
    if (one.field.empty()) {
      throw Error(Code::config, "the field of the text has no name",
                  options.mix.empty() ? "data.field" : "data.mix." + std::to_string(i) + ".field",
                  "\"text\" is what most JSON lines have");
    }
    TextSource source = find_texts(one.path);
    corpus::Content content = corpus::content_of(source);
    DataCard card = card_of(one.path, content);
    found.push_back({std::move(source), one.field, one.weight, std::move(content), std::move(card)});
  }
  return found;
}

std::optional<int64_t> document_end_of(const TextOptions& options, const std::vector<FoundText>& texts,
                                       const Tokenizer& tokenizer) {
  if (options.document_end >= tokenizer.vocabulary()) {
    throw Error(Code::config,
                "document_end = " + std::to_string(options.document_end) + " is not in the vocabulary of " +
                    std::to_string(tokenizer.vocabulary()),
                "data.document_end", "-1 takes the tokenizer's");
  }
  if (options.document_end >= 0) return options.document_end;
  const bool only_ids =
      std::all_of(texts.begin(), texts.end(), [](const FoundText& text) { return text.source.is_tokens(); });
  try {
    return tokenizer.document_end();
  } catch (const Error&) {
    if (only_ids) return std::nullopt;
    throw;
  }
}

std::shared_ptr<const corpus::TokenSequence> tokens_of(const FoundText& text, const TextOptions& options,
                                                       const Tokenizer& tokenizer,
                                                       std::optional<int64_t> document_end) {
  if (text.source.is_tokens()) return tokens_in_place(text, tokenizer, document_end);
  ETUDE_CHECK(document_end, "documents are closed");
  if (options.tokenizer.is<BytesChoice>() && fits_memory(text)) return byte_tokens(text, tokenizer, *document_end);
  const std::string key = key_of(text, tokenizer, *document_end);
  return corpus::cached_tokens(key, tokenizer.vocabulary(), text.source.path, [&](corpus::TokenCacheWriter& writer) {
    const Packed packed = pack(text, tokenizer, *document_end, [&](std::span<const int32_t> ids) { writer.add(ids); });
    writer.finish(packed.documents, packed.empty);
  });
}

}  // namespace etude
