// B batch, T time, D model width, H heads, E head width, F hidden width, V vocabulary.

#include "etude/nn/gpt2.h"

#include <cmath>

#include "etude/base/error.h"
#include "etude/nn/adapter.h"
#include "etude/nn/recompute.h"
#include "etude/nn/residual.h"
#include "etude/tensor/activation.h"
#include "etude/tensor/cross_entropy.h"
#include "etude/tensor/fill.h"
#include "etude/tensor/linear.h"

namespace etude {

Gpt2Attention::Gpt2Attention(const std::string& name, int64_t dim, int64_t heads)
    : name_(name), tap_(name + ".output"), heads_tap_(name + ".c_proj.input"), heads_(heads) {
  c_attn = register_module("c_attn", std::make_shared<Linear>(name + ".c_attn", dim, 3 * dim, true));
  c_proj = register_module("c_proj", std::make_shared<Linear>(name + ".c_proj", dim, dim, true));
}

Tensor Gpt2Attention::add_to(const Tensor& x_BTD, LayerNorm& norm, const AttentionMask& mask, double dropout,
                             Ctx& ctx) {
  const int64_t B = x_BTD.size(0), T = x_BTD.size(1), D = x_BTD.size(2), H = heads_, E = D / H;
  const SharedLinears read = normed_linears(norm, x_BTD, {c_attn.get()}, ctx);
  const std::vector<Tensor> qkv_BTHE = read.y[0].view({B, T, 3 * H, E}).chunk(3, 2);
  const Tensor y_BTHE = attention(name_, qkv_BTHE[0], qkv_BTHE[1], qkv_BTHE[2], mask, ctx);
  const Tensor heads_BTD = y_BTHE.reshape({B, T, D});
  if (ctx.taps) ctx.taps->offer(heads_tap_, heads_BTD);
  return Branch{dropout, name_, tap_}.add(read.x_NI, heads_BTD, *c_proj, ctx);
}

Gpt2Mlp::Gpt2Mlp(const std::string& name, int64_t dim, int64_t hidden)
    : name_(name), tap_(name + ".output"), hidden_tap_(name + ".c_proj.input") {
  c_fc = register_module("c_fc", std::make_shared<Linear>(name + ".c_fc", dim, hidden, true));
  c_proj = register_module("c_proj", std::make_shared<Linear>(name + ".c_proj", hidden, dim, true));
}

Tensor Gpt2Mlp::add_to(const Tensor& x_BTD, LayerNorm& norm, double dropout, Ctx& ctx) {
  const SharedLinears read = normed_linears(norm, x_BTD, {c_fc.get()}, ctx);
  const Tensor& wide_BTF = read.y[0];
  return Branch{dropout, name_, tap_}.add(
      read.x_NI, *c_proj, is_watched(ctx, hidden_tap_), ctx,
      [&](const LinearOptions& o) { return activated_linear(Activation::gelu_tanh, wide_BTF, c_proj->weight, o); },
      [&] {
        const Tensor hidden_BTF = activate(Activation::gelu_tanh, wide_BTF);
        if (ctx.taps) ctx.taps->offer(hidden_tap_, hidden_BTF);
        return c_proj->forward_wide(hidden_BTF, ctx);
      });
}

Gpt2Block::Gpt2Block(const std::string& name, const Gpt2Options& o) : tap_(name + ".output"), dropout_(o.dropout) {
  ln_1 = register_module("ln_1", std::make_shared<LayerNorm>(name + ".ln_1", o.dim, o.norm_eps));
  attn = register_module("attn", std::make_shared<Gpt2Attention>(name + ".attn", o.dim, o.heads));
  ln_2 = register_module("ln_2", std::make_shared<LayerNorm>(name + ".ln_2", o.dim, o.norm_eps));
  mlp = register_module("mlp", std::make_shared<Gpt2Mlp>(name + ".mlp", o.dim, o.ffn_or_default()));
}

Tensor Gpt2Block::run(const Tensor& x_BTD, const AttentionMask& mask, Ctx& ctx) {
  const Tensor h_BTD = attn->add_to(x_BTD, *ln_1, mask, dropout_, ctx);
  return mlp->add_to(h_BTD, *ln_2, dropout_, ctx);
}

Tensor Gpt2Block::forward(const Tensor& x_BTD, const AttentionMask& mask, Ctx& ctx) {
  if (recomputes(ctx)) {
    const auto self = std::static_pointer_cast<Gpt2Block>(shared_from_this());
    return recompute([self, mask, ctx](const Tensor& x) mutable { return self->run(x, mask, ctx); }, x_BTD,
                     parameters());
  }
  const Tensor y_BTD = run(x_BTD, mask, ctx);
  if (ctx.taps) ctx.taps->offer(tap_, y_BTD);
  return y_BTD;
}

double Gpt2Block::flops_per_token() const {
  return attn->c_attn->flops_per_row() + attn->c_proj->flops_per_row() + mlp->c_fc->flops_per_row() +
         mlp->c_proj->flops_per_row();
}

Gpt2::Gpt2(const Gpt2Options& options) : options_((check(options), options)) {
  const Gpt2Options& o = options_;
  auto transformer = register_module("transformer", std::make_shared<torch::nn::Module>());
  const auto embedding = [&](const char* name, int64_t rows) {
    return transformer->register_module(name,
                                        std::make_shared<Embedding>(std::string("transformer.") + name, rows, o.dim));
  };
  wte_ = embedding("wte", o.vocab);
  wpe_ = embedding("wpe", o.length);
  auto h = transformer->register_module("h", std::make_shared<torch::nn::Module>());
  for (int64_t i = 0; i < o.layers; ++i) {
    const std::string number = std::to_string(i);
    blocks_.push_back(h->register_module(number, std::make_shared<Gpt2Block>("transformer.h." + number, o)));
  }
  ln_f_ = transformer->register_module("ln_f", std::make_shared<LayerNorm>("transformer.ln_f", o.dim, o.norm_eps));
  if (!o.tied) lm_head_ = register_module("lm_head", std::make_shared<Linear>("lm_head", o.dim, o.vocab));
}

Tensor Gpt2::embed(const Tensor& ids_BT, const Tensor& position_BT, Ctx& ctx) {
  const int64_t T = row_length(ids_BT, options_.length);
  if (position_BT.defined()) {
    require_below(position_BT, options_.length, "position_BT",
                  "raise length of the net, or count positions from the beginning of a row");
  }
  const Tensor at = position_BT.defined() ? position_BT : at::arange(T, ids_BT.options()).unsqueeze(0);
  const Tensor x_BTD = wte_->forward(ids_BT, ctx) + wpe_->forward(at, ctx);
  return dropout(x_BTD, options_.dropout, ctx, "transformer.wte");
}

Tensor Gpt2::hidden(const Tensor& ids_BT, const Tensor& position_BT, const Tensor& segment_BT, Ctx& ctx) {
  Tensor x_BTD = embed(ids_BT, position_BT, ctx);
  const AttentionMask mask = causal_mask(segment_BT);
  for (const auto& block : blocks_) x_BTD = block->forward(x_BTD, mask, ctx);
  return ln_f_->forward(x_BTD, ctx);
}

Tensor Gpt2::head(const Tensor& x, Ctx& ctx) {
  return lm_head_ ? lm_head_->forward_wide(x, ctx)
                  : fused_linear(x, wte_->weight, {.format = ctx.format, .type = at::kFloat});
}

Tensor Gpt2::logits(const Tensor& ids_BT, const Tensor& position_BT, const Tensor& segment_BT, Ctx& ctx) {
  return head(hidden(ids_BT, position_BT, segment_BT, ctx), ctx);
}

Tensor Gpt2::token_losses(const Tensor& ids_BT, const Tensor& position_BT, const Tensor& segment_BT,
                          const Tensor& labels_BT, Ctx& ctx) {
  if (lm_head_ && !lm_head_->plain(ctx))
    return LanguageModel::token_losses(ids_BT, position_BT, segment_BT, labels_BT, ctx);
  const Tensor x_BTD = hidden(ids_BT, position_BT, segment_BT, ctx);
  const Tensor& weight_VD = lm_head_ ? lm_head_->weight : wte_->weight;
  return at_least_float32(linear_cross_entropy(x_BTD, weight_VD, labels_BT, {.format = ctx.format}));
}

Tensor Gpt2::next_logits(const Tensor& ids_BT, const Tensor& position_BT, Ctx& ctx) {
  return head(hidden(ids_BT, position_BT, {}, ctx).select(1, -1), ctx);
}

double Gpt2::flops(const Batch& batch) const {
  const auto ids = batch.x.find("ids_BT");
  if (ids == batch.x.end()) return 0;
  const auto B = static_cast<double>(ids->second.size(0)), T = static_cast<double>(ids->second.size(1));
  const auto D = static_cast<double>(options_.dim), V = static_cast<double>(options_.vocab);
  double per_token = 2 * D * V;
  for (const auto& block : blocks_) per_token += block->flops_per_token();
  const double per_row = static_cast<double>(options_.layers) * 2 * (2 * D) * (T * (T + 1) / 2);
  return B * (T * per_token + per_row);
}

void Gpt2::initialise(uint64_t seed) {
  const Rng root(Key{.seed = seed, .purpose = Purpose::init});
  const double residual = options_.init_std / std::sqrt(2.0 * static_cast<double>(options_.layers));
  torch::NoGradGuard no_grad;
  for (const auto& p : named_parameters()) {
    const std::string& name = p.key();
    if (name.ends_with(".bias")) {
      p.value().zero_();
    } else if (name.find(".ln_") != std::string::npos) {
      p.value().fill_(1);
    } else {
      Rng rng = root.fork(name);
      fill_normal_(p.value(), rng, 0, name.ends_with("c_proj.weight") ? residual : options_.init_std);
    }
  }
}

std::set<std::string> Gpt2::tags(const std::string& parameter) const {
  for (const char* part : {".bias", ".ln_", ".wte.", ".wpe."})
    if (parameter.find(part) != std::string::npos) return {"no_decay"};
  return {};
}

std::shared_ptr<Gpt2> make_gpt2(const Part& part) {
  Config table = part.config;
  table.erase("kind");
  Gpt2Options options;
  read_options(table, options, "net gpt2");
  check(options, table);
  return make_adapted<Gpt2>(options.adapter, options);
}

}  // namespace etude
