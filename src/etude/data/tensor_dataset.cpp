#include "etude/data/tensor_dataset.h"

#include <cstring>

#include "etude/base/error.h"
#include "etude/base/file.h"
#include "etude/base/torch_pch.h"

namespace etude {
namespace {

class TensorDataset : public Dataset {
 public:
  TensorDataset(const std::map<std::string, Tensor>& columns, const std::string& name) {
    if (columns.empty()) throw Error(Code::data, "a data set needs a tensor at least", name, "give its columns");
    file::Sha256 hash;
    for (const auto& [key, column] : columns) {
      if (!column.defined() || column.dim() == 0) {
        throw Error(Code::data, "the tensor '" + key + "' has no rows", name, "its first dimension counts records");
      }
      if (columns_.empty()) size_ = column.size(0);
      if (column.size(0) != size_) {
        throw Error(Code::data,
                    "the tensor '" + key + "' has " + std::to_string(column.size(0)) + " rows, '" +
                        columns.begin()->first + "' " + std::to_string(size_),
                    name, "every record needs a row of each tensor");
      }
      Tensor own = column.detach().to(at::kCPU, /*non_blocking=*/false, /*copy=*/true).contiguous();
      hash.add(key + " " + c10::toString(own.scalar_type()) + " " + c10::str(own.sizes()) + "\n");
      hash.add(own.const_data_ptr(), own.nbytes());
      card_.bytes += static_cast<int64_t>(own.nbytes());
      columns_.emplace(key, std::move(own));
    }
    card_.name = name;
    card_.licence = "the user's own";
    card_.origin = "memory";
    card_.sha256 = hash.hex();
    card_.records = size_;
  }

  DataCard card() const override { return card_; }
  int64_t size() const override { return size_; }

  Batch get(const std::vector<int64_t>& ids, const Rng&) const override {
    const auto B = static_cast<int64_t>(ids.size());
    Batch batch;
    batch.id_B = torch::empty({B}, torch::kInt64);
    int64_t* const id = batch.id_B.mutable_data_ptr<int64_t>();
    for (int64_t b = 0; b < B; ++b) {
      id[b] = ids[static_cast<size_t>(b)];
      ETUDE_CHECK(id[b] >= 0 && id[b] < size_, "there is no record " + std::to_string(id[b]));
    }
    for (const auto& [name, column] : columns_) {
      std::vector<int64_t> shape = column.sizes().vec();
      shape[0] = B;
      Tensor picked = torch::empty(shape, column.options());
      const size_t row = size_ > 0 ? column.nbytes() / static_cast<size_t>(size_) : 0;
      const auto* from = static_cast<const char*>(column.const_data_ptr());
      auto* to = static_cast<char*>(picked.mutable_data_ptr());
      for (int64_t b = 0; row > 0 && b < B; ++b) {
        std::memcpy(to + static_cast<size_t>(b) * row, from + static_cast<size_t>(id[b]) * row, row);
      }
      batch.x.emplace(name, std::move(picked));
    }
    return batch;
  }

 private:
  std::map<std::string, Tensor> columns_;
  int64_t size_ = 0;
  DataCard card_;
};

}  // namespace

std::shared_ptr<Dataset> tensor_dataset(const std::map<std::string, Tensor>& columns, const std::string& name) {
  return std::make_shared<TensorDataset>(columns, name);
}

}  // namespace etude
