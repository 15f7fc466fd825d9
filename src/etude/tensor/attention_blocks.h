#pragma once
// Attention by blocks of queries and keys, forward and backward. Blocks are held transposed, queries side by side in
// the lanes, [keys, queries]: what belongs to a query is a lane, so that no sum goes across lanes, and weights are the
// right operand of the products with them as they are.
//
// B batch, T queries, S keys, H query heads, G key/value heads, E head width; W queries of a block, P keys of a block.

#include <algorithm>
#include <cstdint>

#include "etude/tensor/product.h"
#include "etude/tensor/scratch.h"
#include "etude/tensor/tensor.h"

namespace etude {

/// Queries of a block at most, and keys of a block at most, at whose multiples blocks of keys begin or end.
constexpr int64_t kQueryBlock = 64, kKeyBlock = 128;
/// Blocks begin and end at multiples of this many keys, so that few kernels serve all lengths.
constexpr int64_t kKeyStep = 32;

/// A tensor [B, T, H, E] of float32 or bfloat16 with E contiguous.
struct HeadsView {
  void* data = nullptr;
  at::ScalarType type = at::ScalarType::Float;
  int64_t batch_stride = 0, row_stride = 0, head_stride = 0, width = 0;

  static HeadsView of(const Tensor& x_BTHE);
  /// Rows first .. first+count-1 of a head, [count, E].
  MatrixView rows(int64_t b, int64_t h, int64_t first, int64_t count) const;
  /// The other way around: `values` becomes these rows.
  void write(const MatrixView& values, int64_t b, int64_t h, int64_t first) const;
};

/// A float32 [B, H, T, S] with strides of any kind, 0 too.
struct BiasView {
  float* data = nullptr;
  int64_t strides[4] = {};

  static BiasView of(const Tensor& bias_BHTS);
  float* at(int64_t b, int64_t h, int64_t t, int64_t s) const {
    return data + b * strides[0] + h * strides[1] + t * strides[2] + s * strides[3];
  }
};

struct AttentionProblem {
  int64_t B, T, S, H, G, E;
  HeadsView q, k, v;
  float scale;
  bool causal;
  int64_t window;
  const int64_t* length_B;           ///< or null
  const int64_t *first_BT, *end_BT;  ///< or null
  BiasView bias;                     ///< without data: none

  /// Queries of a block: the same for all, so that few kernels serve.
  int64_t query_block() const;
  int64_t query_blocks() const;
};

/// Which keys the queries of a block see: from[i] <= s < to[i].
struct Sight {
  alignas(64) int32_t from_W[kQueryBlock], to_W[kQueryBlock];
  int64_t first, end;         ///< nobody sees keys outside of this range
  int64_t all_from, all_end;  ///< everybody sees the keys within this one
  bool covers(int64_t s, int64_t count) const { return s >= all_from && s + count <= all_end; }
};
/// Of queries t .. t+count-1 of a row; lanes beyond repeat the last.
Sight sight_of(const AttentionProblem& problem, int64_t b, int64_t t, int64_t count);

/// One head's block of scores. Those that a query does not see become -infinity, and bias_PW / scale is added.
struct ScoreBlock {
  float* scores_PW;
  int64_t keys, queries;  ///< P and W, multiples of 16
  int64_t first_key;
};
void hide_scores(const ScoreBlock& block, const Sight& sight);
void add_bias(const ScoreBlock& block, const float* bias_PW, float inverse_scale);

/// The running softmax: scores become exp(scale score - largest), as float32 in place or as bfloat16 with pairs of keys
/// interleaved. largest_W and sum_W are brought up to date, and rescale_W is what earlier sums are to be multiplied
/// with.
void softmax_block(const ScoreBlock& block, float scale, float* largest_W, float* sum_W, float* rescale_W);
void softmax_block(const ScoreBlock& block, float scale, float* largest_W, float* sum_W, float* rescale_W,
                   c10::BFloat16* weights_PW2);
/// x_EW *= factor_W.
void scale_lanes(float* x_EW, int64_t E, int64_t W, const float* factor_W);
/// lse_W = log of the sum of exponentials, and reciprocal_W of the sum; +infinity and 0 for queries that see nothing.
void close_softmax(const float* largest_W, const float* sum_W, int64_t W, float* lse_W, float* reciprocal_W);

/// Backward: weight = exp(scale score - lse), and its gradient becomes that of the score, weight (gradient - delta).
/// In place as float32, ...
void weights_and_gradients(const ScoreBlock& block, float scale, const float* lse_W, const float* delta_W,
                           float* gradients_PW);
/// ... and in bfloat16 as rows of both, and the gradient also with pairs of keys interleaved. float32 gradients stay
/// too.
struct NarrowBlocks {
  c10::BFloat16 *weights_PW, *gradients_PW, *gradients_PW2;
};
void weights_and_gradients(const ScoreBlock& block, float scale, const float* lse_W, const float* delta_W,
                           float* gradients_PW, const NarrowBlocks& to);
/// The sum over E of a * b for each row; a and b are of one type.
void row_dots(const MatrixView& a, const MatrixView& b, float* dots);
/// x *= factor.
void scale_all(float* x, int64_t count, float factor);

/// Calls visit(s, P) for the blocks of keys s .. s+P-1 that a block of queries sees. No block crosses a multiple of
/// kKeyBlock; they may reach beyond S, up to a multiple of kKeyStep.
template <class Visit>
void for_key_blocks(const Sight& sight, const Visit& visit) {
  const int64_t end = (sight.end + kKeyStep - 1) / kKeyStep * kKeyStep;
  for (int64_t s = sight.first / kKeyStep * kKeyStep; s < end;) {
    const int64_t next = std::min((s / kKeyBlock + 1) * kKeyBlock, end);
    visit(s, next - s);
    s = next;
  }
}

/// What makes scores of the products of a block: bias and sight, for queries t .. t+count-1.
void add_bias_and_hide(const AttentionProblem& problem, const Sight& sight, const ScoreBlock& block, int64_t b,
                       int64_t h, int64_t t, int64_t count);

/// How many tasks of so many products (multiply-adds for each) a thread takes at least.
int64_t attention_grain(double products_per_task);

/// Writes out_BTHE and lse_BHT.
void attention_forward(const AttentionProblem& problem, Format format, const HeadsView& out, float* lse_BHT);

/// Gradients of q, k, v, and of bias unless without data: that one is added to.
struct AttentionGradients {
  HeadsView q, k, v;
  BiasView bias;
};
void attention_backward(const AttentionProblem& problem, Format format, const HeadsView& out, const HeadsView& gradient,
                        const float* lse_BHT, const AttentionGradients& to);

/// What a thread keeps memory for. Forward and backward share what they both need.
enum class AttentionScratch {
  keys,
  values,  ///< backward: keys and values transposed
  queries,
  scores,
  out,      ///< backward: the gradient of the queries
  weights,  ///< bfloat16; backward: gradients of the scores in pairs
  bias,
  value_rows,
  key_gradient,
  value_gradient,
  gradients,
  query_rows,
  gradient_rows,
  score_gradients,
  narrow_weights,
  narrow_gradients
};

}  // namespace etude
