#pragma once
// Root-mean-square norm (Zhang and Sennrich 2019, equation 4, with Llama's epsilon inside the root) and layer
// normalisation (Ba et al. 2016, equation 4), which keep of a row two numbers only.
//
// N rows (any leading dimensions), D width.

#include "etude/tensor/tensor.h"

namespace etude {

/// rms: y = weight x / sqrt(mean(x^2) + eps). layer: y = weight (x - mean(x)) / sqrt(variance(x) + eps) + bias, with
/// the variance that divides by D. An undefined bias adds nothing.
struct NormOf {
  enum class Kind { rms, layer } kind = Kind::rms;
  Tensor weight_D, bias_D = {};
  double eps = 1e-5;
};

struct Normed {
  Tensor y;              ///< the shape of x
  Tensor statistics_N2;  ///< float32: the mean (0 for rms), and 1 / sqrt(... + eps)
};

/// No autograd, as the two that follow: what nodes that hold more than a norm are made of. x and gradients: float32 or
/// bfloat16, any strides; parameters float32; results contiguous, y of `type`. Sums are float32, with the same bits
/// whatever the number of threads.
Normed norm_forward(const NormOf& norm, const Tensor& x_ND, at::ScalarType type);
/// y once more, from the statistics that norm_forward() gave for the same x.
Tensor norm_again(const NormOf& norm, const Tensor& x_ND, const Tensor& statistics_N2, at::ScalarType type);

/// Undefined where not wanted. x: of the type of x; the parameters': float32.
struct NormGradients {
  Tensor x = {}, weight_D = {}, bias_D = {};
};
/// `add_to_x` (shape of x, or undefined), the gradient that reaches x past the norm, is added to that of x in the same
/// pass over memory.
NormGradients norm_backward(const NormOf& norm, const Tensor& gradient_y, const Tensor& x, const Tensor& statistics_N2,
                            bool want_x, bool want_parameters, const Tensor& add_to_x = {});

/// y of `type`, differentiable, twice as well. Keeps x and two numbers a row. Any device and type: ATen's operators
/// take what the kernels do not.
Tensor norm(const NormOf& norm, const Tensor& x, at::ScalarType type);

}  // namespace etude
