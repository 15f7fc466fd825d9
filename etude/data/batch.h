#pragma once
// What travels from a source to an objective. Names are the contract: ids_BT, labels_BT, image_BCHW, ...
// The first dimension of every tensor in x is B, that of id_B.

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "etude/tensor/tensor.h"

namespace etude {

struct Batch {
  std::map<std::string, Tensor> x;   ///< tensors by contract name
  Tensor id_B;                       ///< int64, stable sample ids: the same sample has the same id in every run
  std::map<std::string, Batch> part; ///< labelled/unlabelled, crops, views
  std::map<std::string, std::vector<std::string>> text;  ///< ragged host data, one string a sample

  int64_t size() const { return id_B.defined() ? id_B.size(0) : 0; }
  bool empty() const { return size() == 0; }
  /// Rows begin..end-1 of everything.
  Batch rows(int64_t begin, int64_t end) const;
  /// The tensor of that name. Errors: Code::config naming the objective's need and what there is.
  const Tensor& at(const std::string& name) const;
};

/// Batches with the same names, one after the other.
Batch concatenate(const std::vector<Batch>& batches);

}  // namespace etude
