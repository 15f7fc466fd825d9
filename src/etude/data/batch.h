#pragma once
// What travels from a source to an objective. Names are the contract: ids_BT, labels_BT, image_BCHW, ...
// The first dimension of every tensor in x is B, that of id_B.
//
// Contract names of text, T tokens in a row:
//   ids_BT       int64, tokens
//   labels_BT    int64, the token to be predicted at that place, -1 where there is none
//   position_BT  int64, place within the document, counted from the beginning of the row or of the document,
//                whichever comes later; absent: 0..T-1 in every row
//   segment_BT   int64, number of the document within the row; absent: one document in every row

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "etude/tensor/tensor.h"

namespace etude {

struct Batch {
  std::map<std::string, Tensor> x;    ///< tensors by contract name
  Tensor id_B;                        ///< int64, stable sample ids: the same sample has the same id in every run
  std::map<std::string, Batch> part;  ///< labelled/unlabelled, crops, views; k samples of a part belong to each of B
  std::map<std::string, std::vector<std::string>> text;  ///< ragged host data, one string a sample

  int64_t size() const { return id_B.defined() ? id_B.size(0) : 0; }
  bool empty() const { return size() == 0; }
  /// Rows begin..end-1 of everything, as views; of a part with k samples for each of this batch, rows
  /// k*begin..k*end-1. Requires 0 <= begin <= end <= size(). Errors: Code::config when the samples of a part
  /// can't be shared out equally.
  Batch rows(int64_t begin, int64_t end) const;
  /// The tensor of that name. Errors: Code::config naming the objective's need and what there is.
  const Tensor& at(const std::string& name) const;
};

/// Batches with the same names, one after the other. Absent positions and segments stand for what the contract
/// above says, so rows with and without document boundaries go together. Batches without any tensor are skipped.
/// Errors: Code::config for names that only some of the batches have.
Batch concatenate(const std::vector<Batch>& batches);

}  // namespace etude
