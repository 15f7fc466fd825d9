// B batch, T time, D model width, H query heads, G key/value heads, E head width.

#include "etude/nn/attention.h"

#include <algorithm>
#include <limits>

#include "etude/base/error.h"
#include "etude/nn/kv_cache.h"

namespace etude {
namespace {

/// Whether all tokens of each row carry the same number.
bool one_segment_per_row(const Tensor& segment_BT) {
  if (!segment_BT.is_cpu() || segment_BT.scalar_type() != at::kLong || !segment_BT.is_contiguous()) {
    return segment_BT.eq(segment_BT.narrow(1, 0, 1)).all().item<bool>();
  }
  const int64_t T = segment_BT.size(1);
  const int64_t* row = segment_BT.const_data_ptr<int64_t>();
  for (int64_t b = 0; b < segment_BT.size(0); ++b, row += T) {
    if (std::any_of(row, row + T, [row](int64_t s) { return s != *row; })) return false;
  }
  return true;
}

}  // namespace

AttentionMask causal_mask(const Tensor& segment_BT, const at::TensorOptions& like) {
  if (!segment_BT.defined() || segment_BT.numel() == 0 || one_segment_per_row(segment_BT)) return {};
  const Tensor same_BTT = segment_BT.unsqueeze(2).eq(segment_BT.unsqueeze(1));
  const Tensor seen_BTT = same_BTT.tril_();
  const Tensor mask = at::zeros(seen_BTT.sizes(), like);
  return {mask.masked_fill_(seen_BTT.logical_not(), -std::numeric_limits<double>::infinity()).unsqueeze(1)};
}

Tensor attention(const Tensor& q_BTHE, const Tensor& k_BTGE, const Tensor& v_BTGE, const AttentionMask& mask) {
  const int64_t H = q_BTHE.size(2), G = k_BTGE.size(2);
  ETUDE_CHECK(H % G == 0, "query heads must be a multiple of key heads");
  const Tensor q_BHTE = q_BTHE.transpose(1, 2);
  Tensor k_BHTE = k_BTGE.transpose(1, 2), v_BHTE = v_BTGE.transpose(1, 2);
  if (H != G) {
    k_BHTE = k_BHTE.repeat_interleave(H / G, 1);
    v_BHTE = v_BHTE.repeat_interleave(H / G, 1);
  }
  const bool causal = !mask.mask_B1TT.defined();
  const Tensor out_BHTE = at::scaled_dot_product_attention(
      q_BHTE, k_BHTE, v_BHTE, causal ? std::nullopt : std::optional<Tensor>(mask.mask_B1TT), 0.0, causal);
  return out_BHTE.transpose(1, 2);
}

Tensor attention(const std::string& name, const Tensor& q_BTHE, const Tensor& k_BTGE, const Tensor& v_BTGE,
                 const AttentionMask& mask, Ctx& ctx) {
  ETUDE_CHECK(!ctx.cache || !mask.mask_B1TT.defined(), "a cache holds one document in a slot");
  return ctx.cache ? ctx.cache->attend(name, q_BTHE, k_BTGE, v_BTGE) : attention(q_BTHE, k_BTGE, v_BTGE, mask);
}

Attention::Attention(const std::string& name, const AttentionShape& shape)
    : name_(name), tap_(name + ".output"), heads_tap_(name + ".o_proj.input"), head_(shape.head_or_default()) {
  ETUDE_CHECK(shape.heads % shape.kv_heads == 0 && (shape.head > 0 || shape.dim % shape.heads == 0),
              "kv_heads must divide heads, heads must divide dim");
  const auto linear = [&](const char* part, int64_t inputs, int64_t outputs, bool bias) {
    return register_module(part, std::make_shared<Linear>(name + "." + part, inputs, outputs, bias));
  };
  q_proj = linear("q_proj", shape.dim, shape.heads * head_, shape.qkv_bias);
  k_proj = linear("k_proj", shape.dim, shape.kv_heads * head_, shape.qkv_bias);
  v_proj = linear("v_proj", shape.dim, shape.kv_heads * head_, shape.qkv_bias);
  o_proj = linear("o_proj", shape.heads * head_, shape.dim, shape.output_bias);
}

Tensor Attention::forward(const Tensor& x_BTD, const Rotation& rotation, const AttentionMask& mask, Ctx& ctx) {
  const int64_t B = x_BTD.size(0), T = x_BTD.size(1);
  const auto heads = [&](const Tensor& x) { return x.view({B, T, x.size(2) / head_, head_}); };
  const Tensor q_BTHE = rotate(heads(q_proj->forward(x_BTD, ctx)), rotation);
  const Tensor k_BTGE = rotate(heads(k_proj->forward(x_BTD, ctx)), rotation);
  const Tensor v_BTGE = heads(v_proj->forward(x_BTD, ctx));
  const Tensor y_BTHE = attention(name_, q_BTHE, k_BTGE, v_BTGE, mask, ctx);
  const Tensor heads_BTD = y_BTHE.reshape({B, T, q_BTHE.size(2) * head_});
  const Tensor y_BTD = o_proj->forward(heads_BTD, ctx);
  if (ctx.taps) {
    ctx.taps->offer(heads_tap_, heads_BTD);
    ctx.taps->offer(tap_, y_BTD);
  }
  return y_BTD;
}

double Attention::flops_per_token() const {
  return q_proj->flops_per_row() + k_proj->flops_per_row() + v_proj->flops_per_row() + o_proj->flops_per_row();
}

}  // namespace etude
