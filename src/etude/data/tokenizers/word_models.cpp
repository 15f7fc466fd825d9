#include "etude/data/tokenizers/word_models.h"

#include <algorithm>

#include "etude/base/text.h"
#include "etude/data/tokenizers/unicode.h"

namespace etude {
namespace {

constexpr size_t kLongestToken = 1024;

int32_t require_token(const TokenTable& table, const std::string& token, const std::string& where) {
  const int32_t id = table.id(token);
  if (id != kNoToken) return id;
  throw Error(Code::data, "the unk_token '" + fitted(printable(token), 40) + "' is not in the vocabulary", where,
              "every word that is not in the vocabulary needs it");
}

class WordPieceModel : public TokenModel {
 public:
  WordPieceModel(TokenTable table, const WordPieceOptions& options, const std::string& where)
      : table_(std::move(table)), options_(options), unknown_(require_token(table_, options.unknown, where)) {
    if (table_.longest() <= kLongestToken) return;
    throw Error(Code::data, "a token of the vocabulary has " + std::to_string(table_.longest()) + " bytes", where,
                "at most 1024 are supported");
  }

  void tokenize(std::string_view piece, ModelScratch& scratch, std::vector<ModelToken>& tokens) const override {
    const size_t first = tokens.size();
    bool known = static_cast<int64_t>(unicode::count(piece)) <= options_.longest_word;
    for (size_t begin = 0; known && begin < piece.size();) {
      const ModelToken token = longest(piece, begin, scratch.text);
      known = token.id != kNoToken;
      begin = token.end;
      tokens.push_back(token);
    }
    if (known) return;
    tokens.resize(first);
    tokens.push_back({unknown_, 0, static_cast<uint32_t>(piece.size())});
  }

  const TokenTable& table() const override { return table_; }

 private:
  ModelToken longest(std::string_view piece, size_t begin, std::string& text) const {
    text = begin > 0 ? options_.prefix : std::string();
    const size_t prefix = text.size();
    size_t end = std::min(piece.size(), begin + table_.longest());
    text += piece.substr(begin, end - begin);
    while (end > begin) {
      const bool whole = end == piece.size() || (piece[end] & 0xC0) != 0x80;
      if (whole) {
        const int32_t id = table_.id(std::string_view(text).substr(0, prefix + end - begin));
        if (id != kNoToken) return {id, static_cast<uint32_t>(begin), static_cast<uint32_t>(end)};
      }
      --end;
    }
    return {kNoToken, 0, static_cast<uint32_t>(piece.size())};
  }

  TokenTable table_;
  WordPieceOptions options_;
  int32_t unknown_;
};

class WordLevelModel : public TokenModel {
 public:
  WordLevelModel(TokenTable table, const std::string& unknown, const std::string& where)
      : table_(std::move(table)), unknown_(require_token(table_, unknown, where)) {}
  void tokenize(std::string_view piece, ModelScratch&, std::vector<ModelToken>& tokens) const override {
    const int32_t id = table_.id(piece);
    tokens.push_back({id == kNoToken ? unknown_ : id, 0, static_cast<uint32_t>(piece.size())});
  }
  const TokenTable& table() const override { return table_; }

 private:
  TokenTable table_;
  int32_t unknown_;
};

}  // namespace

std::unique_ptr<TokenModel> word_piece_model(TokenTable table, const WordPieceOptions& options,
                                             const std::string& where) {
  return std::make_unique<WordPieceModel>(std::move(table), options, where);
}

std::unique_ptr<TokenModel> word_level_model(TokenTable table, const std::string& unknown, const std::string& where) {
  return std::make_unique<WordLevelModel>(std::move(table), unknown, where);
}

}  // namespace etude
