#include "etude/data/tokenizers/token_model.h"

#include <algorithm>
#include <limits>

#include "etude/base/text.h"
#include "etude/data/tokenizers/bpe.h"
#include "etude/data/tokenizers/unicode.h"
#include "etude/data/tokenizers/unigram.h"
#include "etude/data/tokenizers/word_models.h"

namespace etude {
namespace {

constexpr size_t kLongestPiece = 4096;

std::string shown(std::string_view token) { return "'" + fitted(printable(token), 40) + "'"; }

/// `place` makes the place of an error: naming a line is slow, so only when there is one.
template <class Place>
void add_token(TokenTable& table, std::string_view token, int64_t id, int64_t limit, const Place& place) {
  static constexpr const char* kHint = "ids count from 0, each for one token";
  if (id < 0)
    throw Error(Code::data, "the token " + shown(token) + " has the negative id " + std::to_string(id), place(), kHint);
  if (id >= limit) {
    throw Error(
        Code::data,
        "the token " + shown(token) + " has the id " + std::to_string(id) + ", far beyond what the file has room for",
        place(), "is the file complete?");
  }
  switch (table.add(token, static_cast<int32_t>(id))) {
    case TokenTable::Added::new_token:
      return;
    case TokenTable::Added::token_is_there:
      throw Error(Code::data, "the token " + shown(token) + " stands twice in the vocabulary", place(), kHint);
    case TokenTable::Added::id_is_taken:
      throw Error(
          Code::data,
          "the tokens " + shown(table.token(id)) + " and " + shown(token) + " have the same id " + std::to_string(id),
          place(), kHint);
  }
}

/// Ids may have holes, but a table of them must not outgrow the text by much.
int64_t id_limit(std::string_view text) {
  constexpr int64_t kRoom = 1 << 16;
  return std::min<int64_t>(static_cast<int64_t>(text.size()) / 4 + kRoom, std::numeric_limits<int32_t>::max() - 1);
}

bool flag(const JsonView& json, std::string_view key) {
  const auto value = json.find(key);
  return value && value->as_bool(key);
}

std::string text(const JsonView& json, std::string_view key) {
  const auto value = json.find(key);
  return value ? value->as_string(key) : std::string();
}

/// "left right" or ["left", "right"]
void read_merge(const JsonView& json, BpeModel& model, std::string& first, std::string& second) {
  if (json.is_list()) {
    int count = 0;
    json.each_element("merge", [&](JsonView part) {
      if (count < 2) (count == 0 ? first : second) = part.as_string("merge");
      ++count;
    });
    if (count != 2) json.fail("a merge must name two tokens, not " + std::to_string(count));
    model.add_merge(first, second, {});
    return;
  }
  const std::string_view line = json.as_string("merge", first);
  if (line.substr(0, 8) == "#version") return;
  const size_t blank = line.find(' ');
  if (blank == std::string_view::npos || line.find(' ', blank + 1) != std::string_view::npos) {
    json.fail("a merge must be two tokens with one blank between them, not " + shown(line));
  }
  model.add_merge(line.substr(0, blank), line.substr(blank + 1), {});
}

std::unique_ptr<TokenModel> read_bpe(const JsonView& json, bool bytes) {
  BpeOptions options;
  options.bytes = bytes;
  options.unknown = text(json, "unk_token");
  options.fuse_unknown = flag(json, "fuse_unk");
  options.byte_fallback = flag(json, "byte_fallback");
  options.ignore_merges = flag(json, "ignore_merges");
  options.continuing_prefix = text(json, "continuing_subword_prefix");
  options.end_suffix = text(json, "end_of_word_suffix");
  if (const auto dropout = json.find("dropout"); dropout && dropout->as_real("dropout") != 0) {
    dropout->fail("BPE with dropout is not supported", "set \"dropout\" to null: every text has one tokenization then");
  }
  const JsonView vocabulary = json.at("vocab"), merges = json.at("merges");
  auto model = std::make_unique<BpeModel>(read_vocabulary(vocabulary), std::move(options), json.where());
  model->reserve(merges.count_elements("merges"));
  std::string first, second;
  merges.each_element("merges", [&](JsonView merge) {
    try {
      read_merge(merge, *model, first, second);
    } catch (const Error& error) {
      throw error.at(merge.where());
    }
  });
  return model;
}

std::unique_ptr<TokenModel> read_word_piece(const JsonView& json) {
  WordPieceOptions options;
  if (const auto unknown = json.find("unk_token")) options.unknown = unknown->as_string("unk_token");
  if (const auto prefix = json.find("continuing_subword_prefix")) {
    options.prefix = prefix->as_string("continuing_subword_prefix");
  }
  if (const auto longest = json.find("max_input_chars_per_word")) {
    options.longest_word = longest->as_int("max_input_chars_per_word");
    if (options.longest_word < 1 || options.longest_word > 1000) {
      longest->fail("'max_input_chars_per_word' must be between 1 and 1000, not " +
                    std::to_string(options.longest_word));
    }
  }
  return word_piece_model(read_vocabulary(json.at("vocab")), options, json.where());
}

std::unique_ptr<TokenModel> read_word_level(const JsonView& json) {
  return word_level_model(read_vocabulary(json.at("vocab")), json.at("unk_token").as_string("unk_token"), json.where());
}

/// [["token", score], ...]
std::unique_ptr<TokenModel> read_unigram(const JsonView& json) {
  TokenTable table;
  std::vector<double> scores;
  std::string buffer;
  const JsonView vocabulary = json.at("vocab");
  vocabulary.each_element("vocab", [&](JsonView entry) {
    int part = 0;
    entry.each_element("vocab", [&](JsonView value) {
      if (part == 0) {
        const std::string_view token = value.as_string("token", buffer);
        if (token.size() > kLongestPiece) value.fail("a token has more than 4096 bytes");
        add_token(table, token, static_cast<int64_t>(scores.size()), id_limit(vocabulary.raw()),
                  [&] { return value.where(); });
      } else if (part == 1) {
        scores.push_back(value.as_real("score"));
      }
      ++part;
    });
    if (part != 2) entry.fail("a token of a Unigram model must be [token, score]");
  });
  int32_t unknown = kNoToken;
  if (const auto id = json.find("unk_id")) {
    const int64_t value = id->as_int("unk_id");
    if (value < 0 || value >= static_cast<int64_t>(scores.size())) {
      id->fail("the unk_id " + std::to_string(value) + " is outside of the vocabulary of " +
               std::to_string(scores.size()) + " tokens");
    }
    unknown = static_cast<int32_t>(value);
  }
  return std::make_unique<UnigramModel>(std::move(table), std::move(scores), unknown, flag(json, "byte_fallback"));
}

}  // namespace

bool reaches_over_words(std::string_view token) {
  size_t at = 0;
  while (token.substr(at, kWordSign.size()) == kWordSign) at += kWordSign.size();
  return token.find(kWordSign, at) != std::string_view::npos;
}

TokenTable read_vocabulary(const JsonView& json) {
  TokenTable table;
  const int64_t limit = id_limit(json.raw());
  size_t tokens = 0, bytes = 0;
  json.each_member("vocab", [&](std::string_view token, const JsonView&) {
    ++tokens;
    bytes += token.size();
  });
  table.reserve(tokens, bytes);
  json.each_member("vocab", [&](std::string_view token, JsonView id) {
    add_token(table, token, id.as_int(token), limit, [&] { return id.where(); });
  });
  return table;
}

TokenTable read_vocabulary_lines(std::string_view content, const std::string& name) {
  TokenTable table;
  int64_t line = 0;
  const auto place = [&] { return name + ":" + std::to_string(line); };
  if (content.substr(0, 3) == "\xef\xbb\xbf") content.remove_prefix(3);
  table.reserve(static_cast<size_t>(std::count(content.begin(), content.end(), '\n')) + 1, content.size());
  while (!content.empty()) {
    const size_t end = std::min(content.find('\n'), content.size());
    std::string_view token = content.substr(0, end);
    content.remove_prefix(std::min(end + 1, content.size()));
    ++line;
    if (!token.empty() && token.back() == '\r') token.remove_suffix(1);
    if (!valid_utf8(token))
      throw Error(Code::data, "a token is not UTF-8", place(), "is this a text file, and complete?");
    if (token.find('\0') != std::string_view::npos) {
      throw Error(Code::data, "a token has a NUL byte", place(), "is this a text file?");
    }
    if (token.empty()) throw Error(Code::data, "a line is empty, where each holds a token", place(), "remove the line");
    add_token(table, token, line - 1, std::numeric_limits<int32_t>::max() - 1, place);
  }
  if (table.size() == 0) throw Error(Code::data, "the vocabulary is empty", name, "is the file complete?");
  return table;
}

std::string model_type(const JsonView& json) {
  if (!json.is_table()) json.fail("'model' must be an object, not " + std::string(json.type_name()));
  if (const auto type = json.find("type")) return type->as_string("type");
  if (json.find("merges")) return "BPE";
  const auto vocabulary = json.find("vocab");
  if (vocabulary && vocabulary->is_list()) return "Unigram";
  return "WordPiece";
}

std::unique_ptr<TokenModel> read_model(const JsonView& json, bool bytes) {
  const std::string type = model_type(json);
  if (type == "BPE") return read_bpe(json, bytes);
  if (type == "WordPiece") return read_word_piece(json);
  if (type == "WordLevel") return read_word_level(json);
  if (type == "Unigram") return read_unigram(json);
  json.at("type").fail("the model '" + fitted(printable(type), 40) + "' is not supported",
                       "known are BPE, WordPiece, WordLevel and Unigram");
}

}  // namespace etude
