#include "etude/data/tokenizers/unigram.h"

#include <algorithm>
#include <limits>

#include "etude/data/tokenizers/unicode.h"

namespace etude {
namespace {

/// How much less likely than the least likely token an unknown character is.
constexpr double kUnknownPenalty = 10;
constexpr uint32_t kNowhere = std::numeric_limits<uint32_t>::max();

std::string byte_token(int byte) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  return std::string("<0x") + kHex[byte >> 4] + kHex[byte & 15] + '>';
}

}  // namespace

UnigramModel::UnigramModel(TokenTable table, std::vector<double> scores, int32_t unknown, bool byte_fallback)
    : table_(std::move(table)), scores_(std::move(scores)), unknown_(unknown), has_fallback_(byte_fallback) {
  unknown_score_ = (scores_.empty() ? 0 : *std::min_element(scores_.begin(), scores_.end())) - kUnknownPenalty;
  for (int byte = 0; byte < 256; ++byte) {
    int32_t& id = byte_ids_[static_cast<size_t>(byte)];
    id = table_.id(byte_token(byte));
    has_fallback_ = has_fallback_ && id != kNoToken;
  }
  for (int64_t id = 0; id < table_.limit(); ++id) {
    if (!table_.token(id).empty()) trie_.add(table_.token(id), static_cast<int32_t>(id));
  }
}

void UnigramModel::find_paths(std::string_view piece, std::vector<ModelScratch::Path>& paths) const {
  paths.assign(piece.size() + 1, {0, kNowhere, kNoToken});
  const auto offer = [&](size_t begin, size_t end, double score, int32_t id) {
    ModelScratch::Path& path = paths[end];
    if (path.begin != kNowhere && score <= path.score) return;
    path = {score, static_cast<uint32_t>(begin), id};
  };
  for (size_t begin = 0; begin < piece.size();) {
    const double here = paths[begin].score;
    const size_t character = unicode::decode(piece, begin).length;
    bool known = false;
    trie_.prefixes(piece, begin, [&](int32_t id, size_t length) {
      offer(begin, begin + length, here + scores_[static_cast<size_t>(id)], id);
      known = known || length == character;
    });
    if (!known) offer(begin, begin + character, here + unknown_score_, unknown_);
    begin += character;
  }
}

/// Unknown characters side by side are one token, or bytes.
void UnigramModel::add_unknown(std::string_view piece, uint32_t begin, uint32_t end,
                               std::vector<ModelToken>& tokens) const {
  if (has_fallback_) {
    for (uint32_t at = end; at > begin; --at) {
      tokens.push_back({byte_ids_[static_cast<unsigned char>(piece[at - 1])], begin, end});
    }
    return;
  }
  if (unknown_ == kNoToken) {
    throw Error(Code::data, "a character is not in the vocabulary of a tokenizer without unknown token", {},
                "give the model an 'unk_id'");
  }
  tokens.push_back({unknown_, begin, end});
}

void UnigramModel::tokenize(std::string_view piece, ModelScratch& scratch, std::vector<ModelToken>& tokens) const {
  if (piece.size() >= kNowhere) {
    throw Error(Code::data, "a piece of text without a place to cut it has 4 GiB or more", {}, "split the document");
  }
  const size_t first = tokens.size();
  auto& paths = scratch.paths;
  find_paths(piece, paths);
  for (auto end = static_cast<uint32_t>(piece.size()); end > 0;) {
    uint32_t begin = paths[end].begin;
    if (paths[end].id != unknown_) {
      tokens.push_back({paths[end].id, begin, end});
    } else {
      while (begin > 0 && paths[begin].id == unknown_) begin = paths[begin].begin;
      add_unknown(piece, begin, end, tokens);
    }
    end = begin;
  }
  std::reverse(tokens.begin() + static_cast<std::ptrdiff_t>(first), tokens.end());
  if (paths.capacity() > (1 << 20)) paths = {};
}

}  // namespace etude
