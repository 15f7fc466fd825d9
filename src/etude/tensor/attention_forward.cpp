// B batch, T queries, S keys, H query heads, G key/value heads, E head width; W queries of a block, P keys of a block.

#include <ATen/Parallel.h>

#include <algorithm>
#include <limits>

#include "etude/tensor/attention_blocks.h"

namespace etude {
namespace {

using c10::BFloat16;

/// A key head as forward reads it: rows of keys [S, E], and values transposed in blocks of keys [E, kKeyBlock]. Both
/// are filled up with zeros, E to an even number and S to a whole step.
template <class T>
class KeysAndValues {
 public:
  /// Rows of values lie off a power of two, where they would fall into the same sets of the cache.
  static constexpr int64_t kValueStride = kKeyBlock + 64 / static_cast<int64_t>(sizeof(T));

  explicit KeysAndValues(const AttentionProblem& p) : p_(p), depth_(sizeof(T) == 2 ? (p.E + 1) / 2 * 2 : p.E) {
    const int64_t steps = (p.S + kKeyStep - 1) / kKeyStep, blocks = (p.S + kKeyBlock - 1) / kKeyBlock;
    keys_ = thread_scratch<T, AttentionScratch::keys>(steps * kKeyStep * depth_);
    values_ = thread_scratch<T, AttentionScratch::values>(blocks * p.E * kValueStride);
  }
  /// E, as deep as the products are.
  int64_t depth() const { return depth_; }
  const T* keys(int64_t s) const { return keys_ + s * depth_; }
  const T* values(int64_t s) const { return values_ + s / kKeyBlock * p_.E * kValueStride + s % kKeyBlock; }

  void hold(int64_t b, int64_t g) {
    copy_rows(p_.k.rows(b, g, 0, p_.S), keys_, depth_, depth_);
    const int64_t end = (p_.S + kKeyStep - 1) / kKeyStep * kKeyStep;
    std::fill(keys_ + p_.S * depth_, keys_ + end * depth_, T(0));
    for (int64_t s = 0; s < p_.S; s += kKeyBlock) {
      const int64_t count = std::min(kKeyBlock, p_.S - s);
      const int64_t padded = (count + kKeyStep - 1) / kKeyStep * kKeyStep;
      copy_rows(p_.v.rows(b, g, s, count).t(), const_cast<T*>(values(s)), kValueStride, padded);
    }
  }

 private:
  const AttentionProblem& p_;
  int64_t depth_;
  T *keys_, *values_;
};

/// The queries of a block and what becomes of them.
template <class T>
struct Queries {
  explicit Queries(const AttentionProblem& p, int64_t depth) : W(p.query_block()) {
    queries_EW = thread_scratch<T, AttentionScratch::queries>(depth * W);
    scores_PW = thread_scratch<float, AttentionScratch::scores>(kKeyBlock * W);
    out_EW = thread_scratch<float, AttentionScratch::out>(p.E * W);
    if constexpr (sizeof(T) == 2) weights_PW2 = thread_scratch<T, AttentionScratch::weights>(kKeyBlock * W);
  }
  int64_t W;
  T *queries_EW, *weights_PW2 = nullptr;
  float *scores_PW, *out_EW;
  alignas(64) float largest_W[kQueryBlock], sum_W[kQueryBlock], factor_W[kQueryBlock], lse_W[kQueryBlock];
};

/// P <- softmax of the scores seen so far; returns it as right operand.
const float* weights_of(const ScoreBlock& block, float scale, Queries<float>& q) {
  softmax_block(block, scale, q.largest_W, q.sum_W, q.factor_W);
  return q.scores_PW;
}
const BFloat16* weights_of(const ScoreBlock& block, float scale, Queries<BFloat16>& q) {
  softmax_block(block, scale, q.largest_W, q.sum_W, q.factor_W, q.weights_PW2);
  return q.weights_PW2;
}

/// The algorithm of FlashAttention-2 for one block of queries: out <- out exp(old largest - new) + V^T P^T.
template <class T>
void attend(const AttentionProblem& p, const KeysAndValues<T>& held, int64_t b, int64_t h, int64_t t, Queries<T>& q,
            const HeadsView& out, float* lse_BHT) {
  const int64_t W = q.W, E = p.E, count = std::min(W, p.T - t);
  const Sight sight = sight_of(p, b, t, count);
  copy_panel(p.q.rows(b, h, t, count).t(), q.queries_EW, W, W);
  std::fill_n(q.largest_W, W, -std::numeric_limits<float>::infinity());
  std::fill_n(q.sum_W, W, 0.0F);
  bool begun = false;
  for_key_blocks(sight, [&](int64_t s, int64_t P) {
    block_product(P, W, held.depth(), held.keys(s), held.depth(), q.queries_EW, W, q.scores_PW, W, false);
    const ScoreBlock block{q.scores_PW, P, W, s};
    add_bias_and_hide(p, sight, block, b, h, t, count);
    const T* const weights = weights_of(block, p.scale, q);
    if (begun) scale_lanes(q.out_EW, E, W, q.factor_W);
    block_product(E, W, P, held.values(s), held.kValueStride, weights, W, q.out_EW, W, begun);
    begun = true;
  });
  if (!begun) std::fill_n(q.out_EW, E * W, 0.0F);
  close_softmax(q.largest_W, q.sum_W, W, q.lse_W, q.factor_W);
  scale_lanes(q.out_EW, E, W, q.factor_W);
  out.write(MatrixView{q.out_EW, at::kFloat, E, count, W, 1}.t(), b, h, t);
  std::copy_n(q.lse_W, count, lse_BHT + (b * p.H + h) * p.T + t);
}

/// The first block, the last, the second, ...: with causal attention, neighbours together are then equally long.
int64_t from_both_ends(int64_t i, int64_t count) { return i % 2 == 0 ? i / 2 : count - 1 - i / 2; }

template <class T>
void forward(const AttentionProblem& p, const HeadsView& out, float* lse_BHT) {
  const int64_t blocks = p.query_blocks(), per_key_head = p.H / p.G, per_pair = per_key_head * blocks;
  const auto work = [&](int64_t first, int64_t last) {
    KeysAndValues<T> held(p);
    Queries<T> queries(p, held.depth());
    for (int64_t task = first, pair = -1; task < last; ++task) {
      const int64_t b = task / per_pair / p.G, g = task / per_pair % p.G;
      if (pair != task / per_pair) held.hold(b, g);
      pair = task / per_pair;
      const int64_t h = g * per_key_head + task % per_pair / blocks;
      attend(p, held, b, h, from_both_ends(task % blocks, blocks) * queries.W, queries, out, lse_BHT);
    }
    end_block_products(sizeof(T) == 2 ? Format::bfloat16 : Format::float32);
  };
  const double products = 2.0 * static_cast<double>(p.query_block() * p.S) * static_cast<double>(p.E);
  at::parallel_for(0, p.B * p.G * per_pair, attention_grain(products), work);
}

}  // namespace

void attention_forward(const AttentionProblem& problem, Format format, const HeadsView& out, float* lse_BHT) {
  if (format == Format::bfloat16)
    forward<BFloat16>(problem, out, lse_BHT);
  else
    forward<float>(problem, out, lse_BHT);
}

}  // namespace etude
