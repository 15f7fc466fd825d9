#include "etude/base/error.h"
#include "etude/base/file.h"
#include "etude/data/tokenizer.h"

namespace etude {
namespace {

constexpr int64_t kDocumentEnd = 256;

class ByteTokenizer : public Tokenizer {
 public:
  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int32_t> ids;
    ids.reserve(text.size());
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }

  /// Words are what stands between blanks; a blank belongs to the word that it begins.
  Encoding encode_with_offsets(std::string_view text) const override {
    Encoding encoding;
    encoding.ids = encode(text);
    int32_t word = 0;
    bool after_letter = false;
    for (int64_t i = 0; i < static_cast<int64_t>(text.size()); ++i) {
      const char c = text[static_cast<size_t>(i)];
      const bool blank = c == ' ' || c == '\n' || c == '\t' || c == '\r';
      if (blank && after_letter) ++word;
      after_letter = !blank;
      encoding.offsets.push_back({i, i + 1});
      encoding.words.push_back(word);
    }
    return encoding;
  }

  std::string decode(const std::vector<int64_t>& ids) const override {
    std::string text;
    for (const int64_t id : ids) {
      if (id >= 0 && id < kDocumentEnd) text += static_cast<char>(id);
    }
    return text;
  }

  int64_t vocabulary() const override { return kDocumentEnd + 1; }
  int64_t document_end() const override { return kDocumentEnd; }
  std::optional<int64_t> id(std::string_view token) const override {
    if (token.size() == 1) return static_cast<unsigned char>(token.front());
    return std::nullopt;
  }
  std::string token(int64_t id) const override { return decode({id}); }
  std::string hash() const override { return file::sha256("bytes and a document's end"); }
  std::vector<File> files() const override { return {}; }
};

}  // namespace

std::optional<int64_t> Tokenizer::document_end_if_any() const {
  try {
    return document_end();
  } catch (const Error&) {
    return std::nullopt;
  }
}

std::shared_ptr<Tokenizer> byte_tokenizer() { return std::make_shared<ByteTokenizer>(); }

}  // namespace etude
