// N any leading dimensions, D model width, F hidden width.

#include "etude/nn/mlp.h"

namespace etude {

SwiGlu::SwiGlu(const std::string& name, int64_t dim, int64_t hidden, bool with_bias)
    : tap_(name + ".output"), hidden_tap_(name + ".down_proj.input") {
  const auto linear = [&](const char* part, int64_t inputs, int64_t outputs) {
    return register_module(part, std::make_shared<Linear>(name + "." + part, inputs, outputs, with_bias));
  };
  gate_proj = linear("gate_proj", dim, hidden);
  up_proj = linear("up_proj", dim, hidden);
  down_proj = linear("down_proj", hidden, dim);
}

Tensor SwiGlu::forward(const Tensor& x_ND, Ctx& ctx) {
  const Tensor hidden_NF = at::silu(gate_proj->forward(x_ND, ctx)) * up_proj->forward(x_ND, ctx);
  const Tensor y_ND = down_proj->forward(hidden_NF, ctx);
  if (ctx.taps) {
    ctx.taps->offer(hidden_tap_, hidden_NF);
    ctx.taps->offer(tap_, y_ND);
  }
  return y_ND;
}

double SwiGlu::flops_per_token() const {
  return gate_proj->flops_per_row() + up_proj->flops_per_row() + down_proj->flops_per_row();
}

}  // namespace etude
