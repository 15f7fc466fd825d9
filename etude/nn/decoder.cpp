// B batch, T time, D width, V vocabulary, E width of a head.

#include "etude/nn/decoder.h"

#include <cmath>

#include "etude/nn/blocks.h"
#include "etude/tensor/fill.h"

namespace etude {
namespace {

std::string text(int64_t n) { return std::to_string(n); }

void check(DecoderOptions& o) {
  if (o.kv_heads == 0) o.kv_heads = o.heads;
  if (o.ffn == 0) o.ffn = (o.dim * 8 / 3 + 31) / 32 * 32;
  if (o.dim % o.heads != 0 || o.dim / o.heads % 2 != 0)
    throw Error(Code::config, "dim = " + text(o.dim) + " is not heads = " + text(o.heads) + " times an even number", "net decoder", "rotary positions turn pairs: e.g. dim = " + text(o.heads * 32));
  if (o.heads % o.kv_heads != 0) throw Error(Code::config, "kv_heads = " + text(o.kv_heads) + " does not divide heads = " + text(o.heads), "net decoder", "e.g. kv_heads = 1 or kv_heads = heads");
}

class Embedding : public torch::nn::Module {
 public:
  Embedding(int64_t vocab, int64_t width) { weight = register_parameter("weight", torch::zeros({vocab, width})); }
  Tensor weight;
};

class Block : public torch::nn::Module {
 public:
  explicit Block(const DecoderOptions& o) {
    attention_ = register_module("self_attn", std::make_shared<Attention>(o.dim, o.heads, o.kv_heads, o.dropout));
    mlp_ = register_module("mlp", std::make_shared<GatedMlp>(o.dim, o.ffn, o.dropout));
    before_attention_ = register_module("input_layernorm", std::make_shared<RmsNorm>(o.dim, o.norm_eps));
    before_mlp_ = register_module("post_attention_layernorm", std::make_shared<RmsNorm>(o.dim, o.norm_eps));
  }
  Tensor forward(const Tensor& x_BTD, const Rotary& tables, const Tensor& mask, Ctx& ctx) {
    const Tensor h = x_BTD + attention_->forward(before_attention_->forward(x_BTD, ctx), tables, mask, ctx);
    return h + mlp_->forward(before_mlp_->forward(h, ctx), ctx);
  }

 private:
  std::shared_ptr<Attention> attention_;
  std::shared_ptr<GatedMlp> mlp_;
  std::shared_ptr<RmsNorm> before_attention_, before_mlp_;
};

/// The part that Hugging Face calls "model".
class Body : public torch::nn::Module {
 public:
  explicit Body(const DecoderOptions& o) {
    embed = register_module("embed_tokens", std::make_shared<Embedding>(o.vocab, o.dim));
    auto list = register_module("layers", std::make_shared<torch::nn::Module>());
    for (int64_t i = 0; i < o.layers; ++i) {
      auto block = std::make_shared<Block>(o);
      list->register_module(text(i), block);
      blocks.push_back(std::move(block));
    }
    norm = register_module("norm", std::make_shared<RmsNorm>(o.dim, o.norm_eps));
  }
  std::shared_ptr<Embedding> embed;
  std::vector<std::shared_ptr<Block>> blocks;
  std::shared_ptr<RmsNorm> norm;
};

class Decoder : public LanguageModel {
 public:
  explicit Decoder(const DecoderOptions& o) : o_(o) {
    body_ = register_module("model", std::make_shared<Body>(o));
    if (!o.tied) head_ = register_module("lm_head", std::make_shared<Linear>(o.dim, o.vocab, false));
  }

  Tensor logits(const Tensor& ids_BT, const Tensor& position_BT, const Tensor& segment_BT, Ctx& ctx) override {
    check_ids(ids_BT);
    const int64_t T = ids_BT.size(1);
    const int64_t E = o_.dim / o_.heads;
    const auto type = body_->embed->weight.scalar_type();
    Rotary tables;
    if (position_BT.defined()) {
      tables = rotary(position_BT, E, o_.rope_theta, type);
      tables = {tables.cos.unsqueeze(1), tables.sin.unsqueeze(1)};
    } else {
      if (!plain_.cos.defined() || plain_.cos.size(0) < T || plain_.cos.scalar_type() != type || plain_.cos.device() != ids_BT.device())
        plain_ = rotary(torch::arange(std::max(T, o_.length), ids_BT.options().dtype(torch::kInt64)), E, o_.rope_theta, type);
      tables = {plain_.cos.narrow(0, 0, T), plain_.sin.narrow(0, 0, T)};
    }
    Tensor mask;
    if (segment_BT.defined()) {
      const Tensor seen = (segment_BT.unsqueeze(2) == segment_BT.unsqueeze(1)).logical_and(torch::ones({T, T}, ids_BT.options().dtype(torch::kBool)).tril());
      mask = torch::zeros(seen.sizes(), body_->embed->weight.options().requires_grad(false)).masked_fill_(seen.logical_not(), -std::numeric_limits<double>::infinity()).unsqueeze(1);
    }
    Tensor x_BTD = at::embedding(body_->embed->weight, ids_BT);
    for (size_t i = 0; i < body_->blocks.size(); ++i) {
      x_BTD = body_->blocks[i]->forward(x_BTD, tables, mask, ctx);
      if (ctx.taps) ctx.taps->offer("model.layers." + std::to_string(i) + ".output", x_BTD);
    }
    x_BTD = body_->norm->forward(x_BTD, ctx);
    if (ctx.taps) ctx.taps->offer("model.norm.output", x_BTD);
    return head_ ? head_->forward(x_BTD, ctx) : at::linear(x_BTD, body_->embed->weight);
  }

  int64_t vocabulary() const override { return o_.vocab; }
  int64_t longest() const override { return o_.length; }

  /// Products with weights, and the two products of attention over all T x T pairs.
  double flops(const Batch& batch) const override {
    const Tensor& ids_BT = batch.at("ids_BT");
    const auto tokens = static_cast<double>(ids_BT.numel()), T = static_cast<double>(ids_BT.size(1));
    const auto D = static_cast<double>(o_.dim), E = D / static_cast<double>(o_.heads), F = static_cast<double>(o_.ffn);
    const double block = 2 * D * D + 2 * D * E * static_cast<double>(o_.kv_heads) + 3 * D * F + 2 * D * T;
    return 2 * tokens * (static_cast<double>(o_.layers) * block + D * static_cast<double>(o_.vocab));
  }

  void initialise(uint64_t seed) override {
    torch::NoGradGuard no_grad;
    const double residual = o_.init_std / std::sqrt(2.0 * static_cast<double>(o_.layers));
    for (auto& p : named_parameters()) {
      if (p.value().dim() == 1) {
        p.value().fill_(1);
        continue;
      }
      const bool into_residual = p.key().find("o_proj") != std::string::npos || p.key().find("down_proj") != std::string::npos;
      Rng rng = Rng(Key{seed, Purpose::init}).fork(p.key());
      fill_normal_(p.value(), rng, into_residual ? residual : o_.init_std);
    }
  }

  std::set<std::string> tags(const std::string& parameter) const override {
    const bool plain = parameter.find("norm") != std::string::npos || parameter.find("embed_tokens") != std::string::npos;
    return plain ? std::set<std::string>{"no_decay"} : std::set<std::string>{};
  }

 private:
  void check_ids(const Tensor& ids_BT) const {
    if (ids_BT.size(1) > o_.length)
      throw Error(Code::config, "a row of " + text(ids_BT.size(1)) + " tokens is longer than the decoder's length = " + text(o_.length), "net decoder", "raise net.model.length or shorten data.length");
    if (ids_BT.numel() == 0) return;
    const auto [low, high] = at::aminmax(ids_BT);
    if (low.item<int64_t>() < 0 || high.item<int64_t>() >= o_.vocab)
      throw Error(Code::config, "token " + text(low.item<int64_t>() < 0 ? low.item<int64_t>() : high.item<int64_t>()) + " is outside the vocabulary of " + text(o_.vocab), "net decoder", "net.model.vocab must be at least the tokenizer's");
  }

  DecoderOptions o_;
  std::shared_ptr<Body> body_;
  std::shared_ptr<Linear> head_;
  Rotary plain_;   ///< tables of rows without packed positions
};

}  // namespace

std::shared_ptr<LanguageModel> make_decoder(const DecoderOptions& options) {
  DecoderOptions checked = options;
  check(checked);
  return std::make_shared<Decoder>(checked);
}

std::shared_ptr<LanguageModel> make_decoder(const Part& part) {
  Config rest = part.config;
  rest.erase("kind");
  DecoderOptions options;
  read_options(rest, options, "net decoder");
  return make_decoder(options);
}

}  // namespace etude
