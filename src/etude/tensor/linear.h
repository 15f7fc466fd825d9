#pragma once
// Linear layers with what stands around their product, each as one node of autograd: bias, activation and residual are
// added to a block of the product while it is in the cache, and what backward can compute again is not kept.
//
// N any leading dimensions, I inputs, O outputs, F hidden width.

#include <optional>
#include <vector>

#include "etude/tensor/activation.h"
#include "etude/tensor/format.h"
#include "etude/tensor/norm.h"
#include "etude/tensor/tensor.h"

namespace etude {

/// y = activation(x W^T + bias) + residual.
///
/// Tensors on the CPU of float32 or bfloat16, with parameters of float32, take the own kernels: operands in `format`,
/// sums in float32; each gradient has the type of what it is a gradient of. Tensors elsewhere, and ETUDE_ISA=aten, take
/// ATen's operators with the same formats. Where a parameter or an input is of another type (float64, a net that was
/// converted to bfloat16), ATen's types rule and `format` and `type` say nothing. All are differentiable, twice as
/// well.
struct LinearOptions {
  Format format = Format::float32;
  Tensor bias_O = {};       ///< undefined: none
  Tensor residual_NO = {};  ///< undefined: none
  Activation activation = Activation::none;
  /// Of the result: float32 or bfloat16. Unset: that of the residual, or else storage_of(format).
  std::optional<at::ScalarType> type = {};
};
Tensor fused_linear(const Tensor& x_NI, const Tensor& weight_OI, const LinearOptions& options = {});

/// fused_linear(activate(hidden)): keeps what the activation reads, not what it gives.
Tensor activated_linear(Activation activation, const Tensor& hidden_NF, const Tensor& weight_OF,
                        const LinearOptions& options = {});
/// fused_linear(silu(gate) * up): keeps gate and up.
Tensor swiglu_linear(const Tensor& gate_NF, const Tensor& up_NF, const Tensor& weight_OF,
                     const LinearOptions& options = {});

struct SharedLinears {
  std::vector<Tensor> y;  ///< of each weight, of storage_of(format)
  /// The input again, for a residual branch: the gradient that reaches it there is added to that of the products in the
  /// same pass over memory.
  Tensor x_NI;
};
/// y_i = norm(x) W_i^T + b_i; without a norm x W_i^T + b_i. Keeps x and two numbers a row: the normalised rows are
/// computed again. The gradient of norm(x) is one sum over all outputs in float32. Required: biases for all weights or
/// for none.
SharedLinears normed_linears(const std::optional<NormOf>& norm, const Tensor& x_NI,
                             const std::vector<Tensor>& weights_OI, const std::vector<Tensor>& biases_O, Format format);

}  // namespace etude
