// N any leading dimensions, D model width, F hidden width.

#include "etude/nn/mlp.h"

#include "etude/tensor/activation.h"

namespace etude {

SwiGlu::SwiGlu(const std::string& name, int64_t dim, int64_t hidden, bool with_bias)
    : name_(name), tap_(name + ".output"), hidden_tap_(name + ".down_proj.input") {
  const auto linear = [&](const char* part, int64_t inputs, int64_t outputs) {
    return register_module(part, std::make_shared<Linear>(name + "." + part, inputs, outputs, with_bias));
  };
  gate_proj = linear("gate_proj", dim, hidden);
  up_proj = linear("up_proj", dim, hidden);
  down_proj = linear("down_proj", hidden, dim);
}

Tensor SwiGlu::down(const Tensor& gate_NF, const Tensor& up_NF, Ctx& ctx) {
  const Tensor hidden_NF = swiglu(gate_NF, up_NF);
  if (ctx.taps) ctx.taps->offer(hidden_tap_, hidden_NF);
  return down_proj->forward_wide(hidden_NF, ctx);
}

Tensor SwiGlu::forward(const Tensor& x_ND, Ctx& ctx) {
  const Tensor gate_NF = gate_proj->forward(x_ND, ctx), up_NF = up_proj->forward(x_ND, ctx);
  const Tensor y_ND = down(gate_NF, up_NF, ctx);
  if (ctx.taps) ctx.taps->offer(tap_, y_ND);
  return y_ND;
}

Tensor SwiGlu::add_to(const Tensor& x_ND, RmsNorm& norm, double dropout, Ctx& ctx) {
  const SharedLinears read = normed_linears(norm, x_ND, {gate_proj.get(), up_proj.get()}, ctx);
  const Tensor &gate_NF = read.y[0], &up_NF = read.y[1];
  return Branch{dropout, name_, tap_}.add(
      read.x_NI, *down_proj, is_watched(ctx, hidden_tap_), ctx,
      [&](const LinearOptions& o) { return swiglu_linear(gate_NF, up_NF, down_proj->weight, o); },
      [&] { return down(gate_NF, up_NF, ctx); });
}

double SwiGlu::flops_per_token() const {
  return gate_proj->flops_per_row() + up_proj->flops_per_row() + down_proj->flops_per_row();
}

}  // namespace etude
