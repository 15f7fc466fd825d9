#pragma once
// Attention without the matrix of T x S weights: forward keeps the output and a number for each query, backward
// computes the weights once more, block by block (Dao et al. 2022, "FlashAttention"; Dao 2023, "FlashAttention-2").
//
// B batch, T queries, S keys (T = S but in tests of others and when attending across), H query heads, G key/value heads
// (H = n G), E head width.

#include <cstdint>

#include "etude/tensor/format.h"
#include "etude/tensor/tensor.h"

namespace etude {

/// Which keys a query sees: those that all of the following admit. A query that sees none gives zeros, and no gradient.
struct AttentionOptions {
  Format format = Format::float32;  ///< of the operands of products
  bool causal = true;               ///< query t sees keys s <= t
  int64_t window = 0;               ///< query t sees keys s > t - window; 0: no bound
  Tensor length_B = {};             ///< integers: the keys of a row that are there, the others are padding
  Tensor first_BT = {};             ///< integers: query t sees keys s >= first, as in packed documents
  Tensor end_BT = {};               ///< integers: query t sees keys s < end
  /// Added to the scaled products, -infinity where nothing is seen; broadcast to [B, H, T, S]. Differentiable.
  Tensor bias = {};
  double scale = 0;  ///< of the products, > 0; 0: 1 / sqrt(E)
};

/// softmax(scale q k^T + bias) v over the keys that are seen, [B, T, H, E] in the type of q; query head h uses key head
/// h / (H / G). q, k and v are of one type and device. Kernels of our own for float32 and bfloat16 on processors with
/// AVX-512, in any strides as long as E is contiguous; memory linear in T and S, but for a bias's own. Otherwise ATen's
/// operators, which hold the matrix if there is more to consider than `causal`.
/// Differentiable any number of times: what is to be differentiated again is computed by ATen's operators with the
/// matrix. A row of the matrix is not to be had from here, see attention_weights().
Tensor fused_attention(const Tensor& q_BTHE, const Tensor& k_BSGE, const Tensor& v_BSGE,
                       const AttentionOptions& options);

/// The matrix itself, softmax(scale q k^T + bias) over the keys that are seen, [B, H, T, S]: for those who look at rows
/// of it. Rows that see nothing are zeros. By ATen's operators, in the type of q; `format` has no influence.
Tensor attention_weights(const Tensor& q_BTHE, const Tensor& k_BSGE, const AttentionOptions& options);

}  // namespace etude
