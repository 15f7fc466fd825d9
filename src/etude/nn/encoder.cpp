// B batch, T time, N any leading dimensions, D model width, H heads, E head width, F hidden width, V vocabulary.

#include "etude/nn/encoder.h"

#include <algorithm>

#include "etude/base/error.h"
#include "etude/nn/adapter.h"
#include "etude/nn/attention.h"
#include "etude/nn/recompute.h"
#include "etude/nn/residual.h"
#include "etude/tensor/activation.h"
#include "etude/tensor/attention.h"
#include "etude/tensor/cross_entropy.h"
#include "etude/tensor/embedding.h"
#include "etude/tensor/fill.h"
#include "etude/tensor/linear.h"

namespace etude {
namespace {

using Module = torch::nn::Module;

std::shared_ptr<Module> group(Module& parent, const std::string& name) {
  return parent.register_module(name, std::make_shared<Module>());
}

/// A norm whose result is the residual stream, which keeps its type.
Tensor norm_of_stream(const LayerNorm& layer, const Tensor& x_ND, Ctx& ctx) {
  const Tensor y_ND = norm(layer.of(), x_ND, x_ND.scalar_type());
  if (ctx.taps) ctx.taps->offer(layer.tap(), y_ND);
  return y_ND;
}

/// What layers make of the stream, and the stream for the sum past them.
SharedLinears read_stream(const Tensor& x_ND, const std::vector<Linear*>& layers, Ctx& ctx) {
  if (are_plain(layers, ctx)) return plain_linears(std::nullopt, x_ND, layers, ctx);
  SharedLinears all{{}, x_ND};
  for (Linear* layer : layers) all.y.push_back(layer->forward(x_ND, ctx));
  return all;
}

bool begins_with_zero_everywhere(const Tensor& first_BT) {
  if (!first_BT.is_cpu()) return false;
  const int64_t* const first = first_BT.const_data_ptr<int64_t>();
  return std::all_of(first, first + first_BT.numel(), [](int64_t t) { return t == 0; });
}

}  // namespace

SightMask sight_mask(const EncoderRows& rows) {
  SightMask mask{rows.length_B, {}, {}};
  if (!rows.segment_BT.defined() || rows.segment_BT.numel() == 0) return mask;
  const Documents of = documents(rows.segment_BT);
  if (begins_with_zero_everywhere(of.first_BT)) return mask;
  mask.first_BT = of.first_BT;
  mask.end_BT = of.end_BT;
  return mask;
}

EncoderBlock::EncoderBlock(const std::string& name, const EncoderOptions& o)
    : tap_(name + ".output"),
      attention_site_(name + ".attention"),
      attention_tap_(name + ".attention.output"),
      heads_(o.heads),
      dropout_(o.dropout) {
  const auto linear = [](Module& parent, const std::string& full, const char* part, int64_t inputs, int64_t outputs) {
    return parent.register_module(part, std::make_shared<Linear>(full + "." + part, inputs, outputs, true));
  };
  const auto norm = [&](Module& parent, const std::string& full) {
    return parent.register_module("LayerNorm", std::make_shared<LayerNorm>(full + ".LayerNorm", o.dim, o.norm_eps));
  };
  const auto attention = group(*this, "attention");
  const auto self = group(*attention, "self");
  query_ = linear(*self, name + ".attention.self", "query", o.dim, o.dim);
  key_ = linear(*self, name + ".attention.self", "key", o.dim, o.dim);
  value_ = linear(*self, name + ".attention.self", "value", o.dim, o.dim);
  const auto attention_output = group(*attention, "output");
  attention_dense_ = linear(*attention_output, name + ".attention.output", "dense", o.dim, o.dim);
  attention_norm_ = norm(*attention_output, name + ".attention.output");
  intermediate_dense_ =
      linear(*group(*this, "intermediate"), name + ".intermediate", "dense", o.dim, o.ffn_or_default());
  const auto output = group(*this, "output");
  output_dense_ = linear(*output, name + ".output", "dense", o.ffn_or_default(), o.dim);
  output_norm_ = norm(*output, name + ".output");
}

/// LayerNorm(x + attention(x))
Tensor EncoderBlock::attend(const Tensor& x_BTD, const SightMask& mask, Ctx& ctx) {
  const int64_t B = x_BTD.size(0), T = x_BTD.size(1), D = x_BTD.size(2);
  const SharedLinears read = read_stream(x_BTD, {query_.get(), key_.get(), value_.get()}, ctx);
  const auto heads = [&](const Tensor& y_BTD) { return y_BTD.view({B, T, heads_, D / heads_}); };
  const Tensor y_BTHE = fused_attention(heads(read.y[0]), heads(read.y[1]), heads(read.y[2]),
                                        {.format = ctx.format,
                                         .causal = false,
                                         .length_B = mask.length_B,
                                         .first_BT = mask.first_BT,
                                         .end_BT = mask.end_BT});
  const Branch branch{dropout_, attention_site_, {}};
  const Tensor sum_BTD = branch.add(read.x_NI, y_BTHE.reshape({B, T, D}), *attention_dense_, ctx);
  return norm_of_stream(*attention_norm_, sum_BTD, ctx);
}

/// LayerNorm(h + W gelu(V h))
Tensor EncoderBlock::feed_forward(const Tensor& h_BTD, Ctx& ctx) {
  const SharedLinears read = read_stream(h_BTD, {intermediate_dense_.get()}, ctx);
  const Tensor& wide_BTF = read.y[0];
  const Branch branch{dropout_, tap_, {}};
  const Tensor sum_BTD = branch.add(
      read.x_NI, *output_dense_, false, ctx,
      [&](const LinearOptions& o) { return activated_linear(Activation::gelu, wide_BTF, output_dense_->weight, o); },
      [&] { return output_dense_->forward_wide(activate(Activation::gelu, wide_BTF), ctx); });
  return norm_of_stream(*output_norm_, sum_BTD, ctx);
}

Tensor EncoderBlock::run(const Tensor& x_BTD, const SightMask& mask, Ctx& ctx) {
  const Tensor h_BTD = attend(x_BTD, mask, ctx);
  const Tensor y_BTD = feed_forward(h_BTD, ctx);
  if (ctx.taps) {
    ctx.taps->offer(attention_tap_, h_BTD);
    ctx.taps->offer(tap_, y_BTD);
  }
  return y_BTD;
}

Tensor EncoderBlock::forward(const Tensor& x_BTD, const SightMask& mask, Ctx& ctx) {
  if (!recomputes(ctx)) return run(x_BTD, mask, ctx);
  const auto self = std::static_pointer_cast<EncoderBlock>(shared_from_this());
  return recompute([self, mask, ctx](const Tensor& x) mutable { return self->run(x, mask, ctx); }, x_BTD, parameters());
}

double EncoderBlock::flops_per_token() const {
  double all = 0;
  for (const auto& linear : {query_, key_, value_, attention_dense_, intermediate_dense_, output_dense_})
    all += linear->flops_per_row();
  return all;
}

Encoder::Encoder(const EncoderOptions& options) : options_((check(options), options)) {
  const EncoderOptions& o = options_;
  const auto bert = group(*this, "bert");
  const auto embeddings = group(*bert, "embeddings");
  const auto table = [&](const std::string& name, int64_t rows) {
    return embeddings->register_module(name, std::make_shared<Embedding>("bert.embeddings." + name, rows, o.dim));
  };
  word_ = table("word_embeddings", o.vocab);
  position_ = table("position_embeddings", o.length);
  type_ = table("token_type_embeddings", o.types);
  embedding_norm_ = embeddings->register_module(
      "LayerNorm", std::make_shared<LayerNorm>("bert.embeddings.LayerNorm", o.dim, o.norm_eps));
  const auto layer = group(*group(*bert, "encoder"), "layer");
  for (int64_t i = 0; i < o.layers; ++i) {
    const std::string number = std::to_string(i);
    blocks_.push_back(
        layer->register_module(number, std::make_shared<EncoderBlock>("bert.encoder.layer." + number, o)));
  }
  const auto predictions = group(*group(*this, "cls"), "predictions");
  const auto transform = group(*predictions, "transform");
  transform_dense_ = transform->register_module(
      "dense", std::make_shared<Linear>("cls.predictions.transform.dense", o.dim, o.dim, true));
  transform_norm_ = transform->register_module(
      "LayerNorm", std::make_shared<LayerNorm>("cls.predictions.transform.LayerNorm", o.dim, o.norm_eps));
  bias_V_ = predictions->register_parameter("bias", torch::zeros({o.vocab}));
}

Tensor Encoder::embed(const EncoderRows& rows, Ctx& ctx) {
  const int64_t T = row_length(rows.ids_BT, options_.length);
  if (rows.position_BT.defined())
    require_below(rows.position_BT, options_.length, "position_BT",
                  "raise length of the net, or count positions from the beginning of a row");
  if (rows.type_BT.defined()) require_below(rows.type_BT, options_.types, "type_BT", "raise types of the net");
  const Tensor position =
      rows.position_BT.defined() ? embed_ids(position_->weight, rows.position_BT) : position_->weight.narrow(0, 0, T);
  const Tensor type = rows.type_BT.defined() ? embed_ids(type_->weight, rows.type_BT) : type_->weight.select(0, 0);
  const Tensor sum_BTD = word_->forward(rows.ids_BT, ctx) + (position + type);
  const Tensor x_BTD =
      dropout(norm_of_stream(*embedding_norm_, sum_BTD, ctx), options_.dropout, ctx, "bert.embeddings");
  if (ctx.taps) ctx.taps->offer("bert.embeddings.output", x_BTD);
  return x_BTD;
}

Tensor Encoder::hidden(const EncoderRows& rows, Ctx& ctx) {
  Tensor x_BTD = embed(rows, ctx);
  const SightMask mask = sight_mask(rows);
  for (const auto& block : blocks_) x_BTD = block->forward(x_BTD, mask, ctx);
  return x_BTD;
}

Tensor Encoder::transform(const Tensor& x_ND, Ctx& ctx) {
  return transform_norm_->forward(activate(Activation::gelu, transform_dense_->forward(x_ND, ctx)), ctx);
}

Tensor Encoder::head(const Tensor& x_ND, Ctx& ctx) {
  return fused_linear(transform(x_ND, ctx), word_->weight,
                      {.format = ctx.format, .bias_O = bias_V_, .type = at::kFloat});
}

Tensor Encoder::head_losses(const Tensor& x_ND, const Tensor& labels_N, Ctx& ctx) {
  return at_least_float32(
      linear_cross_entropy(transform(x_ND, ctx), word_->weight, labels_N, {.format = ctx.format, .bias_V = bias_V_}));
}

double Encoder::head_flops() const {
  const auto D = static_cast<double>(options_.dim), V = static_cast<double>(options_.vocab);
  return transform_dense_->flops_per_row() + 2 * D * V;
}

double Encoder::flops(const Batch& batch) const {
  const auto ids = batch.x.find("ids_BT");
  if (ids == batch.x.end()) return 0;
  const auto B = static_cast<double>(ids->second.size(0)), T = static_cast<double>(ids->second.size(1));
  const auto D = static_cast<double>(options_.dim), L = static_cast<double>(options_.layers);
  // Scores and weighted values: D multiply-adds a pair each, all heads together.
  return B * (T * L * blocks_.front()->flops_per_token() + L * 2 * (2 * D) * T * T);
}

void Encoder::initialise(uint64_t seed) {
  const Rng root(Key{.seed = seed, .purpose = Purpose::init});
  torch::NoGradGuard no_grad;
  for (const auto& p : named_parameters()) {
    const std::string& name = p.key();
    if (name.ends_with("bias")) {
      p.value().zero_();
    } else if (name.ends_with("LayerNorm.weight")) {
      p.value().fill_(1);
    } else {
      Rng rng = root.fork(name);
      fill_normal_(p.value(), rng, 0, options_.init_std);
    }
  }
}

std::set<std::string> Encoder::tags(const std::string& parameter) const {
  if (parameter.ends_with("bias") || parameter.ends_with("LayerNorm.weight")) return {"no_decay"};
  return {};
}

std::shared_ptr<Encoder> make_encoder(const Part& part) {
  Config table = part.config;
  table.erase("kind");
  EncoderOptions options;
  read_options(table, options, "net encoder");
  check(options, table);
  return make_adapted<Encoder>(options.adapter, options);
}

}  // namespace etude
