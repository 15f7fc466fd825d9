// B batch, T time, H heads, E head width.

#include "etude/nn/rotary.h"

#include "etude/base/error.h"
#include "etude/tensor/rotary_kernel.h"

namespace etude {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// (x_1, x_2) -> (x_1 cos - x_2 sin, x_2 cos + x_1 sin) as one node of the graph; its gradient is the
/// rotation by the opposite angle.
struct Rotate : torch::autograd::Function<Rotate> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& cos, const Tensor& sin, bool inverse) {
    ctx->save_for_backward({cos, sin});
    ctx->saved_data["inverse"] = inverse;
    return rotate_pairs(x, cos, sin, inverse);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    const variable_list saved = ctx->get_saved_variables();
    const bool inverse = ctx->saved_data["inverse"].toBool();
    return {Rotate::apply(gradients.at(0), saved[0], saved[1], !inverse), Tensor(), Tensor(), Tensor()};
  }
};

}  // namespace

Tensor rotate(const Tensor& x_BTHE, const Rotation& rotation) {
  return Rotate::apply(x_BTHE, rotation.cos, rotation.sin, /*inverse=*/false);
}

Rotary::Rotary(int64_t head, int64_t length, double theta, const RopeScaling& scaling)
    : head_(head), length_(length), theta_(theta), scaling_(scaling) {
  ETUDE_CHECK(head % 2 == 0 && theta > 0 && length >= 1, "rotary positions need an even head width and theta > 0");
}

void Rotary::prepare(const at::TensorOptions& like) {
  if (cos_TE_.defined() && cos_TE_.dtype() == like.dtype() && cos_TE_.device() == like.device()) return;
  at::NoGradGuard no_grad;
  const auto wide = at::TensorOptions().dtype(at::kDouble);
  const Tensor frequency = at::pow(theta_, at::arange(0, head_, 2, wide) / -static_cast<double>(head_));
  for (int64_t i = 0; i < frequency.numel(); ++i)
    frequency.data_ptr<double>()[i] = scaled(scaling_, frequency.const_data_ptr<double>()[i]);
  const Tensor angle = at::outer(at::arange(length_, wide), frequency);
  const Tensor sin = angle.sin();
  cos_TE_ = at::cat({angle.cos(), angle.cos()}, -1).to(like.dtype()).to(like.device());
  sin_TE_ = at::cat({-sin, sin}, -1).to(like.dtype()).to(like.device());
}

Rotation Rotary::from_start(int64_t T, const at::TensorOptions& like) {
  prepare(like);
  return {cos_TE_.narrow(0, 0, T).unsqueeze(1), sin_TE_.narrow(0, 0, T).unsqueeze(1)};
}

Rotation Rotary::at(const Tensor& position_BT, const at::TensorOptions& like) {
  prepare(like);
  return {at::embedding(cos_TE_, position_BT).unsqueeze(2), at::embedding(sin_TE_, position_BT).unsqueeze(2)};
}

}  // namespace etude
