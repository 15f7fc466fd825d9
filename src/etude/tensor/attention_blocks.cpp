// B batch, T queries, S keys, H query heads, G key/value heads, E head width; W queries of a block.

#include "etude/tensor/attention_blocks.h"

#include <algorithm>

#include "etude/base/error.h"

namespace etude {

HeadsView HeadsView::of(const Tensor& x) {
  ETUDE_CHECK(x.dim() == 4 && (x.size(3) == 1 || x.stride(3) == 1), "the values of a head lie side by side");
  return {const_cast<void*>(x.const_data_ptr()), x.scalar_type(), x.stride(0), x.stride(1), x.stride(2), x.size(3)};
}

MatrixView HeadsView::rows(int64_t b, int64_t h, int64_t first, int64_t count) const {
  const int64_t offset = b * batch_stride + h * head_stride + first * row_stride;
  const char* const at = static_cast<const char*>(data) + offset * static_cast<int64_t>(c10::elementSize(type));
  return {at, type, count, width, row_stride, 1};
}

void HeadsView::write(const MatrixView& values, int64_t b, int64_t h, int64_t first) const {
  void* const to = const_cast<void*>(rows(b, h, first, values.rows).data);
  if (type == at::kFloat)
    copy_rows(values, static_cast<float*>(to), row_stride, 0);
  else
    copy_rows(values, static_cast<c10::BFloat16*>(to), row_stride, 0);
}

BiasView BiasView::of(const Tensor& bias) {
  ETUDE_CHECK(bias.dim() == 4 && bias.scalar_type() == at::kFloat, "a bias is float32 [B, H, T, S]");
  return {const_cast<float*>(bias.const_data_ptr<float>()),
          {bias.stride(0), bias.stride(1), bias.stride(2), bias.stride(3)}};
}

int64_t AttentionProblem::query_block() const { return std::min(kQueryBlock, (T + 15) / 16 * 16); }
int64_t AttentionProblem::query_blocks() const { return (T + query_block() - 1) / query_block(); }

Sight sight_of(const AttentionProblem& p, int64_t b, int64_t t0, int64_t count) {
  const int64_t keys = p.length_B ? std::clamp<int64_t>(p.length_B[b], 0, p.S) : p.S;
  Sight sight;
  sight.first = sight.all_end = p.S;
  sight.end = sight.all_from = 0;
  for (int64_t i = 0; i < p.query_block(); ++i) {
    const int64_t t = t0 + std::min(i, count - 1), place = b * p.T + t;
    int64_t from = 0, to = keys;
    if (p.causal) to = std::min(to, t + 1);
    if (p.end_BT) to = std::min(to, p.end_BT[place]);
    if (p.window > 0) from = std::max(from, t - p.window + 1);
    if (p.first_BT) from = std::max(from, p.first_BT[place]);
    if (from >= to) from = to = 0;
    sight.from_W[i] = static_cast<int32_t>(from);
    sight.to_W[i] = static_cast<int32_t>(to);
    sight.all_from = std::max(sight.all_from, from);
    sight.all_end = std::min(sight.all_end, to);
    if (from == to) continue;
    sight.first = std::min(sight.first, from);
    sight.end = std::max(sight.end, to);
  }
  return sight;
}

void add_bias_and_hide(const AttentionProblem& p, const Sight& sight, const ScoreBlock& block, int64_t b, int64_t h,
                       int64_t t, int64_t count) {
  if (p.bias.data) {
    float* const bias_PW = thread_scratch<float, AttentionScratch::bias>(kKeyBlock * kQueryBlock);
    const int64_t keys = std::min(block.keys, p.S - block.first_key);
    const int64_t *const stride = p.bias.strides, W = block.queries;
    copy_rows({p.bias.at(b, h, t, block.first_key), at::kFloat, keys, count, stride[3], stride[2]}, bias_PW, W, W);
    std::fill(bias_PW + keys * W, bias_PW + block.keys * W, 0.0F);
    add_bias(block, bias_PW, 1 / p.scale);
  }
  if (!sight.covers(block.first_key, block.keys)) hide_scores(block, sight);
}

int64_t attention_grain(double products_per_task) {
  // Some 20 microseconds, about what waking a thread costs.
  constexpr double kWorthAThread = 1 << 20;
  return std::max<int64_t>(1, static_cast<int64_t>(kWorthAThread / std::max(1.0, products_per_task)));
}

}  // namespace etude
