// T time (tokens predicted in a row).

#include "etude/data/text.h"

#include "etude/base/torch_pch.h"

#include <algorithm>
#include <cmath>

#include "etude/base/file.h"
#include "etude/data/text_files.h"

namespace etude {
namespace {

constexpr int32_t kDocumentEnd = 256;
constexpr int64_t kBlocks = 64;   ///< the text is cut into so many ranges; the end of each is for validation

class ByteTokenizer : public Tokenizer {
 public:
  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int32_t> ids;
    ids.reserve(text.size());
    for (unsigned char c : text) ids.push_back(c);
    return ids;
  }
  std::string decode(const std::vector<int64_t>& ids) const override {
    std::string text;
    for (int64_t id : ids)
      if (id >= 0 && id < 256) text += static_cast<char>(id);
    return text;
  }
  int64_t vocabulary() const override { return 257; }
  int64_t document_end() const override { return kDocumentEnd; }
};

/// The tokens of all documents, each closed by its end, and which rows of them belong to a split.
class PackedText : public TextDataset {
 public:
  PackedText(const TextOptions& options, Split split) : length_(options.length), tokenizer_(byte_tokenizer()) {
    const std::vector<Document> read = read_documents(options.path);
    documents_ = static_cast<int64_t>(read.size());
    file::Sha256 hash;
    for (const Document& document : read) {
      hash.add(document.text);
      card_.bytes += static_cast<int64_t>(document.text.size());
      for (unsigned char c : document.text) tokens_.push_back(c);
      tokens_.push_back(kDocumentEnd);
    }
    const auto total = static_cast<int64_t>(tokens_.size());
    const int64_t blocks = std::clamp<int64_t>(total / (4 * (length_ + 1)), 1, kBlocks);
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t begin = b * total / blocks, end = (b + 1) * total / blocks;
      const int64_t cut = end - std::llround(options.validation * static_cast<double>(end - begin));
      const int64_t from = split == Split::train ? begin : cut, to = split == Split::train ? cut : end;
      // A row reads T+1 tokens: its last label is the next row's first input.
      for (int64_t row = from; row + length_ + 1 <= to; row += length_) starts_.push_back(row);
    }
    if (starts_.empty() && (split == Split::train || options.validation > 0))
      throw Error(Code::data, "the text of " + std::to_string(card_.bytes) + " bytes has no room for a row of " + std::to_string(length_) + " tokens" + (split == Split::validation ? " in its validation part" : ""), options.path,
                  "use more text, or a smaller data.length");
    card_.name = options.path;
    card_.sha256 = hash.hex();
    card_.records = size();
    card_.licence = options.path == "builtin:web" ? "Public Domain" : "the user's own";
    card_.origin = options.path == "builtin:web" ? "World English Bible, Debian package sword-text-web 426.0-1" : options.path;
  }

  DataCard card() const override { return card_; }
  int64_t size() const override { return static_cast<int64_t>(starts_.size()); }
  int64_t documents() const override { return documents_; }
  const Tokenizer& tokenizer() const override { return *tokenizer_; }

  Batch get(const std::vector<int64_t>& ids, const Rng&) const override {
    const auto B = static_cast<int64_t>(ids.size());
    Batch batch;
    batch.id_B = torch::empty({B}, torch::kInt64);
    Tensor ids_BT = torch::empty({B, length_}, torch::kInt64), labels_BT = torch::empty({B, length_}, torch::kInt64);
    Tensor position_BT = torch::empty({B, length_}, torch::kInt64), segment_BT = torch::empty({B, length_}, torch::kInt64);
    bool plain = true;
    for (int64_t b = 0; b < B; ++b) {
      const int64_t id = ids[static_cast<size_t>(b)];
      ETUDE_CHECK(id >= 0 && id < size(), "no such row");
      batch.id_B.data_ptr<int64_t>()[b] = id;
      const int64_t start = starts_[static_cast<size_t>(id)];
      int64_t position = 0, segment = 0;
      for (int64_t t = 0; t < length_; ++t) {
        const int64_t at = b * length_ + t;
        const auto token = tokens_[static_cast<size_t>(start + t)], next = tokens_[static_cast<size_t>(start + t + 1)];
        ids_BT.data_ptr<int64_t>()[at] = token;
        // The first token of a document is not predicted from the one before it.
        labels_BT.data_ptr<int64_t>()[at] = token == kDocumentEnd ? -1 : next;
        position_BT.data_ptr<int64_t>()[at] = position++;
        segment_BT.data_ptr<int64_t>()[at] = segment;
        if (token == kDocumentEnd && t + 1 < length_) {
          ++segment;
          position = 0;
          plain = false;
        }
      }
    }
    batch.x["ids_BT"] = ids_BT;
    batch.x["labels_BT"] = labels_BT;
    if (!plain) {
      batch.x["position_BT"] = position_BT;
      batch.x["segment_BT"] = segment_BT;
    }
    return batch;
  }

 private:
  int64_t length_, documents_ = 0;
  std::shared_ptr<Tokenizer> tokenizer_;
  std::vector<uint16_t> tokens_;
  std::vector<int64_t> starts_;
  DataCard card_;
};

}  // namespace

std::shared_ptr<Tokenizer> byte_tokenizer() { return std::make_shared<ByteTokenizer>(); }
std::shared_ptr<TextDataset> open_text(const TextOptions& options, TextDataset::Split split) { return std::make_shared<PackedText>(options, split); }

}  // namespace etude
