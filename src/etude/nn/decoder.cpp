// B batch, T time, D model width, V vocabulary.

#include "etude/nn/decoder.h"

#include <cmath>

#include "etude/base/error.h"
#include "etude/tensor/fill.h"

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

void check(const DecoderOptions& o, const Config& table) {
  const auto place = [&](const char* key) {
    const Config* value = table.find(key);
    return value && value->origin.kind != Origin::Kind::none ? value->origin.text()
                                                             : std::string("net decoder, ") + key;
  };
  const auto number = [](int64_t n) { return std::to_string(n); };
  if (o.dim % o.heads != 0) {
    throw Error(Code::config, "heads = " + number(o.heads) + " does not divide dim = " + number(o.dim), place("heads"),
                "each head is dim / heads wide: choose a divisor of " + number(o.dim));
  }
  if (o.heads % o.kv_heads_or_default() != 0) {
    throw Error(
        Code::config, "kv_heads = " + number(o.kv_heads_or_default()) + " does not divide heads = " + number(o.heads),
        place("kv_heads"), "heads share keys and values in equal groups: choose a divisor of " + number(o.heads));
  }
  if ((o.dim / o.heads) % 2 != 0) {
    throw Error(Code::config, "a head is dim / heads = " + number(o.dim / o.heads) + " wide, which is odd",
                place("heads"), "rotary positions turn pairs: make dim / heads even");
  }
}

DecoderLayer::DecoderLayer(const std::string& name, const DecoderOptions& o)
    : tap_(name + ".output"), attention_site_(name + ".self_attn"), mlp_site_(name + ".mlp"), dropout_(o.dropout) {
  input_layernorm =
      register_module("input_layernorm", std::make_shared<RmsNorm>(name + ".input_layernorm", o.dim, o.norm_eps));
  self_attn = register_module(
      "self_attn", std::make_shared<Attention>(name + ".self_attn", o.dim, o.heads, o.kv_heads_or_default()));
  post_attention_layernorm = register_module(
      "post_attention_layernorm", std::make_shared<RmsNorm>(name + ".post_attention_layernorm", o.dim, o.norm_eps));
  mlp = register_module("mlp", std::make_shared<SwiGlu>(name + ".mlp", o.dim, o.ffn_or_default()));
}

Tensor DecoderLayer::forward(const Tensor& x_BTD, const Rotation& rotation, const AttentionMask& mask, Ctx& ctx) {
  const Tensor a_BTD = self_attn->forward(input_layernorm->forward(x_BTD, ctx), rotation, mask, ctx);
  const Tensor h_BTD = x_BTD + dropout(a_BTD, dropout_, ctx, attention_site_);
  const Tensor m_BTD = mlp->forward(post_attention_layernorm->forward(h_BTD, ctx), ctx);
  const Tensor y_BTD = h_BTD + dropout(m_BTD, dropout_, ctx, mlp_site_);
  if (ctx.taps) ctx.taps->offer(tap_, y_BTD);
  return y_BTD;
}

Decoder::Decoder(const DecoderOptions& options)
    : options_((check(options), options)), rotary_(options.dim / options.heads, options.length, options.rope_theta) {
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

Tensor Decoder::hidden(const Tensor& ids_BT, const Tensor& position_BT, const Tensor& segment_BT, Ctx& ctx) {
  ETUDE_CHECK(ids_BT.dim() == 2, "ids_BT has two dimensions");
  const int64_t T = ids_BT.size(1);
  if (T > options_.length) {
    throw Error(Code::data,
                "a row of " + std::to_string(T) + " tokens is longer than the net's length of " +
                    std::to_string(options_.length),
                "ids_BT", "raise length of the net or cut shorter rows");
  }
  Tensor x_BTD = dropout(embed_tokens_->forward(ids_BT, ctx), options_.dropout, ctx, "model.embed_tokens");
  const auto like = x_BTD.options();
  Rotation rotation;
  if (!position_BT.defined() || counts_from_zero(position_BT)) {
    rotation = rotary_.from_start(T, like);
  } else {
    require_below(position_BT, options_.length, "position_BT",
                  "raise length of the net, or count positions from the beginning of a row");
    rotation = rotary_.at(position_BT, like);
  }
  const AttentionMask mask = causal_mask(segment_BT, like);
  for (const auto& layer : layers_) x_BTD = layer->forward(x_BTD, rotation, mask, ctx);
  return norm_->forward(x_BTD, ctx);
}

Tensor Decoder::logits(const Tensor& ids_BT, const Tensor& position_BT, const Tensor& segment_BT, Ctx& ctx) {
  const Tensor x_BTD = hidden(ids_BT, position_BT, segment_BT, ctx);
  return lm_head_ ? lm_head_->forward(x_BTD, ctx) : at::linear(x_BTD, embed_tokens_->weight);
}

double Decoder::flops(const Batch& batch) const {
  const auto ids = batch.x.find("ids_BT");
  if (ids == batch.x.end()) return 0;
  const auto B = static_cast<double>(ids->second.size(0)), T = static_cast<double>(ids->second.size(1));
  const auto D = static_cast<double>(options_.dim), V = static_cast<double>(options_.vocab);
  double per_token = 2 * D * V;
  for (const auto& layer : layers_) per_token += layer->flops_per_token();
  // Scores and weighted values: D multiply-adds a pair each, over all heads.
  const double per_row = static_cast<double>(options_.layers) * 2 * (2 * D) * (T * (T + 1) / 2);
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
    const bool writes_residual = ends_with(name, "o_proj.weight") || ends_with(name, "down_proj.weight");
    Rng rng = root.fork(name);
    fill_normal_(p.value(), rng, 0, writes_residual ? residual : options_.init_std);
  }
}

std::set<std::string> Decoder::tags(const std::string& parameter) const {
  if (ends_with(parameter, "norm.weight") || ends_with(parameter, "embed_tokens.weight")) return {"no_decay"};
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

std::shared_ptr<Decoder> make_decoder(const DecoderOptions& options) { return std::make_shared<Decoder>(options); }

std::shared_ptr<Decoder> make_decoder(const Part& part) {
  Config table = part.config;
  table.erase("kind");
  DecoderOptions options;
  read_options(table, options, "net decoder");
  check(options, table);
  return make_decoder(options);
}

}  // namespace etude
