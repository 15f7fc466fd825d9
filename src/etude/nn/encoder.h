#pragma once
// A masked language model in the manner of BERT (Devlin et al. 2019, section 3; the blocks are those of Vaswani et al.
// 2017, section 3.1): sums of word, position and type embeddings, residual blocks of attention in both directions and a
// feed-forward layer with GELU, each normalised after the sum, biases everywhere. The head transforms what it reads
// once more, and multiplies it by the transposed word embedding. Parameters have the names that Hugging Face gives
// them:
//
//   bert.embeddings.word_embeddings.weight                                [vocab, dim]
//   bert.embeddings.position_embeddings.weight                            [length, dim]
//   bert.embeddings.token_type_embeddings.weight                          [types, dim]
//   bert.embeddings.LayerNorm.{weight,bias}                               [dim]
//   bert.encoder.layer.N.attention.self.{query,key,value}.{weight,bias}   [dim, dim], [dim]
//   bert.encoder.layer.N.attention.output.dense.{weight,bias}             [dim, dim], [dim]
//   bert.encoder.layer.N.attention.output.LayerNorm.{weight,bias}         [dim]
//   bert.encoder.layer.N.intermediate.dense.{weight,bias}                 [ffn, dim], [ffn]
//   bert.encoder.layer.N.output.dense.{weight,bias}                       [dim, ffn], [dim]
//   bert.encoder.layer.N.output.LayerNorm.{weight,bias}                   [dim]
//   cls.predictions.transform.dense.{weight,bias}                         [dim, dim], [dim]
//   cls.predictions.transform.LayerNorm.{weight,bias}                     [dim]
//   cls.predictions.bias                                                  [vocab]
//
// Taps: "bert.embeddings.output", "bert.encoder.layer.N.output", "bert.encoder.layer.N.attention.output", and those of
// norms and linear layers under their names.
//
// B batch, T time, N any leading dimensions, D model width, H heads, E head width, F hidden width, V vocabulary.

#include "etude/base/torch_pch.h"

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "etude/nn/embedding.h"
#include "etude/nn/encoder_options.h"
#include "etude/nn/linear.h"
#include "etude/nn/masked_language_model.h"
#include "etude/nn/norm.h"

namespace etude {

/// Whom tokens see, the same for all blocks of a forward: those of their own document that are no padding. Undefined
/// members exclude nobody.
struct SightMask {
  Tensor length_B;          ///< tokens of a row that are no padding
  Tensor first_BT, end_BT;  ///< where the document of each token begins and ends
};
SightMask sight_mask(const EncoderRows& rows);

/// One residual block: h = LayerNorm(x + attention(x)), LayerNorm(h + feed_forward(h)).
class EncoderBlock : public torch::nn::Module {
 public:
  EncoderBlock(const std::string& name, const EncoderOptions& options);
  Tensor forward(const Tensor& x_BTD, const SightMask& mask, Ctx& ctx);
  /// Products for one token, 2 per multiply-add; those of attention between tokens are left out.
  double flops_per_token() const;

 private:
  Tensor run(const Tensor& x_BTD, const SightMask& mask, Ctx& ctx);
  Tensor attend(const Tensor& x_BTD, const SightMask& mask, Ctx& ctx);
  Tensor feed_forward(const Tensor& h_BTD, Ctx& ctx);

  std::string tap_, attention_site_, attention_tap_;
  int64_t heads_;
  double dropout_;
  std::shared_ptr<Linear> query_, key_, value_, attention_dense_, intermediate_dense_, output_dense_;
  std::shared_ptr<LayerNorm> attention_norm_, output_norm_;
};

class Encoder : public MaskedLanguageModel {
 public:
  /// Errors: Code::config as check(). Weights are zero until initialise().
  explicit Encoder(const EncoderOptions& options);

  Tensor hidden(const EncoderRows& rows, Ctx& ctx) override;
  Tensor head(const Tensor& x_ND, Ctx& ctx) override;
  Tensor head_losses(const Tensor& x_ND, const Tensor& labels_N, Ctx& ctx) override;

  int64_t vocabulary() const override { return options_.vocab; }
  int64_t longest() const override { return options_.length; }
  double head_flops() const override;
  /// Of hidden(), from the shape of ids_BT alone, attention counted as T T pairs a row; work without products is left
  /// out.
  double flops(const Batch& batch) const override;
  /// Normal with init_std; norms are ones, biases zeros.
  void initialise(uint64_t seed) override;
  /// "no_decay" for norms and biases: BERT's embeddings decay.
  std::set<std::string> tags(const std::string& parameter) const override;

  const EncoderOptions& options() const { return options_; }

 private:
  Tensor embed(const EncoderRows& rows, Ctx& ctx);
  Tensor transform(const Tensor& x_ND, Ctx& ctx);

  EncoderOptions options_;
  std::shared_ptr<Embedding> word_, position_, type_;
  std::shared_ptr<LayerNorm> embedding_norm_, transform_norm_;
  std::vector<std::shared_ptr<EncoderBlock>> blocks_;
  std::shared_ptr<Linear> transform_dense_;
  Tensor bias_V_;
};

/// From a recipe's [net.NAME] with kind = "encoder". Errors as check(), and those of reading options.
std::shared_ptr<Encoder> make_encoder(const Part& part);

}  // namespace etude
