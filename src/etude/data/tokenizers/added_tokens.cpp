#include "etude/data/tokenizers/added_tokens.h"

#include <algorithm>

#include "etude/base/text.h"
#include "etude/data/tokenizers/unicode.h"

namespace etude {
namespace {

constexpr size_t kLongest = 1024;
constexpr const char* kHint = "do the vocabulary and the added tokens belong together?";
constexpr int64_t kRoomForHoles = 1 << 16;

std::string shown(std::string_view token) { return "'" + fitted(printable(token), 40) + "'"; }

bool is_at(std::string_view text, size_t at, int classes) {
  return unicode::is(unicode::decode(text, at).code, classes);
}

bool within_word(std::string_view text, const PieceText::Range& range) {
  const bool before = range.begin > 0 && is_at(text, unicode::before(text, range.begin), unicode::kWord);
  const bool after = range.end < text.size() && is_at(text, range.end, unicode::kWord);
  return before || after;
}

void require_token(const AddedToken& token, const TokenTable& table, size_t added, const std::string& where) {
  const int64_t limit = table.limit() + static_cast<int64_t>(added) + kRoomForHoles;
  if (token.content.empty() || token.content.size() > kLongest) {
    throw Error(Code::data, "an added token has " + std::to_string(token.content.size()) + " bytes", where,
                "added tokens have 1 to 1024 bytes");
  }
  if (token.id < 0 || token.id >= limit) {
    throw Error(Code::data,
                "the added token " + shown(token.content) + " has the id " + std::to_string(token.id) +
                    ", which is negative or far beyond the vocabulary",
                where, kHint);
  }
  const int32_t known = table.id(token.content);
  if (known != kNoToken && known != token.id) {
    throw Error(Code::data,
                "the added token " + shown(token.content) + " has the id " + std::to_string(token.id) + ", but " +
                    std::to_string(known) + " in the vocabulary",
                where, kHint);
  }
  if (known == kNoToken && table.has(token.id)) {
    throw Error(Code::data,
                "the added token " + shown(token.content) + " has the id " + std::to_string(token.id) +
                    " of the token " + shown(table.token(token.id)),
                where, kHint);
  }
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens, const TokenTable& table, const Normalizer* normalizer,
                         const std::string& where)
    : tokens_(std::move(tokens)) {
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const AddedToken& token = tokens_[i];
    require_token(token, table, tokens_.size(), where);
    if (!by_id_.emplace(token.id, i).second || !by_content_.emplace(token.content, i).second) {
      throw Error(
          Code::data,
          "the added token " + shown(token.content) + " or its id " + std::to_string(token.id) + " stands twice", where,
          kHint);
    }
    limit_ = std::max(limit_, token.id + 1);
    if (!token.normalized) {
      raw_.add(token.content, static_cast<int32_t>(i));
      continue;
    }
    PieceText content(token.content, 0, false);
    if (normalizer) normalizer->apply(content);
    if (!content.text.empty()) normalized_.add(content.text, static_cast<int32_t>(i));
  }
}

PieceText::Range AddedTokens::take_space(std::string_view text, const AddedToken& token, PieceText::Range range,
                                         size_t from) const {
  while (token.lstrip && range.begin > from) {
    const size_t before = unicode::before(text, range.begin);
    if (!is_at(text, before, unicode::kSpace)) break;
    range.begin = before;
  }
  while (token.rstrip && range.end < text.size() && is_at(text, range.end, unicode::kSpace)) {
    range.end += unicode::decode(text, range.end).length;
  }
  return range;
}

void AddedTokens::split(std::string_view text, bool normalized, std::vector<Section>& sections) const {
  const ByteTrie& trie = normalized ? normalized_ : raw_;
  size_t from = 0;
  for (size_t at = trie.empty() ? text.size() : 0; at < text.size();) {
    size_t length = 0;
    int32_t index = -1;
    trie.prefixes(text, at, [&](int32_t value, size_t size) {
      index = value;
      length = size;
    });
    if (index < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(index)];
    const PieceText::Range match{at, at + length};
    at += length;
    // The space that the token before took along may hold this one's beginning.
    if (match.begin < from || (token.single_word && within_word(text, match))) continue;
    const PieceText::Range range = take_space(text, token, match, from);
    if (from < range.begin) sections.push_back({kNoToken, {from, range.begin}});
    sections.push_back({static_cast<int32_t>(token.id), range});
    from = range.end;
  }
  if (from < text.size()) sections.push_back({kNoToken, {from, text.size()}});
}

const AddedToken* AddedTokens::find(int64_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &tokens_[found->second];
}

const AddedToken* AddedTokens::find(std::string_view content) const {
  const auto found = by_content_.find(std::string(content));
  return found == by_content_.end() ? nullptr : &tokens_[found->second];
}

AddedToken read_added_token(const JsonView& json) {
  AddedToken token;
  token.content = json.at("content").as_string("content");
  const auto flag = [&](std::string_view key, bool otherwise) {
    const auto value = json.find(key);
    return value ? value->as_bool(key) : otherwise;
  };
  token.special = flag("special", false);
  token.single_word = flag("single_word", false);
  token.lstrip = flag("lstrip", false);
  token.rstrip = flag("rstrip", false);
  token.normalized = flag("normalized", !token.special);
  return token;
}

std::vector<AddedToken> read_added_tokens(const JsonView& json) {
  std::vector<AddedToken> tokens;
  json.each_element("added_tokens", [&](JsonView element) {
    tokens.push_back(read_added_token(element));
    tokens.back().id = element.at("id").as_int("id");
  });
  return tokens;
}

}  // namespace etude
