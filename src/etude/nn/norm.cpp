// D width.

#include "etude/nn/norm.h"

#include "etude/tensor/norm.h"

namespace etude {
namespace {

/// A product reads what a norm writes, so it is stored in the format of products.
at::ScalarType type_of_output(const Tensor& x, const Ctx& ctx) {
  return ctx.format == Format::float32 ? x.scalar_type() : storage_of(ctx.format);
}

NormOf rms(const Tensor& weight_D, double eps) { return {.kind = NormOf::Kind::rms, .weight_D = weight_D, .eps = eps}; }

NormOf layer(const Tensor& weight_D, const Tensor& bias_D, double eps) {
  return {.kind = NormOf::Kind::layer, .weight_D = weight_D, .bias_D = bias_D, .eps = eps};
}

}  // namespace

Tensor rms_norm(const Tensor& x, const Tensor& weight_D, double eps) {
  return norm(rms(weight_D, eps), x, x.scalar_type());
}

RmsNorm::RmsNorm(std::string name, int64_t dim, double eps)
    : weight(register_parameter("weight", torch::ones({dim}))),
      name_(std::move(name)),
      tap_(name_ + ".output"),
      eps_(eps) {}

Tensor RmsNorm::forward(const Tensor& x, Ctx& ctx) {
  const Tensor y = norm(rms(weight, eps_), x, type_of_output(x, ctx));
  if (ctx.taps) ctx.taps->offer(tap_, y);
  return y;
}

Tensor layer_norm(const Tensor& x, const Tensor& weight_D, const Tensor& bias_D, double eps) {
  return norm(layer(weight_D, bias_D, eps), x, x.scalar_type());
}

LayerNorm::LayerNorm(std::string name, int64_t dim, double eps)
    : weight(register_parameter("weight", torch::ones({dim}))),
      bias(register_parameter("bias", torch::zeros({dim}))),
      name_(std::move(name)),
      tap_(name_ + ".output"),
      eps_(eps) {}

Tensor LayerNorm::forward(const Tensor& x, Ctx& ctx) {
  const Tensor y = norm(layer(weight, bias, eps_), x, type_of_output(x, ctx));
  if (ctx.taps) ctx.taps->offer(tap_, y);
  return y;
}

}  // namespace etude
