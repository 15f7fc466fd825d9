#pragma once
// A decoder-only language model in the manner of Llama (Touvron et al. 2023, section 2.2): pre-normalised
// residual blocks of grouped-query attention with rotary positions and SwiGLU, no biases. Parameters have
// the names that Hugging Face gives them:
//
//   model.embed_tokens.weight                              [vocab, dim]
//   model.layers.N.input_layernorm.weight                  [dim]
//   model.layers.N.self_attn.{q,k,v,o}_proj.weight         [heads or kv_heads * dim/heads, dim]
//   model.layers.N.post_attention_layernorm.weight         [dim]
//   model.layers.N.mlp.{gate,up,down}_proj.weight          [ffn, dim], [dim, ffn]
//   model.norm.weight                                      [dim]
//   lm_head.weight                                         [vocab, dim]; absent when tied
//
// Taps: "model.embed_tokens.output", "model.layers.N.output", "model.norm.output", and those of the
// blocks, under their names: "model.layers.N.self_attn.output", "model.layers.N.mlp.gate_proj.output", ...
//
// B batch, T time, D model width, V vocabulary.

#include "etude/base/torch_pch.h"

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "etude/base/options.h"
#include "etude/nn/attention.h"
#include "etude/nn/embedding.h"
#include "etude/nn/mlp.h"
#include "etude/nn/net.h"
#include "etude/nn/norm.h"
#include "etude/nn/staged.h"

namespace etude {

struct DecoderOptions {
  int64_t vocab = 257;  ///< bytes and the end of a document
  int64_t dim = 64;
  int64_t layers = 2;
  int64_t heads = 2;
  int64_t kv_heads = 0;
  int64_t ffn = 0;
  int64_t length = 64;
  double dropout = 0;
  bool tied = true;
  double rope_theta = 10000;
  double norm_eps = 1e-5;
  double init_std = 0.02;

  int64_t kv_heads_or_default() const { return kv_heads > 0 ? kv_heads : heads; }
  /// 8/3 dim (Shazeer 2020, section 3.1: the size that costs what a layer of 4 dim without gate costs),
  /// rounded up to a multiple of 32.
  int64_t ffn_or_default() const { return ffn > 0 ? ffn : (8 * dim + 95) / 96 * 32; }

  template <class V>
  void fields(V& v) {
    v("vocab", vocab, within(1, 1 << 24), "token ids that there are");
    v("dim", dim, within(2, 1 << 20), "model width");
    v("layers", layers, within(1, 4096), "blocks");
    v("heads", heads, within(1, 1 << 16), "query heads; they divide dim");
    v("kv_heads", kv_heads, within(0, 1 << 16), "key and value heads; they divide heads; 0: as many");
    v("ffn", ffn, within(0, 1 << 24), "hidden width of SwiGLU; 0: 8/3 dim, rounded up to a multiple of 32");
    v("length", length, within(1, 1 << 24), "longest row");
    v("dropout", dropout, half_open(0, 1), "of the embeddings and of what each block adds to the residual stream");
    v("tied", tied, "the head is the transposed embedding");
    v("rope_theta", rope_theta, positive(), "base of the rotary frequencies");
    v("norm_eps", norm_eps, positive(), "epsilon of RMSNorm");
    v("init_std", init_std, at_least(0),
      "standard deviation of initial weights; those that write to the residual stream get init_std / sqrt(2 layers)");
  }
};

/// Refuses what cannot be built. Errors: Code::config; `table` gives the places of the options.
void check(const DecoderOptions& options, const Config& table = Config::table());

/// One residual block.
class DecoderLayer : public torch::nn::Module {
 public:
  DecoderLayer(const std::string& name, const DecoderOptions& options);
  /// Offers the tap "<name>.output".
  Tensor forward(const Tensor& x_BTD, const Rotation& rotation, const AttentionMask& mask, Ctx& ctx);
  double flops_per_token() const { return self_attn->flops_per_token() + mlp->flops_per_token(); }

  std::shared_ptr<RmsNorm> input_layernorm, post_attention_layernorm;
  std::shared_ptr<Attention> self_attn;
  std::shared_ptr<SwiGlu> mlp;

 private:
  std::string tap_, attention_site_, mlp_site_;
  double dropout_;
};

class Decoder : public LanguageModel, public Staged {
 public:
  /// Errors: Code::config as check(). Weights are zero until initialise().
  explicit Decoder(const DecoderOptions& options);

  /// Errors: Code::data for ids outside the vocabulary, positions outside the length, rows longer than it.
  Tensor logits(const Tensor& ids_BT, const Tensor& position_BT, const Tensor& segment_BT, Ctx& ctx) override;
  /// The last block's output after the final norm, [B, T, D]: what heads other than lm_head read.
  Tensor hidden(const Tensor& ids_BT, const Tensor& position_BT, const Tensor& segment_BT, Ctx& ctx);

  /// Each stage has at least one layer; the first the embedding, the last the final norm and the head, and layers are
  /// spread evenly. Errors: Code::config for more stages than layers, and for a tied head in several stages.
  void check_stages(int64_t count) const override;
  /// Reads ids_BT, and position_BT and segment_BT if they are there. All stages but the last give [B, T, D].
  Tensor run_stage(const PipelineStage& stage, const Batch& batch, const Tensor& x_BTD, Ctx& ctx) override;
  std::vector<std::string> stage_parameters(const PipelineStage& stage) const override;

  int64_t vocabulary() const override { return options_.vocab; }
  int64_t longest() const override { return options_.length; }
  /// From the shape of ids_BT alone, causal attention counted as T (T + 1) / 2 pairs a row whatever its
  /// documents; norms, rotations and other work without products are left out.
  double flops(const Batch& batch) const override;
  /// Normal with init_std (embeddings, projections), o_proj and down_proj divided by sqrt(2 layers) as they
  /// add up along the residual stream (Radford et al. 2019, "GPT-2", section 2.3); norms are ones.
  void initialise(uint64_t seed) override;
  /// "no_decay" for norms and embeddings.
  std::set<std::string> tags(const std::string& parameter) const override;

  const DecoderOptions& options() const { return options_; }
  const std::vector<std::shared_ptr<DecoderLayer>>& layers() const { return layers_; }
  /// The linear layer of that name ("model.layers.0.mlp.up_proj", "lm_head"), to fill its slots.
  /// Errors: Code::config with the nearest names.
  Linear& linear(const std::string& name);

 private:
  struct Rows {
    Tensor ids_BT, position_BT, segment_BT;
  };
  Tensor embed(const Rows& rows, Ctx& ctx);
  /// The layers of a stage, and the final norm after the last of all.
  Tensor run_layers(const PipelineStage& stage, const Rows& rows, Tensor x_BTD, Ctx& ctx);
  Tensor head(const Tensor& x_BTD, Ctx& ctx);
  /// Layers first .. last-1 of a stage.
  std::pair<int64_t, int64_t> layers_of(const PipelineStage& stage) const;

  DecoderOptions options_;
  Rotary rotary_;
  std::shared_ptr<Embedding> embed_tokens_;
  std::vector<std::shared_ptr<DecoderLayer>> layers_;
  std::shared_ptr<RmsNorm> norm_;
  std::shared_ptr<Linear> lm_head_;  ///< null when tied
};

/// From a recipe's [net.NAME] with kind = "decoder". Errors as check(), and those of reading options.
std::shared_ptr<Decoder> make_decoder(const Part& part);
std::shared_ptr<Decoder> make_decoder(const DecoderOptions& options);

}  // namespace etude
