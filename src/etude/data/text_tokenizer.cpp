// The tokenizer that the options of a text ask for.

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>

#include "etude/base/error.h"
#include "etude/base/file.h"
#include "etude/base/log.h"
#include "etude/base/text.h"
#include "etude/data/corpus/cache_place.h"
#include "etude/data/corpus/id_tokenizer.h"
#include "etude/data/text_layout.h"
#include "etude/data/text_sources.h"
#include "etude/data/tokenizers/sentencepiece_tokenizer.h"

namespace etude {
namespace {

/// Lines of the training split, as if tokens were bytes.
class TrainingLines {
 public:
  TrainingLines(const std::vector<FoundText>& texts, const TextOptions& options) : texts_(texts), options_(options) {}

  bool next(std::string& line) {
    for (;;) {
      while (at_ == piece_.text.size()) {
        if (!more()) return false;
      }
      const size_t end = std::min(piece_.text.find('\n', at_), piece_.text.size());
      const auto begin = at_;
      at_ = std::min(end + 1, piece_.text.size());
      const int64_t last = offset_ + static_cast<int64_t>(at_);
      if (end == begin || is_validation(last)) continue;
      line.assign(piece_.text, begin, end - begin);
      return true;
    }
  }

 private:
  /// The next piece of a document, of whatever text.
  bool more() {
    offset_ += static_cast<int64_t>(piece_.text.size());
    piece_ = {};
    at_ = 0;
    while (!reader_ || !reader_->next(piece_)) {
      if (text_ == texts_.size()) return false;
      begin_text(texts_[text_++]);
    }
    return true;
  }

  void begin_text(const FoundText& text) {
    offset_ = 0;
    total_ = 0;
    blocks_ = 1;
    if (options_.validation > 0) {
      const auto reader = open_documents(text.source, text.field);
      for (Document piece; reader->next(piece);) total_ += static_cast<int64_t>(piece.text.size());
      blocks_ = TextLayout(total_, options_.length, options_.validation, text.source.path).blocks();
    }
    reader_ = open_documents(text.source, text.field);
  }

  /// Whether the byte before `offset` lies in the end of a block that is kept for validation.
  bool is_validation(int64_t offset) const {
    if (total_ == 0) return false;
    const double block = static_cast<double>(offset - 1) / static_cast<double>(total_) * static_cast<double>(blocks_);
    return block - std::floor(block) >= 1 - options_.validation;
  }

  const std::vector<FoundText>& texts_;
  const TextOptions& options_;
  size_t text_ = 0, at_ = 0;
  std::unique_ptr<DocumentReader> reader_;
  Document piece_{};
  int64_t offset_ = 0, total_ = 0, blocks_ = 1;
};

std::string key_of(const std::vector<FoundText>& texts, const TextOptions& options,
                   const SentencepieceTraining& training) {
  std::string all = "sentencepiece 1\n" + to_toml(write_options(training)) + "\n";
  all += real_text(options.validation) + " " + std::to_string(options.length) + "\n";
  for (const FoundText& text : texts) all += text.content.sha256 + " " + text.field + "\n";
  return file::sha256(all);
}

std::shared_ptr<Tokenizer> train(const std::vector<FoundText>& texts, const TextOptions& options,
                                 const SentencepieceTraining& training) {
  inform("training a sentencepiece tokenizer of " + std::to_string(training.vocab) + " tokens");
  TrainingLines lines(texts, options);
  auto tokenizer = train_sentencepiece([&](std::string& line) { return lines.next(line); }, training);
  for (const FoundText& text : texts) corpus::require_same(text.source, text.content);
  return tokenizer;
}

/// Out of the folder of trained ones, where it may be damaged or not there.
std::shared_ptr<Tokenizer> kept(const std::string& path) {
  try {
    return file::exists(path) ? open_tokenizer(path) : nullptr;
  } catch (const Error& error) {
    warn("the tokenizer '" + path + "' is trained anew: " + error.message());
    return nullptr;
  }
}

/// Trained once for all who use the same text, in this process and others.
std::shared_ptr<Tokenizer> trained(const std::vector<FoundText>& texts, const TextOptions& options,
                                   const SentencepieceTraining& training) {
  static std::mutex mutex;
  static std::map<std::string, std::shared_ptr<Tokenizer>> known;
  const std::string key = key_of(texts, options, training);
  const std::lock_guard guard(mutex);
  std::shared_ptr<Tokenizer>& tokenizer = known[key];
  if (tokenizer) return tokenizer;
  const std::string folder = corpus::cache_folder("tokenizers", "a tokenizer is trained anew in every run");
  if (folder.empty()) return tokenizer = train(texts, options, training);
  const std::string path = folder + "/" + key + ".model";
  if ((tokenizer = kept(path))) return tokenizer;
  const corpus::BuildLock lock(folder + "/" + key + ".lock", "the tokenizer of " + texts.front().source.path);
  if ((tokenizer = kept(path))) return tokenizer;
  auto made = train(texts, options, training);
  file::write_atomically(path, made->files().front().content);
  return tokenizer = made;
}

}  // namespace

std::shared_ptr<Tokenizer> tokenizer_of(const TextOptions& options, const std::vector<FoundText>& texts) {
  const auto ids = [](const FoundText& text) { return text.source.is_tokens(); };
  const bool only_ids = std::all_of(texts.begin(), texts.end(), ids);
  if (const FileChoice* file = options.tokenizer.get<FileChoice>()) {
    if (file->path.empty()) {
      throw Error(Code::config, "the tokenizer has no path", "data.tokenizer.path",
                  "tokenizer = {kind = \"file\", path = \"model/tokenizer.json\"}");
    }
    return open_tokenizer(file->path);
  }
  if (const SentencepieceChoice* choice = options.tokenizer.get<SentencepieceChoice>()) {
    const auto found = std::find_if(texts.begin(), texts.end(), [](const FoundText& text) {
      const auto& files = text.source.files;
      return std::any_of(files.begin(), files.end(), [](const TextFile& f) { return f.format == TextFormat::tokens; });
    });
    if (found == texts.end()) return trained(texts, options, choice->training);
    throw Error(Code::config, "a tokenizer can't be trained on token ids", found->source.path,
                "name the one that made them: tokenizer = {kind = \"file\", path = \"...\"}");
  }
  if (!only_ids) return byte_tokenizer();
  int64_t largest = options.document_end;
  for (const FoundText& text : texts) largest = std::max(largest, text.content.largest);
  return corpus::id_tokenizer(largest + 1, options.document_end);
}

std::shared_ptr<Tokenizer> tokenizer_of(const TextOptions& options) {
  return tokenizer_of(options, found_texts(options));
}

}  // namespace etude
