#pragma once
// Blocks of transformers. B batch, T time, D width, H query heads, G key/value heads, E width of a head, F width
// of the feed-forward layer.

#include "etude/base/torch_pch.h"

#include <functional>
#include <string>

#include "etude/nn/context.h"

namespace etude {

/// What may be put into a linear layer, applied in this order: weight -> slice -> low-rank -> quantise -> product
/// (which owns the codec of the saved activation). Empty ones cost nothing.
struct LinearSlots {
  std::function<Tensor(const Tensor& weight, Ctx&)> slice;
  std::function<Tensor(const Tensor& weight, Ctx&)> low_rank;
  std::function<Tensor(const Tensor& weight, Ctx&)> quantise;
  std::function<Tensor(const Tensor& x, const Tensor& weight, const Tensor& bias, Ctx&)> product;
};

/// y = x W^T + b
class Linear : public torch::nn::Module {
 public:
  Linear(int64_t in, int64_t out, bool bias);
  Tensor forward(const Tensor& x, Ctx& ctx);
  Tensor weight, bias;   ///< [out, in]; bias undefined without
  LinearSlots slots;
};

/// x / sqrt(mean(x^2) + eps) * weight over the last dimension (Zhang & Sennrich 2019, eq. 4).
class RmsNorm : public torch::nn::Module {
 public:
  RmsNorm(int64_t width, double eps);
  Tensor forward(const Tensor& x, Ctx& ctx);
  Tensor weight;

 private:
  double eps_;
};

/// cos and sin of position * theta^(-2i/E), each [.., E], the halves repeated (the layout of Hugging Face's Llama).
struct Rotary { Tensor cos, sin; };
/// position: int64, any shape. Su et al. 2021, eq. 34.
Rotary rotary(const Tensor& position, int64_t head_width, double theta, torch::ScalarType type);
/// Rotates x_BHTE by rotary tables [T, E] or [B, 1, T, E].
Tensor rotate(const Tensor& x_BHTE, const Rotary& tables);

/// Causal self-attention with G key/value heads for H query heads (Ainslie et al. 2023), rotary positions, and
/// no sight across segments. H must be a multiple of G, D of H.
class Attention : public torch::nn::Module {
 public:
  Attention(int64_t width, int64_t heads, int64_t kv_heads, double dropout);
  /// mask_BTT: additive or undefined (causal).
  Tensor forward(const Tensor& x_BTD, const Rotary& tables, const Tensor& mask, Ctx& ctx);

 private:
  int64_t heads_, kv_heads_, head_width_;
  double dropout_;
  std::shared_ptr<Linear> q_, k_, v_, o_;
};

/// down(silu(gate x) * up x) (Shazeer 2020, eq. 6: SwiGLU).
class GatedMlp : public torch::nn::Module {
 public:
  GatedMlp(int64_t width, int64_t inner, double dropout);
  Tensor forward(const Tensor& x_BTD, Ctx& ctx);

 private:
  double dropout_;
  std::shared_ptr<Linear> gate_, up_, down_;
};

}  // namespace etude
