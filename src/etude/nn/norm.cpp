// D width.

#include "etude/nn/norm.h"

namespace etude {

Tensor rms_norm(const Tensor& x, const Tensor& weight_D, double eps) {
  return at::rms_norm(x, weight_D.sizes(), weight_D, eps);
}

RmsNorm::RmsNorm(std::string name, int64_t dim, double eps)
    : weight(register_parameter("weight", torch::ones({dim}))),
      name_(std::move(name)),
      tap_(name_ + ".output"),
      eps_(eps) {}

Tensor RmsNorm::forward(const Tensor& x, Ctx& ctx) {
  const Tensor y = rms_norm(x, weight, eps_);
  if (ctx.taps) ctx.taps->offer(tap_, y);
  return y;
}

Tensor layer_norm(const Tensor& x, const Tensor& weight_D, const Tensor& bias_D, double eps) {
  return at::layer_norm(x, weight_D.sizes(), weight_D, bias_D, eps);
}

LayerNorm::LayerNorm(std::string name, int64_t dim, double eps)
    : weight(register_parameter("weight", torch::ones({dim}))),
      bias(register_parameter("bias", torch::zeros({dim}))),
      name_(std::move(name)),
      tap_(name_ + ".output"),
      eps_(eps) {}

Tensor LayerNorm::forward(const Tensor& x, Ctx& ctx) {
  const Tensor y = layer_norm(x, weight, bias, eps_);
  if (ctx.taps) ctx.taps->offer(tap_, y);
  return y;
}

}  // namespace etude
