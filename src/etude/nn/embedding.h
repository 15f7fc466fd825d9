#pragma once
// Token embeddings, and the check of ids and positions that come from data.

#include "etude/base/torch_pch.h"

#include <string>
#include <string_view>

#include "etude/nn/context.h"

namespace etude {

/// Refuses values outside [0, limit): one cheap pass (on an accelerator one reduction and one wait).
/// Errors: Code::data naming value and place, as "<tensor>[3, 17]", with `hint`.
void require_below(const Tensor& values, int64_t limit, std::string_view tensor, const std::string& hint);

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
