#pragma once
// Token embeddings.

#include "etude/base/torch_pch.h"

#include <string>

#include "etude/nn/context.h"
#include "etude/tensor/embedding.h"

namespace etude {

/// T of ids_BT. Errors: Code::data for rows longer than `longest`, the positions that a net was made for.
int64_t row_length(const Tensor& ids_BT, int64_t longest);

/// Rows of a table by id. Parameter: weight [V, D].
class Embedding : public torch::nn::Module {
 public:
  Embedding(std::string name, int64_t vocabulary, int64_t dim);
  /// ids of any shape -> the same shape with D behind. Offers the tap "<name>.output".
  /// Errors: Code::data for an id outside [0, V).
  Tensor forward(const Tensor& ids, Ctx& ctx);

  Tensor weight;  ///< [V, D]

 private:
  std::string name_, tap_;
};

}  // namespace etude
