#include "etude/data/corpus/id_tokenizer.h"

#include "etude/base/error.h"
#include "etude/base/file.h"

namespace etude::corpus {
namespace {

class IdTokenizer : public Tokenizer {
 public:
  IdTokenizer(int64_t vocabulary, int64_t document_end) : vocabulary_(vocabulary), document_end_(document_end) {}

  std::vector<int32_t> encode(std::string_view) const override { throw unknown("text can't become token ids"); }
  Encoding encode_with_offsets(std::string_view) const override { throw unknown("text can't become token ids"); }
  std::string decode(const std::vector<int64_t>& ids) const override {
    std::string text;
    for (const int64_t id : ids) text += token(id);
    return text;
  }

  int64_t vocabulary() const override { return vocabulary_; }
  int64_t document_end() const override {
    if (document_end_ >= 0) return document_end_;
    throw Error(Code::data, "nobody knows which of these token ids ends a document", "data.document_end",
                "name it, or the tokenizer that made the ids: tokenizer = {kind = \"file\", path = \"...\"}");
  }
  std::optional<int64_t> id(std::string_view token) const override {
    for (int64_t id = 0; id < vocabulary_ && token.size() >= 3; ++id) {
      if (this->token(id) == token) return id;
    }
    return std::nullopt;
  }
  std::string token(int64_t id) const override {
    return id >= 0 && id < vocabulary_ ? "<" + std::to_string(id) + ">" : "";
  }
  std::string hash() const override { return file::sha256("ids below " + std::to_string(vocabulary_)); }
  std::vector<File> files() const override { return {}; }

 private:
  static Error unknown(const std::string& what) {
    return Error(Code::data, what + ": the data came without their tokenizer", "data.tokenizer",
                 "name it: tokenizer = {kind = \"file\", path = \"...\"}");
  }

  int64_t vocabulary_, document_end_;
};

}  // namespace

std::shared_ptr<Tokenizer> id_tokenizer(int64_t vocabulary, int64_t document_end) {
  return std::make_shared<IdTokenizer>(vocabulary, document_end);
}

}  // namespace etude::corpus
