#pragma once
// Losses and gradients of a head without its logits: what cross_entropy.h's operator computes with.
//
// N tokens, D width, V vocabulary.

#include <cstdint>

#include "etude/tensor/product.h"
#include "etude/tensor/tensor.h"

namespace etude {

/// Which gradients are wanted.
struct HeadWants {
  bool x = false, weight = false, bias = false;
  bool any() const { return x || weight || bias; }
};

/// x [N, D] float32 or bfloat16 and weight [V, D] float32 with contiguous rows; labels [N] in [0, V); bias [V] and
/// token_weight [N] float32 or undefined; all on the CPU, and N, D, V >= 1 but for N, which may be 0.
struct Head {
  Tensor x_ND, weight_VD, bias_V, labels_N, token_weight_N;
  double smoothing = 0;
  Format format = Format::float32;
};

/// Items, and the gradients of their sum that were wanted; x's in its type, the others float32.
struct HeadLosses {
  Tensor item_N, x_ND, weight_VD, bias_V;
};

/// The same bits for the same number of threads.
HeadLosses head_losses(const Head& head, const HeadWants& wants);

/// What head_losses() allocates beside its results, for `threads` threads.
int64_t head_workspace_bytes(int64_t N, int64_t D, int64_t V, Format format, const HeadWants& wants, int threads);

}  // namespace etude
