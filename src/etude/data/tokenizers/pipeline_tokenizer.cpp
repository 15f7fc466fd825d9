#include "etude/data/tokenizers/pipeline_tokenizer.h"

#include <algorithm>

#include "etude/base/file.h"
#include "etude/base/text.h"
#include "etude/data/tokenizers/tokenizer_settings.h"
#include "etude/data/tokenizers/unicode.h"
#include "etude/data/tokenizers/word_cache.h"
#include "etude/data/tokenizers/workspaces.h"

namespace etude {
namespace {

/// Memory of one encode() at a time.
struct Workspace {
  ModelScratch scratch;
  WordCache cache;
  std::vector<ModelToken> tokens;
};

class PipelineTokenizer : public Tokenizer {
 public:
  explicit PipelineTokenizer(TokenizerParts parts)
      : parts_(std::move(parts)),
        added_(std::move(parts_.added), parts_.model->table(), parts_.normalizer.get(), parts_.name) {
    if (!parts_.pre_tokenization.cuts && parts_.model->keeps_words_apart()) {
      parts_.pre_tokenization.steps.push_back(word_cutter());
      parts_.pre_tokenization.cuts = true;
    }
    if (parts_.document_begin) begin_ = require_token(*parts_.document_begin);
    if (parts_.document_end) end_ = require_token(*parts_.document_end);
    if (!end_) end_ = usual_document_end([&](std::string_view token) { return id(token); });
    hash_ = hash_of_files(parts_.files);
  }

  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int32_t> ids;
    Workspaces<Workspace>::Lease lease(workspaces_);
    Workspace& workspace = *lease;
    each_section(
        text, false, [&](int32_t id, const PieceText&, const PieceText::Range&) { ids.push_back(id); },
        [&](const PieceText& section) {
          for (const auto& piece : section.pieces) append_ids(section.view(piece), workspace, ids);
        });
    return ids;
  }

  Encoding encode_with_offsets(std::string_view text) const override {
    Encoding encoding;
    int32_t word = 0;
    Workspaces<Workspace>::Lease lease(workspaces_);
    Workspace& workspace = *lease;
    each_section(
        text, true,
        [&](int32_t id, const PieceText& section, const PieceText::Range& range) {
          encoding.ids.push_back(id);
          encoding.offsets.push_back(section.span(range));
          encoding.words.push_back(added_.special(id) ? -1 : word++);
        },
        [&](const PieceText& section) {
          for (const auto& piece : section.pieces) append_piece(section, piece, workspace, encoding, word);
        });
    if (parts_.trim) trim_offsets(text, encoding);
    return encoding;
  }

  std::string decode(const std::vector<int64_t>& ids) const override {
    std::vector<std::string> tokens;
    for (const int64_t id : ids) {
      if (added_.special(id)) continue;
      std::string written = token(id);
      if (!written.empty()) tokens.push_back(std::move(written));
    }
    if (parts_.decoder) parts_.decoder->apply(tokens);
    std::string text;
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (i > 0 && !parts_.decoder) text += ' ';
      text += tokens[i];
    }
    return text;
  }

  int64_t vocabulary() const override { return std::max(parts_.model->table().limit(), added_.limit()); }

  int64_t document_end() const override {
    if (end_) return *end_;
    throw Error(Code::data, "the tokenizer has no token that closes a document", parts_.name,
                "name one as \"eos_token\" in a tokenizer_config.json beside it");
  }
  std::optional<int64_t> document_begin() const override { return begin_; }

  std::optional<int64_t> id(std::string_view token) const override {
    if (const AddedToken* added = added_.find(token)) return added->id;
    const int32_t id = parts_.model->table().id(token);
    return id == kNoToken ? std::nullopt : std::optional<int64_t>(id);
  }

  std::string token(int64_t id) const override {
    if (const AddedToken* added = added_.find(id)) return added->content;
    return std::string(parts_.model->table().token(id));
  }

  std::string hash() const override { return hash_; }
  std::vector<File> files() const override { return parts_.files; }

 private:
  int64_t require_token(const std::string& token) const {
    if (const auto found = id(token)) return *found;
    throw Error(Code::data, "the token '" + fitted(printable(token), 40) + "' is not in the vocabulary", parts_.name,
                "do the files of the tokenizer belong together?");
  }

  /// Calls on_token(id, text, range) for added tokens and on_pieces(text) for what is between them, in order.
  template <class OnToken, class OnPieces>
  void each_section(std::string_view text, bool tracked, const OnToken& on_token, const OnPieces& on_pieces) const {
    std::vector<AddedTokens::Section> sections, inner;
    added_.split(text, false, sections);
    for (const auto& [id, range] : sections) {
      PieceText section(text.substr(range.begin, range.end - range.begin), range.begin, tracked);
      if (id != kNoToken) {
        on_token(id, section, {0, section.text.size()});
        continue;
      }
      if (parts_.normalizer) parts_.normalizer->apply(section);
      if (!added_.any(true)) {
        cut(section, on_pieces);
        continue;
      }
      inner.clear();
      added_.split(section.text, true, inner);
      for (const auto& [inner_id, inner_range] : inner) {
        if (inner_id != kNoToken) {
          on_token(inner_id, section, inner_range);
        } else {
          PieceText between(section, inner_range.begin, inner_range.end);
          cut(between, on_pieces);
        }
      }
    }
  }

  template <class OnPieces>
  void cut(PieceText& section, const OnPieces& on_pieces) const {
    for (const auto& step : parts_.pre_tokenization.steps) step->apply(section);
    on_pieces(section);
  }

  void append_ids(std::string_view piece, Workspace& workspace, std::vector<int32_t>& ids) const {
    WordCache::Ids known;
    if (workspace.cache.find(piece, known)) {
      ids.insert(ids.end(), known.first, known.first + known.count);
      return;
    }
    workspace.tokens.clear();
    parts_.model->tokenize(piece, workspace.scratch, workspace.tokens);
    const size_t first = ids.size();
    for (const ModelToken& token : workspace.tokens) ids.push_back(token.id);
    workspace.cache.add(piece, ids.data() + first, ids.size() - first);
  }

  /// A piece is a word; where the text is not cut, words begin with their sign.
  void append_piece(const PieceText& section, const PieceText::Range& piece, Workspace& workspace, Encoding& encoding,
                    int32_t& word) const {
    workspace.tokens.clear();
    parts_.model->tokenize(section.view(piece), workspace.scratch, workspace.tokens);
    bool first = true;
    for (const ModelToken& token : workspace.tokens) {
      const bool begins = !parts_.pre_tokenization.cuts &&
                          parts_.model->table().token(token.id).substr(0, kWordSign.size()) == kWordSign;
      if (begins && !first) ++word;
      first = false;
      encoding.ids.push_back(token.id);
      encoding.offsets.push_back(section.span({piece.begin + token.begin, piece.begin + token.end}));
      encoding.words.push_back(word);
    }
    if (!first) ++word;
  }

  /// Blanks at the ends of what a token stands for: of an added token, any white space.
  struct Blanks {
    size_t leading = 0, trailing = 0;
  };
  Blanks blanks_of(int32_t id, std::string_view text) const {
    constexpr std::string_view kBlank = "Ġ";
    Blanks blanks;
    if (added_.find(int64_t{id})) {
      const auto is_space = [&](size_t at) { return unicode::is(unicode::decode(text, at).code, unicode::kSpace); };
      for (size_t at = 0; at < text.size() && is_space(at); at += unicode::decode(text, at).length) ++blanks.leading;
      for (size_t at = text.size(); at > 0 && is_space(unicode::before(text, at)); at = unicode::before(text, at)) {
        ++blanks.trailing;
      }
      return blanks;
    }
    const std::string_view written = parts_.model->table().token(id);
    for (std::string_view head = written; head.substr(0, kBlank.size()) == kBlank; head.remove_prefix(kBlank.size())) {
      ++blanks.leading;
    }
    for (std::string_view tail = written;
         tail.size() >= kBlank.size() && tail.substr(tail.size() - kBlank.size()) == kBlank;
         tail.remove_suffix(kBlank.size())) {
      ++blanks.trailing;
    }
    return blanks;
  }

  void trim_offsets(std::string_view text, Encoding& encoding) const {
    for (size_t i = 0; i < encoding.ids.size(); ++i) {
      auto begin = static_cast<size_t>(encoding.offsets[i].begin), end = static_cast<size_t>(encoding.offsets[i].end);
      Blanks blanks = blanks_of(encoding.ids[i], text.substr(begin, end - begin));
      const bool prefixed = parts_.trim->prefix && (i == 0 || begin == 0);  // by a blank that is not in the text
      if (prefixed && blanks.leading == 1) blanks.leading = 0;
      for (; blanks.leading > 0 && begin < end; --blanks.leading) begin += unicode::decode(text, begin).length;
      for (; blanks.trailing > 0 && begin < end; --blanks.trailing) end = unicode::before(text, end);
      encoding.offsets[i] = {static_cast<int64_t>(begin), static_cast<int64_t>(end)};
    }
  }

  TokenizerParts parts_;
  AddedTokens added_;
  std::optional<int64_t> begin_, end_;
  std::string hash_;
  mutable Workspaces<Workspace> workspaces_;
};

}  // namespace

std::shared_ptr<Tokenizer> pipeline_tokenizer(TokenizerParts parts) {
  return std::make_shared<PipelineTokenizer>(std::move(parts));
}

}  // namespace etude
