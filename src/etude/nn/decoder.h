#pragma once
// A decoder-only language model in the manner of Llama (Touvron et al. 2023, section 2.2): pre-normalised
// residual blocks of grouped-query attention with rotary positions and SwiGLU. Options make it Qwen2 or Mistral.
// Parameters have the names that Hugging Face gives them:
//
//   model.embed_tokens.weight                              [vocab, dim]
//   model.layers.N.input_layernorm.weight                  [dim]
//   model.layers.N.self_attn.{q,k,v}_proj.weight           [heads or kv_heads * head_dim, dim]
//   model.layers.N.self_attn.o_proj.weight                 [dim, heads * head_dim]
//   model.layers.N.post_attention_layernorm.weight         [dim]
//   model.layers.N.mlp.{gate,up,down}_proj.weight          [ffn, dim], [dim, ffn]
//   model.norm.weight                                      [dim]
//   lm_head.weight                                         [vocab, dim]; absent when tied
//
// and .bias beside the .weight of projections, where the options say so.
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

#include "etude/nn/attention.h"
#include "etude/nn/decoder_options.h"
#include "etude/nn/embedding.h"
#include "etude/nn/mlp.h"
#include "etude/nn/net.h"
#include "etude/nn/norm.h"
#include "etude/nn/staged.h"

namespace etude {

/// One residual block.
class DecoderLayer : public torch::nn::Module {
 public:
  DecoderLayer(const std::string& name, const DecoderOptions& options);
  /// Offers the tap "<name>.output". Keeps x only under ctx.recompute.
  Tensor forward(const Tensor& x_BTD, const Rotation& rotation, const AttentionMask& mask, Ctx& ctx);
  double flops_per_token() const { return self_attn->flops_per_token() + mlp->flops_per_token(); }

  std::shared_ptr<RmsNorm> input_layernorm, post_attention_layernorm;
  std::shared_ptr<Attention> self_attn;
  std::shared_ptr<SwiGlu> mlp;

 private:
  Tensor run(const Tensor& x_BTD, const Rotation& rotation, const AttentionMask& mask, Ctx& ctx);
  std::string tap_;
  double dropout_;
};

class Decoder : public LanguageModel, public Staged {
 public:
  /// Errors: Code::config as check(). Weights are zero until initialise().
  explicit Decoder(const DecoderOptions& options);

  /// Errors: Code::data for ids outside the vocabulary, positions outside the length, rows longer than it.
  Tensor logits(const Tensor& ids_BT, const Tensor& position_BT, const Tensor& segment_BT, Ctx& ctx) override;
  /// Without the logits, unless slots of the head or a tap want them. Errors also for labels outside the vocabulary.
  Tensor token_losses(const Tensor& ids_BT, const Tensor& position_BT, const Tensor& segment_BT,
                      const Tensor& labels_BT, Ctx& ctx) override;
  Tensor next_logits(const Tensor& ids_BT, const Tensor& position_BT, Ctx& ctx) override;
  bool follows_cache() const override { return true; }
  /// The last block's output after the final norm, [B, T, D]: what heads other than lm_head read.
  Tensor hidden(const Tensor& ids_BT, const Tensor& position_BT, const Tensor& segment_BT, Ctx& ctx);

  /// Each stage has at least one layer; the first the embedding, the last the final norm and the head, and layers are
  /// spread evenly. Errors: Code::config for more stages than layers, and for a tied head in several stages.
  void check_stages(int64_t count) const override;
  /// Reads ids_BT, and position_BT and segment_BT if they are there. All stages but the last give [B, T, D].
  Tensor run_stage(const PipelineStage& stage, const Batch& batch, const Tensor& x_BTD, Ctx& ctx) override;
  Tensor stage_losses(const PipelineStage& stage, const Batch& batch, const Tensor& x_BTD, const Tensor& labels_BT,
                      Ctx& ctx) override;
  std::vector<std::string> stage_parameters(const PipelineStage& stage) const override;

  int64_t vocabulary() const override { return options_.vocab; }
  int64_t longest() const override { return options_.length; }
  /// From the shape of ids_BT alone, causal attention counted as T (T + 1) / 2 pairs a row whatever its
  /// documents; norms, rotations and other work without products are left out.
  double flops(const Batch& batch) const override;
  /// Normal with init_std (embeddings, projections), o_proj and down_proj divided by sqrt(2 layers) as they
  /// add up along the residual stream (Radford et al. 2019, "GPT-2", section 2.3); norms are ones, biases zeros.
  void initialise(uint64_t seed) override;
  /// "no_decay" for norms, embeddings and biases.
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
  /// The stage without the head.
  Tensor inside(const PipelineStage& stage, const Batch& batch, const Tensor& x_BTD, Ctx& ctx);
  Tensor head(const Tensor& x_BTD, Ctx& ctx);
  bool head_is_plain(const Ctx& ctx) const { return !lm_head_ || lm_head_->plain(ctx); }
  /// Without the logits. Required: head_is_plain().
  Tensor head_losses(const Tensor& x_BTD, const Tensor& labels_BT, Ctx& ctx);
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
