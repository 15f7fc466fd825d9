// Each thread takes whole key heads with all the query heads that use them, so that no two add to the same gradient.
// With P the weights, O the output: delta = rowsum(dO * O), dV = P^T dO, dP = dO V^T, dS = P * (dP - delta),
// dQ = scale dS K, dK = scale dS^T Q (Dao 2023, algorithm 2).
//
// B batch, T queries, S keys, H query heads, G key/value heads, E head width; W queries of a block, P keys of a block.

#include <ATen/Parallel.h>

#include <algorithm>
#include <limits>

#include "etude/tensor/attention_blocks.h"

namespace etude {
namespace {

using c10::BFloat16;

/// A key head as backward reads it, filled up with zeros as in forward, and the gradients that it gathers.
template <class T>
class KeyHead {
 public:
  static constexpr int64_t kStride = kKeyBlock + 64 / static_cast<int64_t>(sizeof(T));

  explicit KeyHead(const AttentionProblem& p) : p_(p), depth_(sizeof(T) == 2 ? (p.E + 1) / 2 * 2 : p.E) {
    steps_S_ = (p.S + kKeyStep - 1) / kKeyStep * kKeyStep;
    keys_ = thread_scratch<T, AttentionScratch::keys>(steps_S_ * depth_);
    values_ = thread_scratch<T, AttentionScratch::value_rows>(steps_S_ * depth_);
    transposed_ = thread_scratch<T, AttentionScratch::values>((p.S + kKeyBlock - 1) / kKeyBlock * p.E * kStride);
    key_gradient_ = thread_scratch<float, AttentionScratch::key_gradient>(steps_S_ * p.E);
    value_gradient_ = thread_scratch<float, AttentionScratch::value_gradient>(steps_S_ * p.E);
  }
  int64_t depth() const { return depth_; }
  const T* keys(int64_t s) const { return keys_ + s * depth_; }
  const T* values(int64_t s) const { return values_ + s * depth_; }
  /// Keys of a block, [E, kKeyBlock].
  const T* transposed_keys(int64_t s) const { return transposed_ + s / kKeyBlock * p_.E * kStride + s % kKeyBlock; }
  float* key_gradient(int64_t s) { return key_gradient_ + s * p_.E; }
  float* value_gradient(int64_t s) { return value_gradient_ + s * p_.E; }

  void hold(int64_t b, int64_t g) {
    for (const auto& [from, to] : {std::pair(&p_.k, keys_), std::pair(&p_.v, values_)}) {
      copy_rows(from->rows(b, g, 0, p_.S), to, depth_, depth_);
      std::fill(to + p_.S * depth_, to + steps_S_ * depth_, T(0));
    }
    for (int64_t s = 0; s < p_.S; s += kKeyBlock) {
      const int64_t count = std::min(kKeyBlock, p_.S - s);
      const int64_t padded = (count + kKeyStep - 1) / kKeyStep * kKeyStep;
      copy_rows(p_.k.rows(b, g, s, count).t(), const_cast<T*>(transposed_keys(s)), kStride, padded);
    }
    std::fill_n(key_gradient_, steps_S_ * p_.E, 0.0F);
    std::fill_n(value_gradient_, steps_S_ * p_.E, 0.0F);
  }
  void write(const AttentionGradients& to, int64_t b, int64_t g) {
    scale_all(key_gradient_, p_.S * p_.E, p_.scale);
    to.k.write({key_gradient_, at::kFloat, p_.S, p_.E, p_.E, 1}, b, g, 0);
    to.v.write({value_gradient_, at::kFloat, p_.S, p_.E, p_.E, 1}, b, g, 0);
  }

 private:
  const AttentionProblem& p_;
  int64_t depth_, steps_S_;
  T *keys_, *values_, *transposed_;
  float *key_gradient_, *value_gradient_;
};

/// The queries of a block: they and the gradients of their outputs both ways around, and what is known of their
/// softmax.
template <class T>
struct QueryBlock {
  QueryBlock(const AttentionProblem& p, int64_t depth) : W(p.query_block()) {
    queries_EW = thread_scratch<T, AttentionScratch::queries>(depth * W);
    gradients_EW = thread_scratch<T, AttentionScratch::gradients>(depth * W);
    queries_WE = thread_scratch<T, AttentionScratch::query_rows>(W * p.E);
    gradients_WE = thread_scratch<T, AttentionScratch::gradient_rows>(W * p.E);
    scores_PW = thread_scratch<float, AttentionScratch::scores>(kKeyBlock * W);
    score_gradients_PW = thread_scratch<float, AttentionScratch::score_gradients>(kKeyBlock * W);
    query_gradient_EW = thread_scratch<float, AttentionScratch::out>(p.E * W);
    if constexpr (sizeof(T) == 2) {
      narrow = {thread_scratch<T, AttentionScratch::narrow_weights>(kKeyBlock * W),
                thread_scratch<T, AttentionScratch::narrow_gradients>(kKeyBlock * W),
                thread_scratch<T, AttentionScratch::weights>(kKeyBlock * W)};
    }
  }

  void hold(const AttentionProblem& p, const HeadsView& out, const HeadsView& gradient, const float* lse_T, int64_t b,
            int64_t h, int64_t t, int64_t count) {
    const MatrixView q = p.q.rows(b, h, t, count), g = gradient.rows(b, h, t, count);
    copy_panel(q.t(), queries_EW, W, W);
    copy_panel(g.t(), gradients_EW, W, W);
    copy_panel(q, queries_WE, p.E, p.E);
    copy_panel(g, gradients_WE, p.E, p.E);
    // Queries beyond the last have weights of exp(0 - infinity) = 0, and products with them add zeros.
    const int64_t rows = sizeof(T) == 2 ? (count + 1) / 2 * 2 : count;
    std::fill(queries_WE + rows * p.E, queries_WE + W * p.E, T(0));
    std::fill(gradients_WE + rows * p.E, gradients_WE + W * p.E, T(0));
    row_dots(g, out.rows(b, h, t, count), delta_W);
    std::copy_n(lse_T + t, count, lse_W);
    std::fill(delta_W + count, delta_W + W, 0.0F);
    std::fill(lse_W + count, lse_W + W, std::numeric_limits<float>::infinity());
  }

  int64_t W;
  T *queries_EW, *gradients_EW, *queries_WE, *gradients_WE;
  float *scores_PW, *score_gradients_PW, *query_gradient_EW;
  NarrowBlocks narrow{};
  alignas(64) float delta_W[kQueryBlock], lse_W[kQueryBlock];
};

/// P^T and dS^T as left operands, dS^T as right operand.
template <class T>
struct Operands {
  const T *weights_PW, *gradients_PW, *right_PW;
};
Operands<float> operands_of(const ScoreBlock& block, float scale, QueryBlock<float>& q) {
  weights_and_gradients(block, scale, q.lse_W, q.delta_W, q.score_gradients_PW);
  return {q.scores_PW, q.score_gradients_PW, q.score_gradients_PW};
}
Operands<BFloat16> operands_of(const ScoreBlock& block, float scale, QueryBlock<BFloat16>& q) {
  weights_and_gradients(block, scale, q.lse_W, q.delta_W, q.score_gradients_PW, q.narrow);
  return {q.narrow.weights_PW, q.narrow.gradients_PW, q.narrow.gradients_PW2};
}

template <class T>
class Backward {
 public:
  Backward(const AttentionProblem& problem, const HeadsView& out, const HeadsView& gradient, const float* lse_BHT,
           const AttentionGradients& to)
      : p_(problem), out_(out), gradient_(gradient), lse_BHT_(lse_BHT), to_(to), keys_(p_), q_(p_, keys_.depth()) {}

  void key_head(int64_t b, int64_t g) {
    keys_.hold(b, g);
    const int64_t per_key_head = p_.H / p_.G;
    for (int64_t h = g * per_key_head; h < (g + 1) * per_key_head; ++h)
      for (int64_t t = 0; t < p_.T; t += q_.W) queries(b, h, t);
    keys_.write(to_, b, g);
  }

 private:
  void queries(int64_t b, int64_t h, int64_t t) {
    const int64_t W = q_.W, E = p_.E, depth = keys_.depth(), count = std::min(W, p_.T - t);
    const Sight sight = sight_of(p_, b, t, count);
    q_.hold(p_, out_, gradient_, lse_BHT_ + (b * p_.H + h) * p_.T, b, h, t, count);
    bool begun = false;
    for_key_blocks(sight, [&](int64_t s, int64_t P) {
      block_product(P, W, depth, keys_.keys(s), depth, q_.queries_EW, W, q_.scores_PW, W, false);
      block_product(P, W, depth, keys_.values(s), depth, q_.gradients_EW, W, q_.score_gradients_PW, W, false);
      const ScoreBlock block{q_.scores_PW, P, W, s};
      add_bias_and_hide(p_, sight, block, b, h, t, count);
      const Operands<T> made = operands_of(block, p_.scale, q_);
      if (to_.bias.data) add_bias_gradient(b, h, t, count, s, std::min(P, p_.S - s));
      block_product(P, E, W, made.weights_PW, W, q_.gradients_WE, E, keys_.value_gradient(s), E, true);
      block_product(P, E, W, made.gradients_PW, W, q_.queries_WE, E, keys_.key_gradient(s), E, true);
      block_product(E, W, P, keys_.transposed_keys(s), keys_.kStride, made.right_PW, W, q_.query_gradient_EW, W, begun);
      begun = true;
    });
    if (!begun) std::fill_n(q_.query_gradient_EW, E * W, 0.0F);
    scale_all(q_.query_gradient_EW, E * W, p_.scale);
    to_.q.write(MatrixView{q_.query_gradient_EW, at::kFloat, E, count, W, 1}.t(), b, h, t);
  }

  void add_bias_gradient(int64_t b, int64_t h, int64_t t, int64_t count, int64_t s, int64_t keys) const {
    const int64_t* const stride = to_.bias.strides;
    float* const to = to_.bias.at(b, h, t, s);
    for (int64_t w = 0; w < count; ++w)
      for (int64_t p = 0; p < keys; ++p) to[w * stride[2] + p * stride[3]] += q_.score_gradients_PW[p * q_.W + w];
  }

  const AttentionProblem& p_;
  const HeadsView &out_, &gradient_;
  const float* lse_BHT_;
  const AttentionGradients& to_;
  KeyHead<T> keys_;
  QueryBlock<T> q_;
};

/// Key heads that add to the same numbers of a bias's gradient, as it is the same for all rows or all heads, are for
/// one thread.
template <class T>
void backward(const AttentionProblem& p, const HeadsView& out, const HeadsView& gradient, const float* lse_BHT,
              const AttentionGradients& to) {
  const bool rows_together = to.bias.data && to.bias.strides[0] == 0;
  const bool heads_together = to.bias.data && to.bias.strides[1] == 0;
  const int64_t rows = rows_together ? p.B : 1, heads = heads_together ? p.G : 1;
  const int64_t groups_of_heads = p.G / heads, tasks = p.B / rows * groups_of_heads;
  const double products = 5.0 * static_cast<double>(p.T * p.S) * static_cast<double>(p.E * p.H / p.G * rows * heads);
  at::parallel_for(0, tasks, attention_grain(products), [&](int64_t first, int64_t last) {
    Backward<T> work(p, out, gradient, lse_BHT, to);
    for (int64_t task = first; task < last; ++task)
      for (int64_t i = 0; i < rows * heads; ++i)
        work.key_head(task / groups_of_heads * rows + i / heads, task % groups_of_heads * heads + i % heads);
    end_block_products(sizeof(T) == 2 ? Format::bfloat16 : Format::float32);
  });
}

}  // namespace

void attention_backward(const AttentionProblem& problem, Format format, const HeadsView& out, const HeadsView& gradient,
                        const float* lse_BHT, const AttentionGradients& to) {
  if (format == Format::bfloat16)
    backward<BFloat16>(problem, out, gradient, lse_BHT, to);
  else
    backward<float>(problem, out, gradient, lse_BHT, to);
}

}  // namespace etude
