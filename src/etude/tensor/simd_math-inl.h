// exp and functions made of it on lanes of float32, for each instruction set: see simd.h. NaN gives NaN.

#if defined(ETUDE_TENSOR_SIMD_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ETUDE_TENSOR_SIMD_MATH_INL_H_
#undef ETUDE_TENSOR_SIMD_MATH_INL_H_
#else
#define ETUDE_TENSOR_SIMD_MATH_INL_H_
#endif

#include "etude/tensor/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace etude::HWY_NAMESPACE {

HWY_INLINE V set(float value) { return hn::Set(Lanes(), value); }
/// a b + c, rounded once.
HWY_INLINE V fma(V a, V b, V c) { return hn::MulAdd(a, b, c); }

/// exp(x) to a relative error of 2e-7, for -87.3 <= x <= 88 (or NaN) only.
/// With n = round(x / ln 2) and |r| <= ln 2 / 2: exp(x) = 2^n exp(r), exp(r) = 1 + r + r^2 p(r). The coefficients of p
/// minimise the largest relative error of exp(r), 3e-9.
HWY_INLINE V exp_within(V x) {
  const hn::RebindToUnsigned<Lanes> bits;
  // Near 1.5 * 2^23 floats are integers: the addition rounds, and the lowest bits of the sum are n.
  const V integers = set(12582912.0F);
  const V shifted = fma(x, set(1.44269504F), integers);
  const V n = shifted - integers;
  const V r = fma(n, set(1.9046543e-9F), fma(n, set(-0.693147182F), x));
  V p = set(1.381459878757596e-3F);
  p = fma(p, r, set(8.368716575205326e-3F));
  p = fma(p, r, set(4.166838899254799e-2F));
  p = fma(p, r, set(0.1666652113199234F));
  p = fma(p, r, set(0.4999999403953552F));
  const V exp_r = fma(p * r, r, r + set(1.0F));
  return hn::BitCast(Lanes(), hn::Add(hn::BitCast(bits, exp_r), hn::ShiftLeft<23>(hn::BitCast(bits, shifted))));
}

/// x, or `low` where x is below; NaN stays.
HWY_INLINE V at_least(V x, float low) { return hn::IfThenElse(hn::Lt(x, set(low)), set(low), x); }

/// exp(x); x beyond -87.3 <= x <= 87, where 1 / exp(x) is a normal number, counts as the nearer end.
HWY_INLINE V exp_bounded(V x) {
  x = at_least(x, -87.3F);
  return exp_within(hn::IfThenElse(hn::Gt(x, set(87.0F)), set(87.0F), x));
}

/// exp(x), 0 for x below -87.3, infinity included; x above 87 counts as 87.
HWY_INLINE V exp_of(V x) { return hn::IfThenZeroElse(hn::Lt(x, set(-87.3F)), exp_bounded(x)); }

/// s = 1 / (1 + exp(-x)), and 1 - s, which is right where it is small too.
struct Sigmoid {
  V value, rest;
};
HWY_INLINE Sigmoid sigmoid_and_rest(V x) {
  const V e = exp_bounded(hn::Neg(x));
  const V value = set(1.0F) / (set(1.0F) + e);
  return {value, e * value};
}
HWY_INLINE V sigmoid(V x) { return sigmoid_and_rest(x).value; }

/// Of a standard normal variable: its density at x, and the probability to be beyond |x| on one side.
struct Normal {
  V density, tail;
};
/// Relative error of both 1e-6 for |x| <= 5, growing as x^2. As in Abramowitz and Stegun 26.2.17 the tail is exp(-x^2 /
/// 2) times a polynomial in t = 1 / (1 + 0.2316419 |x|), here with eight coefficients that minimise the largest
/// relative error for |x| <= 14, 1.3e-7.
HWY_INLINE Normal normal(V x) {
  const V bell = exp_within(at_least(x * x * set(-0.5F), -87.3F));
  const V t = set(1.0F) / fma(hn::Abs(x), set(0.2316419F), set(1.0F));
  V p = set(-0.07042413204908371F);
  p = fma(p, t, set(0.24768665432929993F));
  p = fma(p, t, set(-0.2016603648662567F));
  p = fma(p, t, set(0.22525334358215332F));
  p = fma(p, t, set(0.013551808893680573F));
  p = fma(p, t, set(0.10265042632818222F));
  p = fma(p, t, set(0.09042008221149445F));
  p = fma(p, t, set(0.09252224862575531F));
  return {bell * set(0.3989422804F), bell * (p * t)};
}

}  // namespace etude::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
