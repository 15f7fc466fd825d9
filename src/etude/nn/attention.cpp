// B batch, T time, D model width, H query heads, G key/value heads, E head width.

#include "etude/nn/attention.h"

#include <algorithm>

#include "etude/base/error.h"
#include "etude/nn/kv_cache.h"
#include "etude/nn/residual.h"
#include "etude/tensor/attention.h"

namespace etude {
namespace {

Tensor masked_attention(const Tensor& q_BTHE, const Tensor& k_BTGE, const Tensor& v_BTGE, const AttentionMask& mask,
                        Format format) {
  return fused_attention(q_BTHE, k_BTGE, v_BTGE, {.format = format, .first_BT = mask.first_BT});
}

}  // namespace

Documents documents(const Tensor& segment_BT) {
  ETUDE_CHECK(segment_BT.dim() == 2, "segment_BT has two dimensions");
  const int64_t B = segment_BT.size(0), T = segment_BT.size(1);
  const auto integers = segment_BT.options().dtype(at::kLong);
  if (T == 0) return {at::empty({B, T}, integers), at::empty({B, T}, integers)};
  // Documents are numbered in their order, and their tokens counted.
  const Tensor changes_BT = segment_BT.narrow(1, 1, T - 1).ne(segment_BT.narrow(1, 0, T - 1)).to(at::kLong);
  const Tensor document_BT = at::cat({at::zeros({B, 1}, integers), changes_BT.cumsum(1)}, 1);
  const Tensor tokens_BT = at::zeros_like(document_BT).scatter_add(1, document_BT, at::ones_like(document_BT));
  const Tensor end_BT = tokens_BT.cumsum(1).gather(1, document_BT);
  return {end_BT - tokens_BT.gather(1, document_BT), end_BT};
}

AttentionMask causal_mask(const Tensor& segment_BT) {
  if (!segment_BT.defined() || segment_BT.numel() == 0) return {};
  const Tensor first_BT = documents(segment_BT).first_BT;
  if (first_BT.is_cpu()) {
    const Tensor all = first_BT.contiguous();
    const int64_t* const first = all.const_data_ptr<int64_t>();
    if (std::all_of(first, first + all.numel(), [](int64_t t) { return t == 0; })) return {};
  }
  return {first_BT};
}

Tensor attention(const Tensor& q_BTHE, const Tensor& k_BTGE, const Tensor& v_BTGE, const AttentionMask& mask) {
  const Format format = q_BTHE.scalar_type() == at::kBFloat16 ? Format::bfloat16 : Format::float32;
  return masked_attention(q_BTHE, k_BTGE, v_BTGE, mask, format);
}

Tensor attention(const std::string& name, const Tensor& q_BTHE, const Tensor& k_BTGE, const Tensor& v_BTGE,
                 const AttentionMask& mask, Ctx& ctx) {
  ETUDE_CHECK(!ctx.cache || !mask.first_BT.defined(), "a cache holds one document in a slot");
  return ctx.cache ? ctx.cache->attend(name, q_BTHE, k_BTGE, v_BTGE)
                   : masked_attention(q_BTHE, k_BTGE, v_BTGE, mask, ctx.format);
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

Tensor Attention::heads(const std::vector<Tensor>& qkv_BTO, const Rotation& rotation, const AttentionMask& mask,
                        Ctx& ctx) {
  const int64_t B = qkv_BTO[0].size(0), T = qkv_BTO[0].size(1);
  const auto split = [&](const Tensor& x) { return x.view({B, T, x.size(2) / head_, head_}); };
  const Tensor q_BTHE = rotate(split(qkv_BTO[0]), rotation), k_BTGE = rotate(split(qkv_BTO[1]), rotation);
  const Tensor y_BTHE = attention(name_, q_BTHE, k_BTGE, split(qkv_BTO[2]), mask, ctx);
  const Tensor heads_BTD = y_BTHE.reshape({B, T, q_BTHE.size(2) * head_});
  if (ctx.taps) ctx.taps->offer(heads_tap_, heads_BTD);
  return heads_BTD;
}

Tensor Attention::forward(const Tensor& x_BTD, const Rotation& rotation, const AttentionMask& mask, Ctx& ctx) {
  const std::vector<Tensor> qkv_BTO{q_proj->forward(x_BTD, ctx), k_proj->forward(x_BTD, ctx),
                                    v_proj->forward(x_BTD, ctx)};
  const Tensor y_BTD = o_proj->forward_wide(heads(qkv_BTO, rotation, mask, ctx), ctx);
  if (ctx.taps) ctx.taps->offer(tap_, y_BTD);
  return y_BTD;
}

Tensor Attention::add_to(const Tensor& x_BTD, RmsNorm& norm, const Rotation& rotation, const AttentionMask& mask,
                         double dropout, Ctx& ctx) {
  const SharedLinears read = normed_linears(norm, x_BTD, {q_proj.get(), k_proj.get(), v_proj.get()}, ctx);
  return Branch{dropout, name_, tap_}.add(read.x_NI, heads(read.y, rotation, mask, ctx), *o_proj, ctx);
}

double Attention::flops_per_token() const {
  return q_proj->flops_per_row() + k_proj->flops_per_row() + v_proj->flops_per_row() + o_proj->flops_per_row();
}

}  // namespace etude
