// B rows, T tokens in a row.

#include "etude/data/text.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "etude/base/error.h"
#include "etude/base/file.h"
#include "etude/base/torch_pch.h"
#include "etude/data/sets.h"
#include "etude/data/text_files.h"

namespace etude {
namespace {

constexpr int kDocumentEnd = 256;
constexpr int64_t kMostBlocks = 64;
constexpr int64_t kFewestRows = 4;  ///< of each split in a block

/// All tokens of a text, each document closed by its end.
struct PackedText {
  std::vector<uint16_t> tokens;
  int64_t documents = 0;
  DataCard card;
};

std::shared_ptr<const PackedText> pack(const std::string& path) {
  auto packed = std::make_shared<PackedText>();
  DataCard& card = packed->card;
  card.name = path;
  card.origin = path;
  card.licence = "the user's own";
  for (const DataCard& builtin : data_sets()) {
    if (path == "builtin:" + builtin.name) card = builtin;
  }
  std::vector<Document> documents = read_documents(path);
  packed->documents = static_cast<int64_t>(documents.size());
  size_t total = documents.size();
  for (const Document& document : documents) total += document.text.size();
  packed->tokens.reserve(total);
  file::Sha256 hash;
  for (Document& document : documents) {
    // A built-in card has the hash of its file. Here, names keep documents of the same bytes apart.
    hash.add(document.name + "\n" + std::to_string(document.text.size()) + "\n");
    hash.add(document.text);
    for (const char c : document.text) packed->tokens.push_back(static_cast<unsigned char>(c));
    packed->tokens.push_back(kDocumentEnd);
    std::string().swap(document.text);
  }
  if (card.sha256.empty()) {
    card.sha256 = hash.hex();
    card.bytes = static_cast<int64_t>(total - documents.size());
  }
  return packed;
}

/// Where the rows of each split begin: block by block, the rows for training, then those for validation. Rows
/// share their last label with the next one's first id, so each part of a block takes one token more than T a row.
class Layout {
 public:
  Layout(int64_t tokens, const TextOptions& options) : length_(options.length), parts_(options.validation > 0 ? 2 : 1) {
    const double share = options.validation;
    for (blocks_ = parts_ == 1 ? 1 : kMostBlocks; blocks_ > 1; blocks_ /= 2) {
      const double rows = static_cast<double>(rows_of(tokens) / blocks_);
      if (rows * std::min(share, 1 - share) >= static_cast<double>(kFewestRows)) break;
    }
    const int64_t rows = rows_of(tokens);
    if (rows < parts_) {
      const int64_t longest = tokens / parts_ - 1;  // (longest + 1) * parts = tokens
      throw Error(Code::data,
                  "the text has " + std::to_string(tokens) + " tokens, too few for " +
                      (parts_ == 1 ? "a row" : "a row to train on and one for validation") + " of " +
                      std::to_string(length_) + " tokens and the one that follows",
                  options.path,
                  longest >= 2 ? "use more text, or a length of at most " + std::to_string(longest) : "use more text");
    }
    for (auto& begin : first_) begin = {0};
    for (int64_t b = 0; b < blocks_; ++b) {
      const int64_t begin = b * rows / blocks_, end = (b + 1) * rows / blocks_;
      int64_t kept = 0;
      if (parts_ == 2) {
        // Rounding the running total keeps the whole share right; every block gives a row to each split.
        const auto total = [&](int64_t r) { return std::llround(share * static_cast<double>(r)); };
        kept = std::clamp<int64_t>(total(end) - total(begin), 1, end - begin - 1);
      }
      first_[0].push_back(first_[0].back() + (end - begin - kept));
      first_[1].push_back(first_[1].back() + kept);
      part_begin_[0].push_back(begin * length_ + parts_ * b);
      part_begin_[1].push_back((end - kept) * length_ + parts_ * b + 1);
    }
  }

  int64_t rows(TextDataset::Split split) const { return first_[index(split)].back(); }

  /// The first token of a row.
  int64_t start(TextDataset::Split split, int64_t row) const {
    const std::vector<int64_t>& first = first_[index(split)];
    const auto block = static_cast<size_t>(std::upper_bound(first.begin(), first.end(), row) - first.begin()) - 1;
    return part_begin_[index(split)][block] + (row - first[block]) * length_;
  }

 private:
  static size_t index(TextDataset::Split split) { return split == TextDataset::Split::train ? 0 : 1; }
  int64_t rows_of(int64_t tokens) const { return std::max<int64_t>(tokens - parts_ * blocks_, 0) / length_; }

  int64_t length_, parts_, blocks_ = 1;
  std::array<std::vector<int64_t>, 2> first_;       ///< per split: rows before each block, and all rows
  std::array<std::vector<int64_t>, 2> part_begin_;  ///< per split: its first token in each block
};

class PackedRows : public TextDataset {
 public:
  PackedRows(std::shared_ptr<const PackedText> text, std::shared_ptr<const Layout> layout, int64_t length, Split split)
      : text_(std::move(text)),
        layout_(std::move(layout)),
        length_(length),
        split_(split),
        tokenizer_(byte_tokenizer()) {}

  DataCard card() const override {
    DataCard card = text_->card;
    card.records = size();
    return card;
  }
  int64_t size() const override { return layout_->rows(split_); }
  int64_t documents() const override { return text_->documents; }
  int64_t tokens() const override { return static_cast<int64_t>(text_->tokens.size()); }
  const Tokenizer& tokenizer() const override { return *tokenizer_; }

  Batch get(const std::vector<int64_t>& ids, const Rng&) const override {
    const auto B = static_cast<int64_t>(ids.size()), T = length_;
    Batch batch;
    batch.id_B = torch::empty({B}, torch::kInt64);
    Tensor ids_BT = torch::empty({B, T}, torch::kInt64), labels_BT = torch::empty({B, T}, torch::kInt64);
    std::vector<const uint16_t*> rows;
    rows.reserve(ids.size());
    bool plain = true;
    for (int64_t b = 0; b < B; ++b) {
      const int64_t id = ids[static_cast<size_t>(b)];
      ETUDE_CHECK(id >= 0 && id < size(), "there is no row " + std::to_string(id));
      batch.id_B.mutable_data_ptr<int64_t>()[b] = id;
      const uint16_t* row = text_->tokens.data() + layout_->start(split_, id);
      fill(row, ids_BT.mutable_data_ptr<int64_t>() + b * T, labels_BT.mutable_data_ptr<int64_t>() + b * T);
      plain = plain && std::find(row, row + T - 1, kDocumentEnd) == row + T - 1;
      rows.push_back(row);
    }
    batch.x["ids_BT"] = std::move(ids_BT);
    batch.x["labels_BT"] = std::move(labels_BT);
    if (!plain) add_documents(rows, batch);
    return batch;
  }

 private:
  void fill(const uint16_t* row, int64_t* ids_T, int64_t* labels_T) const {
    for (int64_t t = 0; t < length_; ++t) {
      ids_T[t] = row[t];
      labels_T[t] = row[t] == kDocumentEnd ? -1 : row[t + 1];
    }
  }

  void add_documents(const std::vector<const uint16_t*>& rows, Batch& batch) const {
    const auto B = static_cast<int64_t>(rows.size()), T = length_;
    Tensor position_BT = torch::empty({B, T}, torch::kInt64), segment_BT = torch::empty({B, T}, torch::kInt64);
    int64_t* position_T = position_BT.mutable_data_ptr<int64_t>();
    int64_t* segment_T = segment_BT.mutable_data_ptr<int64_t>();
    for (const uint16_t* row : rows) {
      int64_t position = 0, segment = 0;
      for (int64_t t = 0; t < T; ++t) {
        position_T[t] = position++;
        segment_T[t] = segment;
        if (row[t] == kDocumentEnd) {
          position = 0;
          ++segment;
        }
      }
      position_T += T;
      segment_T += T;
    }
    batch.x["position_BT"] = std::move(position_BT);
    batch.x["segment_BT"] = std::move(segment_BT);
  }

  std::shared_ptr<const PackedText> text_;
  std::shared_ptr<const Layout> layout_;
  int64_t length_;
  Split split_;
  std::shared_ptr<Tokenizer> tokenizer_;
};

}  // namespace

TextSplits open_text(const TextOptions& options) {
  if (!(options.validation >= 0 && options.validation < 1)) {
    throw Error(Code::config, "validation is no share in [0, 1)", "data.validation", "0.05 keeps a twentieth");
  }
  if (options.length < 2 || options.length > (int64_t{1} << 40)) {
    throw Error(Code::config, "length " + std::to_string(options.length) + " is out of range", "data.length",
                "a row has two tokens at least");
  }
  const auto text = pack(options.path);
  const auto layout = std::make_shared<const Layout>(static_cast<int64_t>(text->tokens.size()), options);
  using Split = TextDataset::Split;
  return {std::make_shared<PackedRows>(text, layout, options.length, Split::train),
          std::make_shared<PackedRows>(text, layout, options.length, Split::validation)};
}

std::shared_ptr<TextDataset> open_text(const TextOptions& options, TextDataset::Split split) {
  const TextSplits splits = open_text(options);
  return split == TextDataset::Split::train ? splits.train : splits.validation;
}

}  // namespace etude
