#include "etude/data/tokenizers/sentencepiece_tokenizer.h"

#include <sentencepiece_processor.h>

#include <algorithm>

#include "etude/base/text.h"
#include "etude/data/tokenizers/sentencepiece_model.h"
#include "etude/data/tokenizers/token_decoders.h"

namespace etude {
namespace {

using Type = SentencepieceModel::Type;

constexpr std::string_view kBlank = "▁";
constexpr size_t kLongestText = size_t{1} << 30;  // the library counts bytes in 32 bits

bool begins_with(std::string_view text, std::string_view beginning) {
  return text.substr(0, beginning.size()) == beginning;
}

class SentencepieceTokenizer : public Tokenizer {
 public:
  SentencepieceTokenizer(std::string bytes, std::string name, TokenizerSettings settings)
      : name_(std::move(name)), model_(read_sentencepiece_model(bytes, name_)) {
    load(bytes);
    find_ends(settings);
    files_.push_back({"tokenizer.model", std::move(bytes)});
    for (File& file : settings.files) files_.push_back(std::move(file));
    hash_ = hash_of_files(files_);
  }

  std::vector<int32_t> encode(std::string_view text) const override {
    require_short(text);
    std::vector<int> ids;
    require_ok(processor_.Encode(text, &ids));
    return {ids.begin(), ids.end()};
  }

  Encoding encode_with_offsets(std::string_view text) const override {
    require_short(text);
    sentencepiece::ImmutableSentencePieceText pieces;
    require_ok(processor_.Encode(text, pieces.mutable_proto()));
    Encoding encoding;
    int32_t word = -1;
    for (size_t i = 0; i < pieces.pieces_size(); ++i) {
      const auto piece = pieces.pieces(static_cast<int>(i));
      if (word < 0 || begins_with(piece.piece(), kBlank)) ++word;
      encoding.ids.push_back(static_cast<int32_t>(piece.id()));
      encoding.offsets.push_back({piece.begin(), piece.end()});
      encoding.words.push_back(word);
    }
    widen_bytes(encoding);
    return encoding;
  }

  std::string decode(const std::vector<int64_t>& ids) const override {
    std::string text;
    bool at_start = true;
    for (const int64_t id : ids) {
      if (id < 0 || id >= vocabulary()) continue;
      const Type type = model_.types[static_cast<size_t>(id)];
      if (type == Type::unknown) at_start = false;
      if (type == Type::control || type == Type::unknown) continue;
      const std::string_view piece = model_.table.token(id);
      if (type == Type::byte) {
        text += static_cast<char>(byte_of_fallback(piece));
        at_start = false;
      } else {
        append_piece(piece, text, at_start);
      }
    }
    return text;
  }

  int64_t vocabulary() const override { return static_cast<int64_t>(model_.types.size()); }

  int64_t document_end() const override {
    if (end_) return *end_;
    throw Error(Code::data, "the tokenizer has no token that closes a document", name_,
                "name one as \"eos_token\" in a tokenizer_config.json beside it");
  }
  std::optional<int64_t> document_begin() const override { return begin_; }

  std::optional<int64_t> id(std::string_view token) const override {
    const int32_t id = model_.table.id(token);
    return id == kNoToken ? std::nullopt : std::optional<int64_t>(id);
  }
  std::string token(int64_t id) const override { return std::string(model_.table.token(id)); }
  std::string hash() const override { return hash_; }
  std::vector<File> files() const override { return files_; }

 private:
  void load(const std::string& bytes) {
    std::string problem;
    try {
      const auto status = processor_.LoadFromSerializedProto(bytes);
      if (!status.ok()) problem = status.message();
    } catch (const std::exception& error) {  // of the library's trie
      problem = error.what();
    }
    if (problem.empty()) return;
    throw Error(Code::data, "sentencepiece can't use the model: " + fitted(printable(problem), 200), name_,
                "is this a sentencepiece model, and complete?");
  }

  void find_ends(TokenizerSettings& settings) {
    const auto require = [&](const std::string& token) {
      if (const auto found = id(token)) return *found;
      throw Error(Code::data, "the token '" + fitted(printable(token), 40) + "' is not in the vocabulary", name_,
                  "do the files of the tokenizer belong together?");
    };
    if (settings.document_begin) begin_ = require(*settings.document_begin);
    if (settings.document_end) {
      end_ = require(*settings.document_end);
    } else {
      end_ = id(model_.end_piece);
      if (!end_) end_ = usual_document_end([&](std::string_view token) { return id(token); });
    }
  }

  void require_short(std::string_view text) const {
    if (text.size() <= kLongestText) return;
    throw Error(Code::data, "a text of " + std::to_string(text.size()) + " bytes is too long for sentencepiece", name_,
                "split the document: at most 1 GiB");
  }

  void require_ok(const sentencepiece::util::Status& status) const {
    if (status.ok()) return;
    throw Error(Code::data, "sentencepiece can't encode the text: " + fitted(printable(status.message()), 200), name_);
  }

  /// The library gives a character that is written in bytes to the last of them: each stands for all of it.
  void widen_bytes(Encoding& encoding) const {
    for (size_t i = encoding.ids.size(); i-- > 1;) {
      auto& [begin, end] = encoding.offsets[i - 1];
      const Type type = model_.types[static_cast<size_t>(encoding.ids[i - 1])];
      if (type == Type::byte && begin == end && encoding.offsets[i].begin == begin) end = encoding.offsets[i].end;
    }
  }

  /// Blanks that were put before the text are taken away again.
  void append_piece(std::string_view piece, std::string& text, bool& at_start) const {
    if (at_start && (model_.dummy_prefix || model_.fewer_blanks) && begins_with(piece, kBlank)) {
      piece.remove_prefix(kBlank.size());
      at_start = model_.fewer_blanks;
    } else {
      at_start = false;
    }
    if (!piece.empty()) at_start = false;
    while (!piece.empty()) {
      const size_t blank = std::min(piece.find(kBlank), piece.size());
      text += piece.substr(0, blank);
      if (blank == piece.size()) return;
      text += ' ';
      piece.remove_prefix(blank + kBlank.size());
    }
  }

  std::string name_;
  SentencepieceModel model_;
  sentencepiece::SentencePieceProcessor processor_;
  std::optional<int64_t> begin_, end_;
  std::vector<File> files_;
  std::string hash_;
};

}  // namespace

std::shared_ptr<Tokenizer> parse_sentencepiece(std::string bytes, const std::string& name, TokenizerSettings settings) {
  return std::make_shared<SentencepieceTokenizer>(std::move(bytes), name, std::move(settings));
}

}  // namespace etude
