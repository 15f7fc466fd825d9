#pragma once
// Grouped-query causal attention (Ainslie et al. 2023) with rotary positions, as in Llama.
//
// B batch, T time, D model width, H query heads, G key/value heads (H = n G), E head width.

#include "etude/base/torch_pch.h"

#include <memory>
#include <string>
#include <vector>

#include "etude/nn/context.h"
#include "etude/nn/linear.h"
#include "etude/nn/norm.h"
#include "etude/nn/rotary.h"

namespace etude {

/// Where the documents of packed rows begin and end: a document is a run of equal numbers in segment_BT. int64; tokens
/// s of the document of token t have first[b, t] <= s < end[b, t].
struct Documents {
  Tensor first_BT, end_BT;
};
Documents documents(const Tensor& segment_BT);

/// What a token may attend to, the same for all layers of a forward. Undefined: all tokens up to itself.
struct AttentionMask {
  Tensor first_BT;  ///< tokens from there on, up to itself
};

/// Causal within documents. Undefined if segment_BT is, or where it is on the CPU and each row is one document.
AttentionMask causal_mask(const Tensor& segment_BT);

/// softmax(q k^T / sqrt(E)) v over what the mask admits, for each head; query head h uses key head h / (H / G). Returns
/// [B, T, H, E]. Products are in bfloat16 if the operands are. See fused_attention().
Tensor attention(const Tensor& q_BTHE, const Tensor& k_BTGE, const Tensor& v_BTGE, const AttentionMask& mask);

/// What an attention layer is made of.
struct AttentionShape {
  int64_t dim = 0, heads = 0, kv_heads = 0;
  int64_t head = 0;  ///< width of a head; 0: dim / heads
  bool qkv_bias = false, output_bias = false;

  int64_t head_or_default() const { return head > 0 ? head : dim / heads; }
};

/// The same for a layer of that name, with products in ctx.format: under ctx.cache over what its sequences have there;
/// then there is no mask.
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
  /// x + dropout(forward(norm(x))), with the same taps.
  Tensor add_to(const Tensor& x_BTD, RmsNorm& norm, const Rotation& rotation, const AttentionMask& mask, double dropout,
                Ctx& ctx);
  /// Projections for one token, 2 per multiply-add.
  double flops_per_token() const;

  std::shared_ptr<Linear> q_proj, k_proj, v_proj, o_proj;

 private:
  /// The heads side by side, from what q_proj, k_proj and v_proj give.
  Tensor heads(const std::vector<Tensor>& qkv_BTO, const Rotation& rotation, const AttentionMask& mask, Ctx& ctx);
  std::string name_, tap_, heads_tap_;
  int64_t head_;
};

}  // namespace etude
