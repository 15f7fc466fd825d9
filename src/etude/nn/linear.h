#pragma once
// The linear layer y = x W^T (+ b) and its slots: the places where techniques change a layer, in the one order
// in which their effects compose.
//
//   weight -> slice -> low_rank -> quantise -> product -> codec of the activation saved for backward
//
// B batch, T time, I inputs, O outputs, R rank; "N" stands for any leading dimensions.

#include "etude/base/torch_pch.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "etude/nn/context.h"
#include "etude/tensor/linear.h"

namespace etude {

/// A correction of rank R to a weight: scale * up_OR down_RI (Hu et al. 2021, "LoRA", section 4.1).
struct LowRank {
  Tensor down_RI, up_OR;
  double scale = 1;
  /// false: a path of its own beside the product, y += scale * (x down^T) up^T, so that a quantised base
  /// stays as it is. true: added to the weight, so that the quantiser sees the sum.
  bool merged = false;
  double dropout = 0;  ///< of x on a path of its own, when training
};

/// How the input that backward needs is kept: C++ LibTorch has no hooks on saved tensors, so the product
/// calls these. decode(encode(x)) approximates x; backward of the weight uses it.
struct ActivationCodec {
  std::function<torch::autograd::variable_list(const Tensor& x_NI)> encode;
  std::function<Tensor(const torch::autograd::variable_list&)> decode;
};

struct Operands {
  Tensor x_NI, weight_OI;
};

/// Unset slots cost nothing. Shapes are those that the slots before leave.
struct LinearSlots {
  std::function<Tensor(const Tensor& weight_OI, Ctx&)> weight;  ///< another weight in its place
  std::function<Tensor(const Tensor& weight_OI, Ctx&)> slice;   ///< rows and columns in use
  std::function<LowRank(Ctx&)> low_rank;
  std::function<Operands(const Operands&, Ctx&)> quantise;  ///< a number format per operand
  /// In place of x W^T. Owns the codec too, as only the product knows what it saves; may be null.
  std::function<Tensor(const Operands&, const ActivationCodec*, Ctx&)> product;
  std::optional<ActivationCodec> codec;
};

/// x_NI W_OI^T + b_O. Parameters: weight [O, I], bias [O] where there is one.
class Linear : public torch::nn::Module {
 public:
  /// `name` is the layer's full name in its net ("model.layers.0.mlp.up_proj"), for taps and messages.
  Linear(std::string name, int64_t inputs, int64_t outputs, bool with_bias = false);
  /// Of storage_of(ctx.format); where input or parameters are of other types than float32 and bfloat16, of theirs.
  /// Offers the tap "<name>.output".
  Tensor forward(const Tensor& x_NI, Ctx& ctx) { return forward(x_NI, ctx, storage_of(ctx.format)); }
  /// The same in float32, for what a loss or a residual stream goes on from.
  Tensor forward_wide(const Tensor& x_NI, Ctx& ctx) { return forward(x_NI, ctx, at::kFloat); }

  /// The layer's slots, made at the first call.
  LinearSlots& slots();
  /// Whether forward() is x W^T + b and nothing else: no slot changes it, and nobody taps what it gives.
  bool plain(const Ctx& ctx) const { return !slots_ && !(ctx.taps && ctx.taps->wanted.count(tap_)); }
  const std::string& full_name() const { return name_; }
  /// 2 per multiply-add for one row of the input.
  double flops_per_row() const { return 2.0 * static_cast<double>(weight.numel()); }

  Tensor weight;  ///< [O, I]
  Tensor bias;    ///< [O]; undefined where there is none

 private:
  Tensor forward(const Tensor& x_NI, Ctx& ctx, at::ScalarType type);
  Tensor through_slots(const Tensor& x_NI, Ctx& ctx, at::ScalarType type) const;
  std::string name_, tap_;
  std::unique_ptr<LinearSlots> slots_;
};

/// x W^T where backward sees decode(encode(x)) in place of x. The gradient of x is exact.
/// Not differentiable twice.
Tensor linear_with_codec(const Tensor& x_NI, const Tensor& weight_OI, const ActivationCodec& codec);

}  // namespace etude
