#pragma once
// The loops of cross_entropy_blocks.cpp over single numbers. Tokens lie side by side in the lanes, so that a softmax
// over the vocabulary needs no sum across lanes.
//
// K kHeadTile tokens, P words of a panel of the vocabulary, M tokens of a chunk.

#include <cstdint>

#include "etude/tensor/product.h"

namespace etude {

/// Tokens of a tile.
constexpr int64_t kHeadTile = 64;

/// The largest logit of each token, [K]; at least -1e30, so that differences to it are numbers.
void largest_logits(const float* logits_PK, int64_t rows, float* largest_K);

/// What becomes of a tile of logits: e = exp(logit - reference). sum += e, and total += logit unless null.
struct Exponentials {
  const float* logits_PK;
  int64_t rows;
  const float* reference_K;
  float *sum_K, *total_K;
};
/// e is kept as rows `stride` apart, unless null. A bfloat16 e also as pairs of rows interleaved, [P/2, K, 2], rows
/// rounded up to even with zeros.
void exponentials(const Exponentials& tile, float* e_PK, int64_t stride);
void exponentials(const Exponentials& tile, c10::BFloat16* e_PK, int64_t stride, c10::BFloat16* pairs);

/// log(sum over parts of sum exp(reference)) of softmaxes over parts of the vocabulary, whose values lie `stride`
/// apart.
void join_softmaxes(const float* reference, const float* sum, int64_t parts, int64_t stride, int64_t count, float* lse);
/// to = scale exp(a - b).
void scaled_exponentials(const float* a, const float* b, const float* scale, int64_t count, float* to);

/// Rows of x, up to 64 columns of them, each times its factor, as right operand: [M, 64], in bfloat16 pairs of rows
/// interleaved; rows from x.rows to `padded_rows` (even) are zeros, and columns up to 64.
void scaled_panel(const MatrixView& x, const float* factor, int64_t padded_rows, float* panel);
void scaled_panel(const MatrixView& x, const float* factor, int64_t padded_rows, c10::BFloat16* panel);

/// to += factor * from, for `count` numbers of float32 or bfloat16.
void add_scaled(float* to, const void* from, at::ScalarType type, float factor, int64_t count);
/// The sum of a * b.
float dot(const float* a, const float* b, int64_t count);
float dot(const c10::BFloat16* a, const float* b, int64_t count);

}  // namespace etude
