#pragma once
// RMSNorm (Zhang and Sennrich 2019, equation 4, with Llama's epsilon inside the root) and layer normalisation (Ba et
// al. 2016, equation 4, with an epsilon inside the root).

#include "etude/base/torch_pch.h"

#include <string>

#include "etude/nn/context.h"
#include "etude/tensor/norm.h"

namespace etude {

/// weight_D * x / sqrt(mean(x^2 over D) + eps), for x with any dimensions before D. Narrow floating types
/// are normalised in float32, as Llama does.
Tensor rms_norm(const Tensor& x, const Tensor& weight_D, double eps);

/// Parameter: weight [D], ones at first.
class RmsNorm : public torch::nn::Module {
 public:
  RmsNorm(std::string name, int64_t dim, double eps);
  /// Of the type of x, or bfloat16 where that is ctx.format. Offers the tap "<name>.output".
  Tensor forward(const Tensor& x, Ctx& ctx);
  /// The norm alone, for operators that compute it on their way, and the name of the tap that they can't offer.
  NormOf of() const { return {.kind = NormOf::Kind::rms, .weight_D = weight, .eps = eps_}; }
  const std::string& tap() const { return tap_; }

  Tensor weight;  ///< [D]

 private:
  std::string name_, tap_;
  double eps_;
};

/// weight_D * (x - mean(x over D)) / sqrt(variance(x over D) + eps) + bias_D, for x with any dimensions before D.
Tensor layer_norm(const Tensor& x, const Tensor& weight_D, const Tensor& bias_D, double eps);

/// Parameters: weight [D], ones at first; bias [D], zeros at first.
class LayerNorm : public torch::nn::Module {
 public:
  LayerNorm(std::string name, int64_t dim, double eps);
  /// Of the type of x, or bfloat16 where that is ctx.format. Offers the tap "<name>.output".
  Tensor forward(const Tensor& x, Ctx& ctx);
  /// As RmsNorm's.
  NormOf of() const { return {.kind = NormOf::Kind::layer, .weight_D = weight, .bias_D = bias, .eps = eps_}; }
  const std::string& tap() const { return tap_; }

  Tensor weight, bias;  ///< [D]

 private:
  std::string name_, tap_;
  double eps_;
};

}  // namespace etude
