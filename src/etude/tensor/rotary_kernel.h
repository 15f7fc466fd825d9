#pragma once
// Rotation of the pairs (x_i, x_{i + E/2}) of each head in one pass over memory.
//
// B batch, T time, H heads, E head width (even).

#include "etude/tensor/tensor.h"

namespace etude {

/// x cos + roll(x, E/2) sin, contiguous and of the type of x, without autograd; `inverse` rotates back (-sin), which is
/// also the gradient. cos and sin: [T, 1, E], or [B, T, 1, E]; the halves of cos are equal, those of sin (-s, +s).
/// The kernel takes float32 and bfloat16 on the CPU with any strides of B, T and H; ATen's operators take the rest.
Tensor rotate_pairs(const Tensor& x_BTHE, const Tensor& cos, const Tensor& sin, bool inverse);

}  // namespace etude
