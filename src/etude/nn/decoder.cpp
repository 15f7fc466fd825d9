// B batch, T time, D model width, V vocabulary.

#include "etude/nn/decoder.h"

#include <cmath>

#include "etude/base/error.h"
#include "etude/nn/adapter.h"
#include "etude/nn/recompute.h"
#include "etude/tensor/cross_entropy.h"
#include "etude/tensor/fill.h"
#include "etude/tensor/linear.h"

namespace etude {
namespace {

bool ends_with(const std::string& text, std::string_view end) { return text.ends_with(end); }

/// Whether each row's positions are 0, 1, 2, ...
bool counts_from_zero(const Tensor& position_BT) {
  if (!position_BT.is_cpu() || !position_BT.is_contiguous()) {
    return position_BT.eq(at::arange(position_BT.size(1), position_BT.options())).all().item<bool>();
  }
  const int64_t* p = position_BT.const_data_ptr<int64_t>();
  for (int64_t b = 0; b < position_BT.size(0); ++b)
    for (int64_t t = 0; t < position_BT.size(1); ++t)
      if (*p++ != t) return false;
  return true;
}

}  // namespace

DecoderLayer::DecoderLayer(const std::string& name, const DecoderOptions& o)
    : tap_(name + ".output"), dropout_(o.dropout) {
  input_layernorm =
      register_module("input_layernorm", std::make_shared<RmsNorm>(name + ".input_layernorm", o.dim, o.norm_eps));
  const AttentionShape shape{.dim = o.dim,
                             .heads = o.heads,
                             .kv_heads = o.kv_heads_or_default(),
                             .head = o.head_dim,
                             .qkv_bias = o.qkv_bias || o.attention_bias,
                             .output_bias = o.attention_bias};
  self_attn = register_module("self_attn", std::make_shared<Attention>(name + ".self_attn", shape));
  post_attention_layernorm = register_module(
      "post_attention_layernorm", std::make_shared<RmsNorm>(name + ".post_attention_layernorm", o.dim, o.norm_eps));
  mlp = register_module("mlp", std::make_shared<SwiGlu>(name + ".mlp", o.dim, o.ffn_or_default(), o.mlp_bias));
}

Tensor DecoderLayer::run(const Tensor& x_BTD, const Rotation& rotation, const AttentionMask& mask, Ctx& ctx) {
  const Tensor h_BTD = self_attn->add_to(x_BTD, *input_layernorm, rotation, mask, dropout_, ctx);
  return mlp->add_to(h_BTD, *post_attention_layernorm, dropout_, ctx);
}

Tensor DecoderLayer::forward(const Tensor& x_BTD, const Rotation& rotation, const AttentionMask& mask, Ctx& ctx) {
  if (recomputes(ctx)) {
    const auto self = std::static_pointer_cast<DecoderLayer>(shared_from_this());
    const auto again = [self, rotation, mask, ctx](const Tensor& x) mutable {
      return self->run(x, rotation, mask, ctx);
    };
    return recompute(again, x_BTD, parameters());
  }
  const Tensor y_BTD = run(x_BTD, rotation, mask, ctx);
  if (ctx.taps) ctx.taps->offer(tap_, y_BTD);
  return y_BTD;
}

Decoder::Decoder(const DecoderOptions& options)
    : options_((check(options), options)),
      rotary_(options.head_dim_or_default(), options.length, options.rope_theta, options.rope_scaling) {
  auto model = register_module("model", std::make_shared<torch::nn::Module>());
  embed_tokens_ = model->register_module(
      "embed_tokens", std::make_shared<Embedding>("model.embed_tokens", options_.vocab, options_.dim));
  auto layers = model->register_module("layers", std::make_shared<torch::nn::Module>());
  for (int64_t i = 0; i < options_.layers; ++i) {
    const std::string number = std::to_string(i);
    layers_.push_back(
        layers->register_module(number, std::make_shared<DecoderLayer>("model.layers." + number, options_)));
  }
  norm_ = model->register_module("norm", std::make_shared<RmsNorm>("model.norm", options_.dim, options_.norm_eps));
  if (!options_.tied)
    lm_head_ = register_module("lm_head", std::make_shared<Linear>("lm_head", options_.dim, options_.vocab));
}

Tensor Decoder::embed(const Rows& rows, Ctx& ctx) {
  row_length(rows.ids_BT, options_.length);
  return dropout(embed_tokens_->forward(rows.ids_BT, ctx), options_.dropout, ctx, "model.embed_tokens");
}

std::pair<int64_t, int64_t> Decoder::layers_of(const PipelineStage& stage) const {
  const int64_t L = options_.layers;
  return {stage.index * L / stage.count, (stage.index + 1) * L / stage.count};
}

Tensor Decoder::run_layers(const PipelineStage& stage, const Rows& rows, Tensor x_BTD, Ctx& ctx) {
  const auto like = x_BTD.options();
  Rotation rotation;
  if (!rows.position_BT.defined() || counts_from_zero(rows.position_BT)) {
    rotation = rotary_.from_start(x_BTD.size(1), like);
  } else {
    require_below(rows.position_BT, options_.length, "position_BT",
                  "raise length of the net, or count positions from the beginning of a row");
    rotation = rotary_.at(rows.position_BT, like);
  }
  const AttentionMask mask = causal_mask(rows.segment_BT);
  const auto [first, last] = layers_of(stage);
  for (int64_t i = first; i < last; ++i) x_BTD = layers_[static_cast<size_t>(i)]->forward(x_BTD, rotation, mask, ctx);
  return stage.last() ? norm_->forward(x_BTD, ctx) : x_BTD;
}

Tensor Decoder::head(const Tensor& x_BTD, Ctx& ctx) {
  return lm_head_ ? lm_head_->forward_wide(x_BTD, ctx)
                  : fused_linear(x_BTD, embed_tokens_->weight, {.format = ctx.format, .type = at::kFloat});
}

Tensor Decoder::hidden(const Tensor& ids_BT, const Tensor& position_BT, const Tensor& segment_BT, Ctx& ctx) {
  const Rows rows{ids_BT, position_BT, segment_BT};
  return run_layers({}, rows, embed(rows, ctx), ctx);
}

Tensor Decoder::logits(const Tensor& ids_BT, const Tensor& position_BT, const Tensor& segment_BT, Ctx& ctx) {
  return head(hidden(ids_BT, position_BT, segment_BT, ctx), ctx);
}

Tensor Decoder::token_losses(const Tensor& ids_BT, const Tensor& position_BT, const Tensor& segment_BT,
                             const Tensor& labels_BT, Ctx& ctx) {
  if (!head_is_plain(ctx)) return LanguageModel::token_losses(ids_BT, position_BT, segment_BT, labels_BT, ctx);
  return head_losses(hidden(ids_BT, position_BT, segment_BT, ctx), labels_BT, ctx);
}

Tensor Decoder::head_losses(const Tensor& x_BTD, const Tensor& labels_BT, Ctx& ctx) {
  const Tensor& weight_VD = lm_head_ ? lm_head_->weight : embed_tokens_->weight;
  return at_least_float32(linear_cross_entropy(x_BTD, weight_VD, labels_BT, {.format = ctx.format}));
}

Tensor Decoder::next_logits(const Tensor& ids_BT, const Tensor& position_BT, Ctx& ctx) {
  return head(hidden(ids_BT, position_BT, {}, ctx).select(1, -1), ctx);
}

void Decoder::check_stages(int64_t count) const {
  const std::string what = "a decoder can't be cut into " + std::to_string(count) + " stages: ";
  if (count > options_.layers)
    throw Error(Code::config, what + "it has " + std::to_string(options_.layers) + " layers", "net decoder, layers",
                "each stage needs a layer: set fewer stages, or more layers");
  if (count > 1 && options_.tied)
    throw Error(Code::config, what + "its first and its last stage would share the weights of embedding and head",
                "net decoder, tied", "set tied = false");
}

Tensor Decoder::inside(const PipelineStage& stage, const Batch& batch, const Tensor& x_BTD, Ctx& ctx) {
  const auto find = [&](const char* name) {
    const auto found = batch.x.find(name);
    return found == batch.x.end() ? Tensor() : found->second;
  };
  const Rows rows{find("ids_BT"), find("position_BT"), find("segment_BT")};
  return run_layers(stage, rows, stage.first() ? embed(rows, ctx) : x_BTD, ctx);
}

Tensor Decoder::run_stage(const PipelineStage& stage, const Batch& batch, const Tensor& x_BTD, Ctx& ctx) {
  const Tensor y_BTD = inside(stage, batch, x_BTD, ctx);
  return stage.last() ? head(y_BTD, ctx) : y_BTD;
}

Tensor Decoder::stage_losses(const PipelineStage& stage, const Batch& batch, const Tensor& x_BTD,
                             const Tensor& labels_BT, Ctx& ctx) {
  ETUDE_CHECK(stage.last(), "labels cost something after the last stage");
  return head_is_plain(ctx) ? head_losses(inside(stage, batch, x_BTD, ctx), labels_BT, ctx) : Tensor();
}

std::vector<std::string> Decoder::stage_parameters(const PipelineStage& stage) const {
  const auto [first, last] = layers_of(stage);
  std::vector<std::string> of_stage;
  for (const std::string& name : named_parameters().keys()) {
    const std::string_view before = "model.layers.";
    const bool in_layer = name.starts_with(before);
    const int64_t layer = in_layer ? std::stoll(name.substr(before.size())) : -1;
    const bool in_first = name.starts_with("model.embed_tokens.");
    const bool belongs = in_layer ? first <= layer && layer < last : in_first ? stage.first() : stage.last();
    if (belongs) of_stage.push_back(name);
  }
  return of_stage;
}

double Decoder::flops(const Batch& batch) const {
  const auto ids = batch.x.find("ids_BT");
  if (ids == batch.x.end()) return 0;
  const auto B = static_cast<double>(ids->second.size(0)), T = static_cast<double>(ids->second.size(1));
  const auto D = static_cast<double>(options_.dim), V = static_cast<double>(options_.vocab);
  double per_token = 2 * D * V;
  for (const auto& layer : layers_) per_token += layer->flops_per_token();
  // Scores and weighted values: as many multiply-adds a pair each as all heads together are wide.
  const auto heads = static_cast<double>(options_.heads * options_.head_dim_or_default());
  const double per_row = static_cast<double>(options_.layers) * 2 * (2 * heads) * (T * (T + 1) / 2);
  return B * (T * per_token + per_row);
}

void Decoder::initialise(uint64_t seed) {
  const Rng root(Key{.seed = seed, .purpose = Purpose::init});
  const double residual = options_.init_std / std::sqrt(2.0 * static_cast<double>(options_.layers));
  torch::NoGradGuard no_grad;
  for (const auto& p : named_parameters()) {
    const std::string& name = p.key();
    if (ends_with(name, "norm.weight")) {
      p.value().fill_(1);
      continue;
    }
    if (ends_with(name, ".bias")) {
      p.value().zero_();
      continue;
    }
    const bool writes_residual = ends_with(name, "o_proj.weight") || ends_with(name, "down_proj.weight");
    Rng rng = root.fork(name);
    fill_normal_(p.value(), rng, 0, writes_residual ? residual : options_.init_std);
  }
}

std::set<std::string> Decoder::tags(const std::string& parameter) const {
  for (const char* end : {"norm.weight", "embed_tokens.weight", ".bias"})
    if (ends_with(parameter, end)) return {"no_decay"};
  return {};
}

Linear& Decoder::linear(const std::string& name) {
  std::vector<std::string> known;
  for (const auto& m : named_modules()) {
    auto* found = dynamic_cast<Linear*>(m.value().get());
    if (!found) continue;
    if (m.key() == name) return *found;
    known.push_back(m.key());
  }
  throw Error(Code::config, "the decoder has no linear layer '" + name + "'", name, did_you_mean(name, known));
}

std::shared_ptr<Decoder> make_decoder(const DecoderOptions& options) {
  return make_adapted<Decoder>(options.adapter, options);
}

std::shared_ptr<Decoder> make_decoder(const Part& part) {
  Config table = part.config;
  table.erase("kind");
  DecoderOptions options;
  read_options(table, options, "net decoder");
  check(options, table);
  return make_decoder(options);
}

}  // namespace etude
