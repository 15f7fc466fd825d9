#pragma once
// Grouped-query causal attention (Ainslie et al. 2023) with rotary positions, as in Llama.
//
// B batch, T time, D model width, H query heads, G key/value heads (H = n G), E head width.

#include "etude/base/torch_pch.h"

#include <memory>
#include <string>

#include "etude/nn/context.h"
#include "etude/nn/linear.h"
#include "etude/nn/rotary.h"

namespace etude {

/// What a token may attend to, the same for all layers of a forward. Undefined: all tokens up to itself.
struct AttentionMask {
  Tensor mask_B1TT;  ///< added to the scores: 0 or -infinity
};

/// Causal within segments: token t sees s <= t with segment_BT[b, s] = segment_BT[b, t]. Undefined, the fast
/// path, if segment_BT is undefined or each row has one segment.
AttentionMask causal_mask(const Tensor& segment_BT, const at::TensorOptions& like);

/// softmax(q k^T / sqrt(E) + mask) v for each head; query head h uses key head h / (H / G). Returns
/// [B, T, H, E]. The fused kernel behind it is differentiable once.
Tensor attention(const Tensor& q_BTHE, const Tensor& k_BTGE, const Tensor& v_BTGE, const AttentionMask& mask);

/// What an attention layer is made of.
struct AttentionShape {
  int64_t dim = 0, heads = 0, kv_heads = 0;
  int64_t head = 0;  ///< width of a head; 0: dim / heads
  bool qkv_bias = false, output_bias = false;

  int64_t head_or_default() const { return head > 0 ? head : dim / heads; }
};

/// The same for a layer of that name: under ctx.cache over what its sequences have there; then there is no mask.
Tensor attention(const std::string& name, const Tensor& q_BTHE, const Tensor& k_BTGE, const Tensor& v_BTGE,
                 const AttentionMask& mask, Ctx& ctx);

/// Parameters under q_proj, k_proj, v_proj, o_proj.
class Attention : public torch::nn::Module {
 public:
  /// kv_heads divide heads, heads divide dim where head is 0, the width of a head is even.
  Attention(const std::string& name, const AttentionShape& shape);
  /// Offers the taps "<name>.output", and "<name>.o_proj.input" (the heads side by side). Under ctx.cache, tokens see
  /// what their sequences have there, and no mask is taken.
  Tensor forward(const Tensor& x_BTD, const Rotation& rotation, const AttentionMask& mask, Ctx& ctx);
  /// Projections for one token, 2 per multiply-add.
  double flops_per_token() const;

  std::shared_ptr<Linear> q_proj, k_proj, v_proj, o_proj;

 private:
  std::string name_, tap_, heads_tap_;
  int64_t head_;
};

}  // namespace etude
