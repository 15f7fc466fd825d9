#pragma once
// Rotary positions (Su et al. 2021, "RoFormer", equation 34) in the layout of Hugging Face's Llama: the
// pair that is rotated by the angle position * theta^(-2i/E) is (x_i, x_{i + E/2}), i < E/2.
//
// B batch, T time, H heads, E head width (even).

#include "etude/base/torch_pch.h"

#include <cstdint>

#include "etude/nn/rope_scaling.h"
#include "etude/tensor/tensor.h"

namespace etude {

/// cos of each angle, and sin with the sign of the half it is used in, (-sin, +sin), both twice E/2 wide
/// and shaped to be broadcast over heads: [T, 1, E], or [B, T, 1, E] for positions of each row's own.
struct Rotation {
  Tensor cos, sin;
};

/// Rotates each head of x_BTHE. Differentiable any number of times in x.
Tensor rotate(const Tensor& x_BTHE, const Rotation& rotation);

/// The rotations of positions 0 .. length-1, computed in float64 once per dtype and device.
class Rotary {
 public:
  /// head: E, even. theta > 0.
  Rotary(int64_t head, int64_t length, double theta, const RopeScaling& scaling = {});
  /// For rows of T <= length tokens at positions 0 .. T-1: views, no arithmetic.
  Rotation from_start(int64_t T, const at::TensorOptions& like);
  /// For positions of each row's own, int64 in [0, length), which the caller has checked.
  Rotation at(const Tensor& position_BT, const at::TensorOptions& like);

 private:
  void prepare(const at::TensorOptions& like);
  int64_t head_, length_;
  double theta_;
  RopeScaling scaling_;
  Tensor cos_TE_, sin_TE_;
};

}  // namespace etude
