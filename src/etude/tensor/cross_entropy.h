#pragma once
// The head of a classifier over many classes: a linear layer and the cross-entropy of its logits, in one operator that
// never holds all logits.
//
// N tokens, or any leading dimensions; D width, V vocabulary.

#include <cstdint>

#include "etude/tensor/format.h"
#include "etude/tensor/tensor.h"

namespace etude {

struct CrossEntropyOptions {
  Format format = Format::float32;  ///< of the operands of products
  Tensor bias_V = {};               ///< undefined: none
  /// So much of each target is spread evenly over the vocabulary (Szegedy et al. 2016, section 7). In [0, 1).
  double smoothing = 0;
  int64_t ignored = -1;  ///< the label of tokens that do not count
  /// Factors of the items, float32, constant for autograd; undefined: ones.
  Tensor weight_N = {};
};

/// -log softmax(x W^T + b)[label] of each token, times its weight: unreduced, float32 (float64 for float64 operands),
/// 0 where the label is `ignored`. x float32 or bfloat16, labels int64 of x's leading dimensions.
///
/// Where gradients are wanted they are computed in the same pass over the vocabulary, three products in all: tokens
/// come in chunks, of whose softmax only one chunk exists at any time. Beside the gradients that takes about
/// head_workspace_bytes(). That gradient is linear in the upstream one of each token; if it is not the same for all
/// tokens, the weight's part is computed anew.
///
/// Errors: Code::data naming value and place of a label outside [0, V), before anything is computed.
Tensor linear_cross_entropy(const Tensor& x_ND, const Tensor& weight_VD, const Tensor& labels_N,
                            const CrossEntropyOptions& options = {});

/// Narrow floating types as float32; float64 stays.
inline Tensor at_least_float32(const Tensor& x) { return x.to(at::promote_types(x.scalar_type(), at::kFloat)); }

}  // namespace etude
