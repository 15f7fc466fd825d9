#pragma once
// Elementwise functions between products, and SwiGLU (Shazeer 2020, equation 6). Backward computes them again from
// their inputs, which are all that is kept.
//
// N any leading dimensions, F hidden width.

#include <string_view>

#include "etude/tensor/tensor.h"

namespace etude {

/// gelu: x P(X <= x) for X standard normal (Hendrycks and Gimpel 2016); gelu_tanh: their approximation by tanh, which
/// is GPT-2's; silu: x / (1 + exp(-x)).
enum class Activation { none, relu, gelu, gelu_tanh, silu };
std::string_view activation_name(Activation activation);

/// The functions that end in _forward and _backward have no autograd and take float32 or bfloat16, any strides; they
/// compute in float32, values for |x| <= 5 to a relative error of 2e-6, slopes to 1e-6, and give contiguous results:
/// values of `type`, gradients of the type of what they are gradients of.
Tensor activation_forward(Activation activation, const Tensor& x, at::ScalarType type);
Tensor activation_backward(Activation activation, const Tensor& gradient, const Tensor& x);
/// Of the type of x; differentiable, twice as well; keeps x. Any device and type: ATen's operators take what the
/// kernels do not.
Tensor activate(Activation activation, const Tensor& x);

/// In place on the calling thread, for a block of a product that is in the cache: data[r * stride + c].
void activate_block(Activation activation, float* data, int64_t rows, int64_t cols, int64_t stride);

/// silu(gate) * up.
Tensor swiglu_forward(const Tensor& gate_NF, const Tensor& up_NF, at::ScalarType type);
struct SwigluGradients {
  Tensor gate, up;
};
SwigluGradients swiglu_backward(const Tensor& gradient_NF, const Tensor& gate_NF, const Tensor& up_NF);
/// Of the type of gate; differentiable, twice as well; keeps gate and up. Any device and type.
Tensor swiglu(const Tensor& gate_NF, const Tensor& up_NF);

}  // namespace etude
