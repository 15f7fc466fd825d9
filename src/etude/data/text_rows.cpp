// B rows, T tokens in a row.

#include "etude/data/text_rows.h"

#include <algorithm>

#include "etude/base/error.h"
#include "etude/base/torch_pch.h"
#include "etude/data/mixture.h"

namespace etude {
namespace {

constexpr int64_t kNoEnd = -1;  ///< no token has this id

int64_t count_ends(const corpus::TokenSequence& tokens, int64_t end) {
  std::vector<int32_t> piece(size_t{1} << 18);
  int64_t ends = 0;
  for (int64_t at = 0; at < tokens.size(); at += static_cast<int64_t>(piece.size())) {
    const int64_t n = std::min(static_cast<int64_t>(piece.size()), tokens.size() - at);
    tokens.read(at, n, piece.data());
    ends += std::count(piece.begin(), piece.begin() + n, end);
  }
  return ends;
}

class Rows : public TextDataset {
 public:
  Rows(TextRows rows, Split split)
      : rows_(std::move(rows)), validation_(split == Split::validation), end_(rows_.document_end.value_or(kNoEnd)) {
    for (const TextPart& part : rows_.parts) first_.push_back(first_.back() + part.layout->rows(validation_));
    if (validation_ && rows_.parts.size() > 1) mix_validation();
  }

  DataCard card() const override {
    DataCard card = rows_.card;
    card.records = size();
    return card;
  }
  int64_t size() const override { return mixture_ ? mixed_ : first_.back(); }
  const Tokenizer& tokenizer() const override { return *rows_.tokenizer; }

  std::vector<Share> shares() const override {
    std::vector<Share> shares;
    if (validation_ || rows_.parts.size() == 1) return shares;
    for (size_t s = 0; s < rows_.parts.size(); ++s) {
      shares.push_back({first_[s], first_[s + 1] - first_[s], rows_.parts[s].weight});
    }
    return shares;
  }

  int64_t documents() const override {
    int64_t sum = 0;
    for (const TextPart& part : rows_.parts) {
      const int64_t counted = part.tokens->documents();
      sum += counted >= 0 ? counted : std::max<int64_t>(1, count_ends(*part.tokens, end_));
    }
    return sum;
  }
  int64_t empty() const override {
    int64_t sum = 0;
    for (const TextPart& part : rows_.parts) sum += part.tokens->empty();
    return sum;
  }
  int64_t tokens() const override {
    int64_t sum = 0;
    for (const TextPart& part : rows_.parts) sum += part.tokens->size();
    return sum;
  }

  Batch get(const std::vector<int64_t>& ids, const Rng&) const override {
    const auto B = static_cast<int64_t>(ids.size()), T = rows_.length;
    Batch batch;
    batch.id_B = torch::empty({B}, torch::kInt64);
    Tensor ids_BT = torch::empty({B, T}, torch::kInt64), labels_BT = torch::empty({B, T}, torch::kInt64);
    std::vector<Place> places;
    for (const int64_t id : ids) {
      batch.id_B.mutable_data_ptr<int64_t>()[places.size()] = id;
      places.push_back(place(id));
      places.back().tokens->will_need(places.back().begin, T + 1);
    }
    std::vector<int32_t> row(static_cast<size_t>(T) + 1);
    bool plain = true;
    int64_t *ids_T = ids_BT.mutable_data_ptr<int64_t>(), *labels_T = labels_BT.mutable_data_ptr<int64_t>();
    for (const Place& at : places) {
      at.tokens->read(at.begin, T + 1, row.data());
      fill(row, ids_T, labels_T);
      plain = plain && std::find(row.begin(), row.end() - 2, end_) == row.end() - 2;
      ids_T += T;
      labels_T += T;
    }
    for (const TextPart& part : rows_.parts) part.tokens->require_whole();
    if (!plain) add_documents(ids_BT, batch);
    batch.x["ids_BT"] = std::move(ids_BT);
    batch.x["labels_BT"] = std::move(labels_BT);
    return batch;
  }

 private:
  struct Place {
    const corpus::TokenSequence* tokens = nullptr;
    int64_t begin = 0;
  };

  /// As many rows as every text has enough of.
  void mix_validation() {
    std::vector<double> weights;
    for (const TextPart& part : rows_.parts) weights.push_back(part.weight);
    mixture_.emplace(weights);
    const auto enough = [&](int64_t n) {
      for (size_t s = 0; s < weights.size(); ++s) {
        if (mixture_->count(s, n) > first_[s + 1] - first_[s]) return false;
      }
      return true;
    };
    int64_t most = first_.back() + 1;
    while (most - mixed_ > 1) {
      const int64_t middle = mixed_ + (most - mixed_) / 2;
      (enough(middle) ? mixed_ : most) = middle;
    }
    for (size_t s = 0; s < weights.size(); ++s) taken_.push_back(mixture_->count(s, mixed_));
  }

  Place place(int64_t id) const {
    ETUDE_CHECK(id >= 0 && id < size(), "there is no row " + std::to_string(id));
    size_t s = 0;
    int64_t row = 0;
    if (mixture_) {
      const Mixture::Place mixed = mixture_->at(id);
      s = mixed.source;
      row = mixed.number * (first_[s + 1] - first_[s]) / taken_[s];
    } else {
      s = static_cast<size_t>(std::upper_bound(first_.begin(), first_.end(), id) - first_.begin()) - 1;
      row = id - first_[s];
    }
    return {rows_.parts[s].tokens.get(), rows_.parts[s].layout->start(validation_, row)};
  }

  void fill(const std::vector<int32_t>& row, int64_t* ids_T, int64_t* labels_T) const {
    for (size_t t = 0; t + 1 < row.size(); ++t) {
      ids_T[t] = row[t];
      labels_T[t] = row[t] == end_ ? -1 : row[t + 1];
    }
  }

  void add_documents(const Tensor& ids_BT, Batch& batch) const {
    Tensor position_BT = torch::empty(ids_BT.sizes(), torch::kInt64);
    Tensor segment_BT = torch::empty(ids_BT.sizes(), torch::kInt64);
    const int64_t* id = ids_BT.const_data_ptr<int64_t>();
    int64_t *to_position = position_BT.mutable_data_ptr<int64_t>(),
            *to_segment = segment_BT.mutable_data_ptr<int64_t>();
    for (int64_t b = 0; b < ids_BT.size(0); ++b) {
      int64_t position = 0, segment = 0;
      for (int64_t t = 0; t < rows_.length; ++t) {
        *to_position++ = position++;
        *to_segment++ = segment;
        if (*id++ == end_) {
          position = 0;
          ++segment;
        }
      }
    }
    batch.x["position_BT"] = std::move(position_BT);
    batch.x["segment_BT"] = std::move(segment_BT);
  }

  TextRows rows_;
  bool validation_;
  int64_t end_;
  std::vector<int64_t> first_ = {0};  ///< rows of the parts before each, and of all
  std::optional<Mixture> mixture_;    ///< of validation rows
  int64_t mixed_ = 0;                 ///< how many they are
  std::vector<int64_t> taken_;        ///< of each part
};

}  // namespace

std::shared_ptr<TextDataset> text_rows(const TextRows& rows, TextDataset::Split split) {
  return std::make_shared<Rows>(rows, split);
}

}  // namespace etude
