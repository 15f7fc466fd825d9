#include "etude/data/tokenizers/sentencepiece_tokenizer.h"

#include <sentencepiece_processor.h>

#include <algorithm>

#include "etude/base/text.h"
#include "etude/data/tokenizers/sentencepiece_model.h"
#include "etude/data/tokenizers/token_decoders.h"
#include "etude/data/tokenizers/token_model.h"
#include "etude/data/tokenizers/word_cache.h"
#include "etude/data/tokenizers/workspaces.h"

namespace etude {
namespace {

using Type = SentencepieceModel::Type;

constexpr size_t kLongestText = size_t{1} << 30;  // the library counts bytes in 32 bits

bool begins_with(std::string_view text, std::string_view beginning) {
  return text.substr(0, beginning.size()) == beginning;
}

class SentencepieceTokenizer : public Tokenizer {
 public:
  SentencepieceTokenizer(std::string bytes, std::string name, TokenizerSettings settings)
      : name_(std::move(name)), model_(read_sentencepiece_model(bytes, name_)) {
    load(bytes);
    words_apart_ = model_.keeps_words_apart();
    find_ends(settings);
    files_.push_back({"tokenizer.model", std::move(bytes)});
    for (File& file : settings.files) files_.push_back(std::move(file));
    hash_ = hash_of_files(files_);
  }

  std::vector<int32_t> encode(std::string_view text) const override {
    require_short(text);
    std::vector<int32_t> ids;
    if (!words_apart_) {
      append_ids(text, ids);
      return ids;
    }
    Workspaces<WordCache>::Lease lease(caches_);
    each_word(text, [&](std::string_view word, size_t, bool) {
      WordCache::Ids known;
      if (word.empty()) {
        ids.push_back(model_.table.id(kWordSign));
        return;
      }
      if ((*lease).find(word, known)) {
        ids.insert(ids.end(), known.first, known.first + known.count);
        return;
      }
      const size_t first = ids.size();
      append_ids(word, ids);
      (*lease).add(word, ids.data() + first, ids.size() - first);
    });
    return ids;
  }

  Encoding encode_with_offsets(std::string_view text) const override {
    require_short(text);
    Encoding encoding;
    int32_t word = -1;
    if (words_apart_) {
      each_word(text, [&](std::string_view part, size_t at, bool after_blank) {
        if (!part.empty()) return append_pieces(part, at, after_blank, encoding, word);
        const auto begin = static_cast<int64_t>(at);
        encoding.ids.push_back(model_.table.id(kWordSign));
        encoding.offsets.push_back({begin, begin + 1});
        encoding.words.push_back(++word);
      });
    } else {
      append_pieces(text, 0, false, encoding, word);
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

  /// Calls f(word, at, after_blank) for parts of the text that are tokenized each by itself: the library puts a blank
  /// before each, which stands for the one that the word lacks. `at` is where the word begins, its blank included; the
  /// word is empty for a blank at the end of the text.
  template <class F>
  static void each_word(std::string_view text, const F& f) {
    const auto is_blank = [&](size_t at) {
      return text[at] == ' ' ||
             (at + 1 >= kWordSign.size() && text.substr(at + 1 - kWordSign.size(), kWordSign.size()) == kWordSign);
    };
    for (size_t begin = 0; begin < text.size();) {
      size_t end = text.find(' ', begin + 1);
      while (end != std::string_view::npos && is_blank(end - 1)) end = text.find(' ', end + 1);
      end = std::min(end, text.size());
      const bool after_blank = begin > 0;
      const size_t first = begin + (after_blank ? 1 : 0);
      f(text.substr(first, end - first), begin, after_blank);
      begin = end;
    }
  }

  void append_ids(std::string_view text, std::vector<int32_t>& ids) const {
    std::vector<int> found;
    require_ok(processor_.Encode(text, &found));
    ids.insert(ids.end(), found.begin(), found.end());
  }

  void append_pieces(std::string_view text, size_t at, bool after_blank, Encoding& encoding, int32_t& word) const {
    sentencepiece::ImmutableSentencePieceText pieces;
    require_ok(processor_.Encode(text, pieces.mutable_proto()));
    const auto shift = static_cast<int64_t>(at + (after_blank ? 1 : 0));
    for (size_t i = 0; i < pieces.pieces_size(); ++i) {
      const auto piece = pieces.pieces(static_cast<int>(i));
      if (word < 0 || begins_with(piece.piece(), kWordSign)) ++word;
      const int64_t begin = after_blank && i == 0 ? static_cast<int64_t>(at) : shift + piece.begin();
      encoding.ids.push_back(static_cast<int32_t>(piece.id()));
      encoding.offsets.push_back({begin, shift + piece.end()});
      encoding.words.push_back(word);
    }
  }

  void require_short(std::string_view text) const {
    if (text.size() <= kLongestText) return;
    throw Error(Code::data, "a text of " + std::to_string(text.size()) + " bytes is too long for sentencepiece", name_,
                "split the document: at most 1 GiB");
  }

  void require_ok(const sentencepiece::util::Status& status) const {
    if (status.ok()) return;
    throw Error(Code::data, "sentencepiece can't encode the text: " + fitted(printable(status.message()), 200), name_,
                "is the model whole?");
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
    if (at_start && (model_.dummy_prefix || model_.fewer_blanks) && begins_with(piece, kWordSign)) {
      piece.remove_prefix(kWordSign.size());
      at_start = model_.fewer_blanks;
    } else {
      at_start = false;
    }
    if (!piece.empty()) at_start = false;
    while (!piece.empty()) {
      const size_t blank = std::min(piece.find(kWordSign), piece.size());
      text += piece.substr(0, blank);
      if (blank == piece.size()) return;
      text += ' ';
      piece.remove_prefix(blank + kWordSign.size());
    }
  }

  std::string name_;
  SentencepieceModel model_;
  sentencepiece::SentencePieceProcessor processor_;
  bool words_apart_ = false;
  std::optional<int64_t> begin_, end_;
  std::vector<File> files_;
  std::string hash_;
  mutable Workspaces<WordCache> caches_;
};

}  // namespace

std::shared_ptr<Tokenizer> parse_sentencepiece(std::string bytes, const std::string& name, TokenizerSettings settings) {
  return std::make_shared<SentencepieceTokenizer>(std::move(bytes), name, std::move(settings));
}

}  // namespace etude
