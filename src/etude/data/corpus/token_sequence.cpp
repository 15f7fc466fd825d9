#include "etude/data/corpus/token_sequence.h"

#include <algorithm>

#include "etude/base/error.h"

namespace etude::corpus {
namespace {

class InMemory : public TokenSequence {
 public:
  InMemory(std::vector<uint16_t> tokens, int64_t documents) : tokens_(std::move(tokens)), documents_(documents) {}
  int64_t size() const override { return static_cast<int64_t>(tokens_.size()); }
  int64_t documents() const override { return documents_; }
  void read(int64_t begin, int64_t count, int32_t* out) const override {
    ETUDE_CHECK(begin >= 0 && count >= 0 && begin <= size() - count, "tokens of the text");
    std::copy_n(tokens_.begin() + begin, count, out);
  }
  void will_need(int64_t, int64_t) const override {}
  void require_whole() const override {}

 private:
  std::vector<uint16_t> tokens_;
  int64_t documents_;
};

class InFiles : public TokenSequence {
 public:
  InFiles(std::vector<MappedRun> files, int64_t vocabulary, int64_t documents, int64_t empty)
      : files_(std::move(files)), vocabulary_(vocabulary), documents_(documents), empty_(empty) {
    for (const MappedRun& file : files_) first_.push_back(first_.back() + file.run.count);
  }
  int64_t size() const override { return first_.back(); }
  int64_t documents() const override { return documents_; }
  int64_t empty() const override { return empty_; }

  void read(int64_t begin, int64_t count, int32_t* out) const override {
    each(begin, count, [&](const MappedRun& file, int64_t from, int64_t n) {
      read_tokens(file.file->bytes(), file.run, from, n, vocabulary_, file.file->path(), out);
      out += n;
    });
  }

  void will_need(int64_t begin, int64_t count) const override {
    each(begin, count, [](const MappedRun& file, int64_t from, int64_t n) {
      const int64_t width = file.run.width();
      file.file->will_need(static_cast<size_t>(file.run.offset + from * width), static_cast<size_t>(n * width));
    });
  }

  void require_whole() const override {
    for (const MappedRun& file : files_) {
      try {
        file.file->require_whole();
      } catch (const Error& error) {
        throw Error(Code::data, "the tokens are not what they were: " + error.message(), error.where(), error.hint());
      }
    }
  }

 private:
  /// Calls use(file, first, count) for each file that has a part of the range.
  template <class Use>
  void each(int64_t begin, int64_t count, const Use& use) const {
    ETUDE_CHECK(begin >= 0 && count >= 0 && begin <= size() - count, "tokens of the text");
    auto i = static_cast<size_t>(std::upper_bound(first_.begin(), first_.end(), begin) - first_.begin()) - 1;
    while (count > 0) {
      const int64_t from = begin - first_[i], n = std::min(count, files_[i].run.count - from);
      use(files_[i], from, n);
      begin += n;
      count -= n;
      ++i;
    }
  }

  std::vector<MappedRun> files_;
  std::vector<int64_t> first_ = {0};  ///< place of each file's first id, and of the end
  int64_t vocabulary_, documents_, empty_;
};

}  // namespace

std::shared_ptr<const TokenSequence> tokens_in_memory(std::vector<uint16_t> tokens, int64_t documents) {
  return std::make_shared<InMemory>(std::move(tokens), documents);
}

std::shared_ptr<const TokenSequence> mapped_tokens(std::vector<MappedRun> files, int64_t vocabulary, int64_t documents,
                                                   int64_t empty) {
  return std::make_shared<InFiles>(std::move(files), vocabulary, documents, empty);
}

}  // namespace etude::corpus
