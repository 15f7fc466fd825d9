#include "etude/nn/blocks.h"

#include <cmath>
#include <vector>

#include "etude/base/error.h"

namespace etude {

Tensor dropout(const Tensor& x, double p, const Ctx& ctx, std::string_view site) {
  if (!ctx.train || p == 0) return x;
  ETUDE_CHECK(p > 0 && p < 1, "dropout takes p in [0, 1)");
  ETUDE_CHECK(ctx.id_B.defined() && ctx.id_B.size(0) == x.size(0), "dropout needs the sample ids of its rows");
  const auto per_row = static_cast<size_t>(x[0].numel());
  Tensor keep = torch::empty({x.size(0), static_cast<int64_t>(per_row)}, torch::kFloat32);
  const Tensor ids = ctx.id_B.to(torch::kCPU, torch::kInt64).contiguous();
  for (int64_t b = 0; b < x.size(0); ++b) {
    float* row = keep.data_ptr<float>() + static_cast<size_t>(b) * per_row;
    ctx.rng(Purpose::dropout, ids.data_ptr<int64_t>()[b], site).fill_uniform(std::span<float>(row, per_row));
  }
  const Tensor mask = (keep >= p).to(x.scalar_type()).div_(1 - p).view(x.sizes()).to(x.device());
  return x * mask;
}

Linear::Linear(int64_t in, int64_t out, bool with_bias) {
  weight = register_parameter("weight", torch::zeros({out, in}));
  if (with_bias) bias = register_parameter("bias", torch::zeros({out}));
}

Tensor Linear::forward(const Tensor& x, Ctx& ctx) {
  Tensor w = weight;
  if (slots.slice) w = slots.slice(w, ctx);
  if (slots.low_rank) w = slots.low_rank(w, ctx);
  if (slots.quantise) w = slots.quantise(w, ctx);
  return slots.product ? slots.product(x, w, bias, ctx) : at::linear(x, w, bias.defined() ? std::optional<Tensor>(bias) : std::nullopt);
}

RmsNorm::RmsNorm(int64_t width, double eps) : eps_(eps) { weight = register_parameter("weight", torch::ones({width})); }

Tensor RmsNorm::forward(const Tensor& x, Ctx&) { return at::rms_norm(x, {x.size(-1)}, weight, eps_); }

Rotary rotary(const Tensor& position, int64_t head_width, double theta, torch::ScalarType type) {
  const Tensor i = torch::arange(0, head_width, 2, torch::TensorOptions(torch::kFloat64).device(position.device()));
  const Tensor frequency = torch::pow(theta, -i / static_cast<double>(head_width));
  const Tensor angle = position.to(torch::kFloat64).unsqueeze(-1) * frequency;
  const Tensor both = torch::cat({angle, angle}, -1);
  return {both.cos().to(type), both.sin().to(type)};
}

Tensor rotate(const Tensor& x, const Rotary& tables) {
  const auto halves = x.chunk(2, -1);
  return x * tables.cos + torch::cat({-halves[1], halves[0]}, -1) * tables.sin;
}

Attention::Attention(int64_t width, int64_t heads, int64_t kv_heads, double dropout) : heads_(heads), kv_heads_(kv_heads), head_width_(width / heads), dropout_(dropout) {
  q_ = register_module("q_proj", std::make_shared<Linear>(width, heads * head_width_, false));
  k_ = register_module("k_proj", std::make_shared<Linear>(width, kv_heads * head_width_, false));
  v_ = register_module("v_proj", std::make_shared<Linear>(width, kv_heads * head_width_, false));
  o_ = register_module("o_proj", std::make_shared<Linear>(heads * head_width_, width, false));
}

Tensor Attention::forward(const Tensor& x, const Rotary& tables, const Tensor& mask, Ctx& ctx) {
  const int64_t B = x.size(0), T = x.size(1);
  auto heads = [&](const Tensor& y, int64_t n) { return y.view({B, T, n, head_width_}).transpose(1, 2); };
  const Tensor q = rotate(heads(q_->forward(x, ctx), heads_), tables);
  Tensor k = rotate(heads(k_->forward(x, ctx), kv_heads_), tables);
  Tensor v = heads(v_->forward(x, ctx), kv_heads_);
  if (kv_heads_ != heads_) {
    k = k.repeat_interleave(heads_ / kv_heads_, 1);
    v = v.repeat_interleave(heads_ / kv_heads_, 1);
  }
  const std::optional<Tensor> additive = mask.defined() ? std::optional<Tensor>(mask) : std::nullopt;
  const Tensor y = at::scaled_dot_product_attention(q, k, v, additive, 0.0, !mask.defined());
  return dropout(o_->forward(y.transpose(1, 2).reshape({B, T, heads_ * head_width_}), ctx), dropout_, ctx, name());
}

GatedMlp::GatedMlp(int64_t width, int64_t inner, double dropout) : dropout_(dropout) {
  gate_ = register_module("gate_proj", std::make_shared<Linear>(width, inner, false));
  up_ = register_module("up_proj", std::make_shared<Linear>(width, inner, false));
  down_ = register_module("down_proj", std::make_shared<Linear>(inner, width, false));
}

Tensor GatedMlp::forward(const Tensor& x, Ctx& ctx) {
  return dropout(down_->forward(at::silu(gate_->forward(x, ctx)) * up_->forward(x, ctx), ctx), dropout_, ctx, name());
}

}  // namespace etude
