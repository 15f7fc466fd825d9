// The softmax of attention on blocks [P keys, W queries], forward and backward.

#include "etude/tensor/simd.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "etude/tensor/attention_kernels.cpp"
#include <hwy/foreach_target.h>

#include <limits>

#include "etude/tensor/attention_blocks.h"
#include "etude/tensor/simd_math-inl.h"
#include "hwy/contrib/math/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace etude::HWY_NAMESPACE {

using c10::BFloat16;
using Bits = hn::RebindToUnsigned<Lanes>;
constexpr int64_t kWide = static_cast<int64_t>(hn::MaxLanes(Lanes()));

/// exp(x) for x <= 1, to a relative error of 3e-7; 0 below -87. NaN stays. As exp_bounded() with a shorter polynomial
/// (largest relative error 1.1e-7) and one multiple of ln 2: the error of that grows with |x|, to 2e-7 where exp(x) is
/// 1e-38.
HWY_INLINE V exp_of_difference(V x) {
  const V integers = set(12582912.0F);
  const V shifted = fma(x, set(1.44269504F), integers);
  const V r = fma(shifted - integers, set(-0.693147182F), x);
  V p = set(0.008312501013278961F);
  p = fma(p, r, set(0.041890330612659454F));
  p = fma(p, r, set(0.16667115688323975F));
  p = fma(p, r, set(0.499992311000824F));
  p = fma(p, r, set(1.0F));
  p = fma(p, r, set(1.0F));
  const auto scaled = hn::Add(hn::BitCast(Bits(), p), hn::ShiftLeft<23>(hn::BitCast(Bits(), shifted)));
  return hn::IfThenZeroElse(hn::Lt(x, set(-87.0F)), hn::BitCast(Lanes(), scaled));
}

/// Twice 16 bits of values that are no NaN with a payload, rounded to nearest even: a in the lower, b in the upper
/// half.
HWY_INLINE hn::Vec<Bits> rounded_bits(V x) {
  const auto u = hn::BitCast(Bits(), x);
  const auto odd = hn::And(hn::ShiftRight<16>(u), hn::Set(Bits(), 1));
  return hn::Add(u, hn::Add(odd, hn::Set(Bits(), 0x7FFF)));
}
HWY_INLINE hn::Vec<Bits> pair_of(V a, V b) {
  return hn::Or(hn::ShiftRight<16>(rounded_bits(a)), hn::And(rounded_bits(b), hn::Set(Bits(), 0xFFFF0000U)));
}

HWY_INLINE void store_pairs(hn::Vec<Bits> pairs, BFloat16* to) {
  hn::StoreU(pairs, Bits(), reinterpret_cast<uint32_t*>(to));
}
HWY_INLINE void store_lower(hn::Vec<Bits> pairs, BFloat16* to) {
  const hn::Rebind<uint16_t, Lanes> narrow;
  hn::StoreU(hn::TruncateTo(narrow, pairs), narrow, reinterpret_cast<uint16_t*>(to));
}
HWY_INLINE void store_upper(hn::Vec<Bits> pairs, BFloat16* to) { store_lower(hn::ShiftRight<16>(pairs), to); }

/// Calls strip(first lane, how many vectors as a constant): four vectors at a time, then single ones.
template <class Strip>
HWY_INLINE void for_strips(int64_t queries, const Strip& strip) {
  int64_t w = 0;
  for (; w + 4 * kWide <= queries; w += 4 * kWide) strip(w, std::integral_constant<int, 4>());
  for (; w < queries; w += kWide) strip(w, std::integral_constant<int, 1>());
}

void hide_kernel(const ScoreBlock& block, const Sight& sight) {
  const hn::RebindToSigned<Lanes> integers;
  const int64_t W = block.queries;
  for (int64_t p = 0; p < block.keys; ++p) {
    const int64_t key = block.first_key + p;
    if (sight.covers(key, 1)) continue;
    float* const row = block.scores_PW + p * W;
    const auto s = hn::Set(integers, static_cast<int32_t>(key));
    for (int64_t w = 0; w < W; w += kWide) {
      const auto before = hn::Lt(s, hn::LoadU(integers, sight.from_W + w));
      const auto within = hn::Lt(s, hn::LoadU(integers, sight.to_W + w));
      const auto hidden = hn::Or(hn::VecFromMask(integers, before), hn::Not(hn::VecFromMask(integers, within)));
      const auto mask = hn::RebindMask(Lanes(), hn::MaskFromVec(hidden));
      store(hn::IfThenElse(mask, set(-std::numeric_limits<float>::infinity()), load(row + w)), row + w);
    }
  }
}

void bias_kernel(const ScoreBlock& block, const float* bias, float inverse_scale) {
  for (int64_t i = 0; i < block.keys * block.queries; i += kWide)
    store(fma(load(bias + i), set(inverse_scale), load(block.scores_PW + i)), block.scores_PW + i);
}

/// The new largest values of a strip, and the factor of what was summed before. Where nothing was seen yet, 0 stands
/// for the largest, and differences to it are numbers.
template <int n>
HWY_INLINE void move_largest(const ScoreBlock& block, int64_t w, float scale, float* largest_W, float* rescale_W,
                             V (&largest)[n]) {
  const V lowest = set(-std::numeric_limits<float>::infinity());
  for (int j = 0; j < n; ++j) largest[j] = lowest;
  for (int64_t p = 0; p < block.keys; ++p)
    for (int j = 0; j < n; ++j)
      largest[j] = hn::Max(largest[j], load(block.scores_PW + p * block.queries + w + j * kWide));
  for (int j = 0; j < n; ++j) {
    float* const kept = largest_W + w + j * kWide;
    const V before = load(kept), now = hn::Max(before, largest[j] * set(scale));
    const V reference = hn::IfThenZeroElse(hn::Eq(now, lowest), now);
    store(exp_of_difference(before - reference), rescale_W + w + j * kWide);
    store(now, kept);
    largest[j] = reference;
  }
}

template <int n>
HWY_INLINE void add_sums(int64_t w, const float* rescale_W, const V (&sums)[n], float* sum_W) {
  for (int j = 0; j < n; ++j) {
    const int64_t i = w + j * kWide;
    store(fma(load(sum_W + i), load(rescale_W + i), sums[j]), sum_W + i);
  }
}

void softmax_kernel(const ScoreBlock& block, float scale, float* largest_W, float* sum_W, float* rescale_W) {
  for_strips(block.queries, [&](int64_t w, auto count) HWY_ATTR {
    constexpr int n = decltype(count)::value;
    V largest[n], sums[n];
    move_largest<n>(block, w, scale, largest_W, rescale_W, largest);
    for (int j = 0; j < n; ++j) sums[j] = hn::Zero(Lanes());
    for (int64_t p = 0; p < block.keys; ++p)
      for (int j = 0; j < n; ++j) {
        float* const at = block.scores_PW + p * block.queries + w + j * kWide;
        const V weight = exp_of_difference(hn::MulSub(load(at), set(scale), largest[j]));
        sums[j] = sums[j] + weight;
        store(weight, at);
      }
    add_sums<n>(w, rescale_W, sums, sum_W);
  });
}

void softmax_narrow_kernel(const ScoreBlock& block, float scale, float* largest_W, float* sum_W, float* rescale_W,
                           BFloat16* weights_PW2) {
  for_strips(block.queries, [&](int64_t w, auto count) HWY_ATTR {
    constexpr int n = decltype(count)::value;
    const int64_t W = block.queries;
    V largest[n], sums[n];
    move_largest<n>(block, w, scale, largest_W, rescale_W, largest);
    for (int j = 0; j < n; ++j) sums[j] = hn::Zero(Lanes());
    for (int64_t p = 0; p < block.keys; p += 2)
      for (int j = 0; j < n; ++j) {
        const int64_t i = w + j * kWide;
        const float* const at = block.scores_PW + p * W + i;
        const V even = exp_of_difference(hn::MulSub(load(at), set(scale), largest[j]));
        const V odd = exp_of_difference(hn::MulSub(load(at + W), set(scale), largest[j]));
        sums[j] = sums[j] + (even + odd);
        store_pairs(pair_of(even, odd), weights_PW2 + p * W + 2 * i);
      }
    add_sums<n>(w, rescale_W, sums, sum_W);
  });
}

void scale_lanes_kernel(float* x_EW, int64_t E, int64_t W, const float* factor_W) {
  for (int64_t e = 0; e < E; ++e)
    for (int64_t w = 0; w < W; w += kWide) store(load(x_EW + e * W + w) * load(factor_W + w), x_EW + e * W + w);
}

void close_kernel(const float* largest_W, const float* sum_W, int64_t W, float* lse_W, float* reciprocal_W) {
  for (int64_t w = 0; w < W; w += kWide) {
    const V sum = load(sum_W + w);
    const auto blind = hn::Eq(sum, hn::Zero(Lanes()));
    const V lse = load(largest_W + w) + hn::Log(Lanes(), sum);
    store(hn::IfThenElse(blind, set(std::numeric_limits<float>::infinity()), lse), lse_W + w);
    store(hn::IfThenZeroElse(blind, set(1.0F) / sum), reciprocal_W + w);
  }
}

void gradients_kernel(const ScoreBlock& block, float scale, const float* lse_W, const float* delta_W,
                      float* gradients_PW) {
  for_strips(block.queries, [&](int64_t w, auto count) HWY_ATTR {
    constexpr int n = decltype(count)::value;
    V lse[n], delta[n];
    for (int j = 0; j < n; ++j) {
      lse[j] = load(lse_W + w + j * kWide);
      delta[j] = load(delta_W + w + j * kWide);
    }
    for (int64_t p = 0; p < block.keys; ++p)
      for (int j = 0; j < n; ++j) {
        const int64_t i = p * block.queries + w + j * kWide;
        const V weight = exp_of_difference(hn::MulSub(load(block.scores_PW + i), set(scale), lse[j]));
        store(weight, block.scores_PW + i);
        store(weight * (load(gradients_PW + i) - delta[j]), gradients_PW + i);
      }
  });
}

void gradients_narrow_kernel(const ScoreBlock& block, float scale, const float* lse_W, const float* delta_W,
                             float* gradients_PW, const NarrowBlocks& to) {
  for_strips(block.queries, [&](int64_t w, auto count) HWY_ATTR {
    constexpr int n = decltype(count)::value;
    const int64_t W = block.queries;
    V lse[n], delta[n];
    for (int j = 0; j < n; ++j) {
      lse[j] = load(lse_W + w + j * kWide);
      delta[j] = load(delta_W + w + j * kWide);
    }
    for (int64_t p = 0; p < block.keys; p += 2)
      for (int j = 0; j < n; ++j) {
        const int64_t i = p * W + w + j * kWide;
        const V even = exp_of_difference(hn::MulSub(load(block.scores_PW + i), set(scale), lse[j]));
        const V odd = exp_of_difference(hn::MulSub(load(block.scores_PW + i + W), set(scale), lse[j]));
        const auto weights = pair_of(even, odd);
        store_lower(weights, to.weights_PW + i);
        store_upper(weights, to.weights_PW + i + W);
        const V even_gradient = even * (load(gradients_PW + i) - delta[j]);
        const V odd_gradient = odd * (load(gradients_PW + i + W) - delta[j]);
        store(even_gradient, gradients_PW + i);
        store(odd_gradient, gradients_PW + i + W);
        const auto gradients = pair_of(even_gradient, odd_gradient);
        store_lower(gradients, to.gradients_PW + i);
        store_upper(gradients, to.gradients_PW + i + W);
        store_pairs(gradients, to.gradients_PW2 + p * W + 2 * (w + j * kWide));
      }
  });
}

template <class T>
HWY_INLINE void dots_of(const MatrixView& a, const MatrixView& b, float* dots) {
  for (int64_t r = 0; r < a.rows; ++r) {
    const T* const x = static_cast<const T*>(a.data) + r * a.row_stride;
    const T* const y = static_cast<const T*>(b.data) + r * b.row_stride;
    V sum = hn::Zero(Lanes());
    int64_t i = 0;
    for (; i + kWide <= a.cols; i += kWide) sum = fma(load(x + i), load(y + i), sum);
    if (i < a.cols) {
      const auto rest = static_cast<size_t>(a.cols - i);
      sum = fma(load_some(x + i, rest), load_some(y + i, rest), sum);
    }
    dots[r] = hn::GetLane(hn::SumOfLanes(Lanes(), sum));
  }
}

void dots_kernel(const MatrixView& a, const MatrixView& b, float* dots) {
  if (a.type == at::kFloat)
    dots_of<float>(a, b, dots);
  else
    dots_of<BFloat16>(a, b, dots);
}

void scale_kernel(float* x, int64_t count, float factor) {
  int64_t i = 0;
  for (; i + kWide <= count; i += kWide) store(load(x + i) * set(factor), x + i);
  for (; i < count; ++i) x[i] *= factor;
}

}  // namespace etude::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace etude {

HWY_EXPORT(hide_kernel);
HWY_EXPORT(bias_kernel);
HWY_EXPORT(softmax_kernel);
HWY_EXPORT(softmax_narrow_kernel);
HWY_EXPORT(scale_lanes_kernel);
HWY_EXPORT(close_kernel);
HWY_EXPORT(gradients_kernel);
HWY_EXPORT(gradients_narrow_kernel);
HWY_EXPORT(dots_kernel);
HWY_EXPORT(scale_kernel);

void hide_scores(const ScoreBlock& block, const Sight& sight) { HWY_DYNAMIC_DISPATCH(hide_kernel)(block, sight); }
void add_bias(const ScoreBlock& block, const float* bias_PW, float inverse_scale) {
  HWY_DYNAMIC_DISPATCH(bias_kernel)(block, bias_PW, inverse_scale);
}
void softmax_block(const ScoreBlock& block, float scale, float* largest_W, float* sum_W, float* rescale_W) {
  HWY_DYNAMIC_DISPATCH(softmax_kernel)(block, scale, largest_W, sum_W, rescale_W);
}
void softmax_block(const ScoreBlock& block, float scale, float* largest_W, float* sum_W, float* rescale_W,
                   c10::BFloat16* weights_PW2) {
  HWY_DYNAMIC_DISPATCH(softmax_narrow_kernel)(block, scale, largest_W, sum_W, rescale_W, weights_PW2);
}
void scale_lanes(float* x_EW, int64_t E, int64_t W, const float* factor_W) {
  HWY_DYNAMIC_DISPATCH(scale_lanes_kernel)(x_EW, E, W, factor_W);
}
void close_softmax(const float* largest_W, const float* sum_W, int64_t W, float* lse_W, float* reciprocal_W) {
  HWY_DYNAMIC_DISPATCH(close_kernel)(largest_W, sum_W, W, lse_W, reciprocal_W);
}
void weights_and_gradients(const ScoreBlock& block, float scale, const float* lse_W, const float* delta_W,
                           float* gradients_PW) {
  HWY_DYNAMIC_DISPATCH(gradients_kernel)(block, scale, lse_W, delta_W, gradients_PW);
}
void weights_and_gradients(const ScoreBlock& block, float scale, const float* lse_W, const float* delta_W,
                           float* gradients_PW, const NarrowBlocks& to) {
  HWY_DYNAMIC_DISPATCH(gradients_narrow_kernel)(block, scale, lse_W, delta_W, gradients_PW, to);
}
void row_dots(const MatrixView& a, const MatrixView& b, float* dots) { HWY_DYNAMIC_DISPATCH(dots_kernel)(a, b, dots); }
void scale_all(float* x, int64_t count, float factor) { HWY_DYNAMIC_DISPATCH(scale_kernel)(x, count, factor); }

}  // namespace etude
#endif
