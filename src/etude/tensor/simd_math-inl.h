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

/// exp(x) to a relative error of 2e-7 for -87.3 <= x <= 88; x beyond is taken as the nearer end.
/// With n = round(x / ln 2) and |r| <= ln 2 / 2: exp(x) = 2^n exp(r), exp(r) = 1 + r + r^2 p(r). The coefficients of p
/// minimise the largest relative error of exp(r), 3e-9.
HWY_INLINE V exp_bounded(V x) {
  const hn::RebindToUnsigned<Lanes> bits;
  x = hn::IfThenElse(hn::Lt(x, set(-87.3F)), set(-87.3F), x);
  x = hn::IfThenElse(hn::Gt(x, set(88.0F)), set(88.0F), x);
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

/// exp(x), 0 for x below -87.3, infinity included; x above 88 counts as 88.
HWY_INLINE V exp_of(V x) { return hn::IfThenZeroElse(hn::Lt(x, set(-87.3F)), exp_bounded(x)); }

/// 1 / (1 + exp(-x)), and 1 minus that, which is right where it is small too.
struct Sigmoid {
  V value, rest;
};
HWY_INLINE Sigmoid sigmoid(V x) {
  const V e = exp_bounded(hn::Neg(x));
  const V value = set(1.0F) / (set(1.0F) + e);
  return {value, e * value};
}

/// Density and distribution function of a standard normal variable.
struct Normal {
  V density, below;
};
/// Relative error of both 1e-6 for |x| <= 5; the tail is right where it is small. As in Abramowitz and Stegun 26.2.17
/// the tail is exp(-x^2 / 2) times a polynomial in t = 1 / (1 + 0.2316419 |x|), here with eight coefficients that
/// minimise the largest relative error for |x| <= 14, 1.3e-7.
HWY_INLINE Normal normal(V x) {
  const V a = hn::Abs(x);
  const V bell = exp_bounded(a * a * set(-0.5F));
  const V t = set(1.0F) / fma(a, set(0.2316419F), set(1.0F));
  V p = set(-0.07042413204908371F);
  p = fma(p, t, set(0.24768665432929993F));
  p = fma(p, t, set(-0.2016603648662567F));
  p = fma(p, t, set(0.22525334358215332F));
  p = fma(p, t, set(0.013551808893680573F));
  p = fma(p, t, set(0.10265042632818222F));
  p = fma(p, t, set(0.09042008221149445F));
  p = fma(p, t, set(0.09252224862575531F));
  const V tail = bell * p * t;
  const V below = hn::IfThenElse(hn::Lt(x, hn::Zero(Lanes())), tail, set(1.0F) - tail);
  return {bell * set(0.3989422804F), below};
}

}  // namespace etude::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
