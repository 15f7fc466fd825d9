#include "etude/data/tokenizers/bpe.h"

#include <algorithm>
#include <limits>

#include "etude/base/text.h"
#include "etude/data/tokenizers/byte_characters.h"
#include "etude/data/tokenizers/unicode.h"

namespace etude {
namespace {

/// Up to so many tokens, looking at all neighbours for each merge is faster than a heap of them.
constexpr size_t kFew = 24;
constexpr int32_t kNoMerge = std::numeric_limits<int32_t>::max();

std::string byte_token(int byte) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  return std::string("<0x") + kHex[byte >> 4] + kHex[byte & 15] + '>';
}

/// A heap of candidates by std::push_heap: the first one by rank, then by place, is on top.
bool comes_later(const ModelScratch::Candidate& a, const ModelScratch::Candidate& b) {
  return a.rank != b.rank ? a.rank > b.rank : a.at > b.at;
}

std::string shown(std::string_view token) { return "'" + fitted(printable(token), 40) + "'"; }

}  // namespace

BpeModel::BpeModel(TokenTable table, BpeOptions options, const std::string& where)
    : table_(std::move(table)), options_(std::move(options)) {
  if (!options_.unknown.empty()) {
    unknown_ = table_.id(options_.unknown);
    if (unknown_ == kNoToken) {
      throw Error(Code::data, "the unk_token " + shown(options_.unknown) + " is not in the vocabulary", where,
                  "name a token of the vocabulary, or none");
    }
  }
  for (int byte = 0; byte < 256; ++byte) {
    int32_t& id = byte_ids_[static_cast<size_t>(byte)];
    id = options_.bytes ? table_.id(byte_character(static_cast<unsigned char>(byte))) : table_.id(byte_token(byte));
  }
  resize(64);
}

void BpeModel::reserve(size_t merges) {
  size_t slots = 64;
  while (slots * 3 < merges * 4) slots *= 2;
  resize(slots);
}

size_t BpeModel::slot(uint64_t pair) const {
  const size_t mask = merges_.size() - 1;
  const uint64_t mixed = (pair ^ pair >> 29) * 0x9E3779B97F4A7C15;
  size_t at = (mixed ^ mixed >> 32) & mask;
  while (merges_[at].pair != kNoPair && merges_[at].pair != pair) at = (at + 1) & mask;
  return at;
}

void BpeModel::resize(size_t slots) {
  std::vector<Merge> before(slots);
  before.swap(merges_);
  for (const Merge& merge : before) {
    if (merge.pair != kNoPair) merges_[slot(merge.pair)] = merge;
  }
}

void BpeModel::add_merge(std::string_view left, std::string_view right, const std::string& where) {
  const std::string& prefix = options_.continuing_prefix;
  std::string_view tail = right;
  if (!prefix.empty() && tail.substr(0, prefix.size()) == prefix) tail.remove_prefix(prefix.size());
  std::string made(left);
  made += tail;
  const int32_t ids[] = {table_.id(left), table_.id(right), table_.id(made)};
  for (size_t i = 0; i < 3; ++i) {
    if (ids[i] != kNoToken) continue;
    const std::string_view missing = i == 0 ? left : i == 1 ? right : std::string_view(made);
    throw Error(Code::data,
                "the merge of " + shown(left) + " and " + shown(right) + " needs the token " + shown(missing) +
                    ", which is not in the vocabulary",
                where, "do vocabulary and merges belong together?");
  }
  merges_reach_over_words_ = merges_reach_over_words_ || reaches_over_words(made);
  if ((count_ + 1) * 4 > merges_.size() * 3) resize(merges_.size() * 2);
  const uint64_t pair = pair_of(ids[0], ids[1]);
  Merge& merge = merges_[slot(pair)];
  if (merge.pair == kNoPair) ++count_;
  merge = {pair, next_rank_++, ids[2]};
}

bool BpeModel::keeps_words_apart() const {
  const bool plain = options_.continuing_prefix.empty() && options_.end_suffix.empty() && !options_.ignore_merges;
  return plain && !merges_reach_over_words_ && table_.id(kWordSign) != kNoToken;
}

void BpeModel::tokenize(std::string_view piece, ModelScratch& scratch, std::vector<ModelToken>& tokens) const {
  if (piece.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    throw Error(Code::data, "a piece of text without a place to cut it has 2 GiB or more", {}, "split the document");
  }
  if (options_.ignore_merges) {
    const int32_t whole = table_.id(options_.bytes ? as_byte_characters(piece) : std::string(piece));
    if (whole != kNoToken) {
      tokens.push_back({whole, 0, static_cast<uint32_t>(piece.size())});
      return;
    }
  }
  const size_t first = tokens.size();
  first_tokens(piece, scratch, tokens);
  if (tokens.size() - first <= kFew) {
    merge_few(first, scratch, tokens);
  } else {
    merge_many(first, scratch, tokens);
  }
}

/// A character as the vocabulary would write it at its place of the piece.
std::string_view BpeModel::as_written(std::string_view piece, size_t begin, size_t end, std::string& buffer) const {
  const std::string_view character = piece.substr(begin, end - begin);
  const bool prefixed = begin > 0 && !options_.continuing_prefix.empty();
  const bool suffixed = end == piece.size() && !options_.end_suffix.empty();
  if (!prefixed && !suffixed && !options_.bytes) return character;
  buffer.clear();
  if (prefixed) buffer += options_.continuing_prefix;
  if (options_.bytes) {
    buffer += byte_character(static_cast<unsigned char>(character.front()));
  } else {
    buffer += character;
  }
  if (suffixed) buffer += options_.end_suffix;
  return buffer;
}

bool BpeModel::fall_back(std::string_view character, uint32_t begin, std::vector<ModelToken>& tokens) const {
  const auto id = [&](char byte) { return byte_ids_[static_cast<unsigned char>(byte)]; };
  for (const char byte : character) {
    if (id(byte) == kNoToken) return false;
  }
  for (const char byte : character) {
    tokens.push_back({id(byte), begin, begin + 1});
    ++begin;
  }
  return true;
}

void BpeModel::first_tokens(std::string_view piece, ModelScratch& scratch, std::vector<ModelToken>& tokens) const {
  const bool plain_bytes = options_.bytes && options_.continuing_prefix.empty() && options_.end_suffix.empty();
  bool after_unknown = false;
  for (size_t begin = 0; begin < piece.size();) {
    const size_t end = begin + (options_.bytes ? 1 : unicode::decode(piece, begin).length);
    const auto from = static_cast<uint32_t>(begin), to = static_cast<uint32_t>(end);
    const int32_t id = plain_bytes ? byte_ids_[static_cast<unsigned char>(piece[begin])]
                                   : table_.id(as_written(piece, begin, end, scratch.text));
    if (id != kNoToken) {
      tokens.push_back({id, from, to});
      after_unknown = false;
    } else if (options_.byte_fallback && !options_.bytes && fall_back(piece.substr(begin, end - begin), from, tokens)) {
      after_unknown = false;
    } else if (unknown_ != kNoToken) {
      if (after_unknown && options_.fuse_unknown) {
        tokens.back().end = to;
      } else {
        tokens.push_back({unknown_, from, to});
      }
      after_unknown = true;
    }
    begin = end;
  }
}

void BpeModel::merge_few(size_t first, ModelScratch& scratch, std::vector<ModelToken>& tokens) const {
  auto& merges = scratch.candidates;  // of each token with the one behind it
  const auto candidate = [&](size_t i) -> ModelScratch::Candidate {
    if (i + 1 >= tokens.size()) return {kNoMerge, 0, kNoToken};
    const Merge& merge = merge_of(tokens[i].id, tokens[i + 1].id);
    return {merge.id == kNoToken ? kNoMerge : merge.rank, 0, merge.id};
  };
  merges.clear();
  for (size_t i = first; i < tokens.size(); ++i) merges.push_back(candidate(i));
  while (true) {
    size_t best = 0;
    for (size_t i = 1; i < merges.size(); ++i) {
      if (merges[i].rank < merges[best].rank) best = i;
    }
    if (merges.empty() || merges[best].rank == kNoMerge) return;
    ModelToken& left = tokens[first + best];
    left = {merges[best].id, left.begin, tokens[first + best + 1].end};
    tokens.erase(tokens.begin() + static_cast<std::ptrdiff_t>(first + best + 1));
    merges.erase(merges.begin() + static_cast<std::ptrdiff_t>(best + 1));
    merges[best] = candidate(first + best);
    if (best > 0) merges[best - 1] = candidate(first + best - 1);
  }
}

void BpeModel::merge_many(size_t first, ModelScratch& scratch, std::vector<ModelToken>& tokens) const {
  auto& heap = scratch.candidates;
  auto& links = scratch.links;
  ModelToken* symbols = tokens.data() + first;
  const auto count = static_cast<int32_t>(tokens.size() - first);
  const auto consider = [&](int32_t left, int32_t right) {
    if (left < 0 || right >= count) return;
    const Merge& merge = merge_of(symbols[left].id, symbols[right].id);
    if (merge.id == kNoToken) return;
    heap.push_back({merge.rank, static_cast<uint32_t>(left), merge.id});
    std::push_heap(heap.begin(), heap.end(), comes_later);
  };
  heap.clear();
  links.clear();
  for (int32_t i = 0; i < count; ++i) links.push_back({i - 1, i + 1});
  for (int32_t i = 0; i + 1 < count; ++i) consider(i, i + 1);
  constexpr int32_t kGone = -2;
  while (!heap.empty()) {
    const ModelScratch::Candidate top = heap.front();
    std::pop_heap(heap.begin(), heap.end(), comes_later);
    heap.pop_back();
    const auto left = static_cast<int32_t>(top.at);
    if (links[top.at].before == kGone || links[top.at].next >= count) continue;
    const int32_t right = links[top.at].next;
    if (merge_of(symbols[left].id, symbols[right].id).id != top.id) continue;  // one of them has merged since
    symbols[left] = {top.id, symbols[left].begin, symbols[right].end};
    const int32_t next = links[static_cast<size_t>(right)].next;
    links[top.at].next = next;
    links[static_cast<size_t>(right)].before = kGone;
    if (next < count) links[static_cast<size_t>(next)].before = left;
    consider(links[top.at].before, left);
    consider(left, next);
  }
  size_t kept = first;
  for (int32_t i = 0; i < count; i = links[static_cast<size_t>(i)].next) tokens[kept++] = symbols[i];
  tokens.resize(kept);
  if (scratch.links.capacity() > (1 << 20)) {
    scratch.links = {};
    scratch.candidates = {};
  }
}

}  // namespace etude
