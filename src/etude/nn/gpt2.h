#pragma once
// A decoder-only language model in the manner of GPT-2 (Radford et al. 2019, section 2.3): pre-normalised residual
// blocks of attention and a feed-forward layer with the tanh form of GELU (Hendrycks and Gimpel 2016, section 2),
// learned positions, biases everywhere. Parameters have the names that Hugging Face gives them; the weights of
// projections are stored [outputs, inputs] here and [inputs, outputs] in its files (see etude/nn/hugging_face.h):
//
//   transformer.wte.weight                     [vocab, dim]
//   transformer.wpe.weight                     [length, dim]
//   transformer.h.N.ln_{1,2}.{weight,bias}     [dim]
//   transformer.h.N.attn.c_attn.{weight,bias}  [3 dim, dim], [3 dim]: queries, keys, values
//   transformer.h.N.attn.c_proj.{weight,bias}  [dim, dim], [dim]
//   transformer.h.N.mlp.c_fc.{weight,bias}     [ffn, dim], [ffn]
//   transformer.h.N.mlp.c_proj.{weight,bias}   [dim, ffn], [dim]
//   transformer.ln_f.{weight,bias}             [dim]
//   lm_head.weight                             [vocab, dim]; absent when tied
//
// Taps: "transformer.h.N.output", and those of the blocks under their names: "transformer.h.N.attn.output",
// "transformer.h.N.attn.c_proj.input" (the heads side by side), "transformer.h.N.mlp.c_fc.output", ...
//
// B batch, T time, D model width, H heads, E head width, F hidden width, V vocabulary.

#include "etude/base/torch_pch.h"

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "etude/nn/attention.h"
#include "etude/nn/embedding.h"
#include "etude/nn/gpt2_options.h"
#include "etude/nn/net.h"
#include "etude/nn/norm.h"

namespace etude {

/// Causal attention whose queries, keys and values come from one projection.
class Gpt2Attention : public torch::nn::Module {
 public:
  Gpt2Attention(const std::string& name, int64_t dim, int64_t heads);
  /// x + dropout(c_proj(heads)), the heads from norm(x). Under ctx.cache, tokens see what their sequences have there,
  /// and no mask is taken.
  Tensor add_to(const Tensor& x_BTD, LayerNorm& norm, const AttentionMask& mask, double dropout, Ctx& ctx);

  std::shared_ptr<Linear> c_attn, c_proj;

 private:
  std::string name_, tap_, heads_tap_;
  int64_t heads_;
};

/// x + dropout(c_proj(gelu(c_fc(norm(x))))).
class Gpt2Mlp : public torch::nn::Module {
 public:
  Gpt2Mlp(const std::string& name, int64_t dim, int64_t hidden);
  Tensor add_to(const Tensor& x_BTD, LayerNorm& norm, double dropout, Ctx& ctx);

  std::shared_ptr<Linear> c_fc, c_proj;

 private:
  std::string name_, tap_, hidden_tap_;
};

/// One residual block.
class Gpt2Block : public torch::nn::Module {
 public:
  Gpt2Block(const std::string& name, const Gpt2Options& options);
  /// Keeps x only under ctx.recompute.
  Tensor forward(const Tensor& x_BTD, const AttentionMask& mask, Ctx& ctx);
  /// Products for one token, 2 per multiply-add.
  double flops_per_token() const;

  std::shared_ptr<LayerNorm> ln_1, ln_2;
  std::shared_ptr<Gpt2Attention> attn;
  std::shared_ptr<Gpt2Mlp> mlp;

 private:
  Tensor run(const Tensor& x_BTD, const AttentionMask& mask, Ctx& ctx);
  std::string tap_;
  double dropout_;
};

class Gpt2 : public LanguageModel {
 public:
  /// Errors: Code::config as check(). Weights are zero until initialise().
  explicit Gpt2(const Gpt2Options& options);

  /// Errors: Code::data for ids outside the vocabulary, positions outside the length, rows longer than it.
  Tensor logits(const Tensor& ids_BT, const Tensor& position_BT, const Tensor& segment_BT, Ctx& ctx) override;
  /// Without the logits, unless slots of the head or a tap want them. Errors also for labels outside the vocabulary.
  Tensor token_losses(const Tensor& ids_BT, const Tensor& position_BT, const Tensor& segment_BT,
                      const Tensor& labels_BT, Ctx& ctx) override;
  Tensor next_logits(const Tensor& ids_BT, const Tensor& position_BT, Ctx& ctx) override;
  bool follows_cache() const override { return true; }
  /// The last block's output after the final norm, [B, T, D].
  Tensor hidden(const Tensor& ids_BT, const Tensor& position_BT, const Tensor& segment_BT, Ctx& ctx);

  int64_t vocabulary() const override { return options_.vocab; }
  int64_t longest() const override { return options_.length; }
  /// From the shape of ids_BT alone, causal attention counted as T (T + 1) / 2 pairs a row; work without products is
  /// left out.
  double flops(const Batch& batch) const override;
  /// Normal with init_std, the c_proj divided by sqrt(2 layers) as they add up along the residual stream (Radford et
  /// al. 2019, section 2.3); norms are ones, biases zeros.
  void initialise(uint64_t seed) override;
  /// "no_decay" for norms, embeddings and biases.
  std::set<std::string> tags(const std::string& parameter) const override;

  const Gpt2Options& options() const { return options_; }

 private:
  Tensor embed(const Tensor& ids_BT, const Tensor& position_BT, Ctx& ctx);
  Tensor head(const Tensor& x, Ctx& ctx);

  Gpt2Options options_;
  std::shared_ptr<Embedding> wte_, wpe_;
  std::vector<std::shared_ptr<Gpt2Block>> blocks_;
  std::shared_ptr<LayerNorm> ln_f_;
  std::shared_ptr<Linear> lm_head_;  ///< null when tied
};

/// From a recipe's [net.NAME] with kind = "gpt2". Errors as check(), and those of reading options.
std::shared_ptr<Gpt2> make_gpt2(const Part& part);

}  // namespace etude
