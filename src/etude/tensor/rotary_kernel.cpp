// B batch, T time, H heads, E head width (even).

#include "etude/tensor/simd.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "etude/tensor/rotary_kernel.cpp"
#include <hwy/foreach_target.h>

#include "etude/tensor/rotary_kernel.h"
#include "etude/tensor/rows-inl.h"
#include "etude/tensor/simd_math-inl.h"

#ifndef ETUDE_TENSOR_ROTARY_KERNEL_CPP_
#define ETUDE_TENSOR_ROTARY_KERNEL_CPP_
namespace etude {

/// [B, T, H, E] somewhere in memory; strides in elements, that of E is 1.
struct Heads {
  void* data;
  at::ScalarType type;
  int64_t b, t, h;
};

}  // namespace etude
#endif

HWY_BEFORE_NAMESPACE();
namespace etude::HWY_NAMESPACE {

namespace {

template <class T>
HWY_INLINE T* token(const Heads& x, int64_t b, int64_t t) {
  return static_cast<T*>(x.data) + b * x.b + t * x.t;
}

/// H heads of one token, half a head at a time: (a, b) -> (a cos - b sin, b cos + a sin).
template <class X, class C>
HWY_INLINE void rotate_by_halves(const X* x, int64_t x_stride, const C* cos_E, const C* sin_E, bool inverse, int64_t H,
                                 int64_t E, X* y) {
  const int64_t half = E / 2;
  for_lanes(half, [&](int64_t i, auto lanes) {
    const V c = load_lanes(cos_E + i, lanes), sine = load_lanes(sin_E + half + i, lanes);
    const V s = inverse ? hn::Neg(sine) : sine;
    for (int64_t h = 0; h < H; ++h) {
      const X* from = x + h * x_stride + i;
      X* to = y + h * E + i;
      const V a = load_lanes(from, lanes), b = load_lanes(from + half, lanes);
      store_lanes(hn::NegMulAdd(b, s, a * c), to, lanes);
      store_lanes(hn::MulAdd(a, s, b * c), to + half, lanes);
    }
  });
}

/// The two halves of the lanes, exchanged.
HWY_INLINE V exchanged(V x) {
#if HWY_TARGET == HWY_SCALAR
  return x;
#else
  return hn::ConcatLowerUpper(Lanes(), x, x);
#endif
}

/// The same for heads that fill the lanes exactly: x cos + (x with its halves exchanged) sin.
template <class X, class C>
HWY_INLINE void rotate_whole(const X* x, int64_t x_stride, const C* cos_E, const C* sin_E, bool inverse, int64_t H,
                             int64_t E, X* y) {
  const V c = load(cos_E), s = inverse ? hn::Neg(load(sin_E)) : load(sin_E);
  for (int64_t h = 0; h < H; ++h) {
    const V x_h = load(x + h * x_stride);
    store(fma(exchanged(x_h), s, x_h * c), y + h * E);
  }
}

}  // namespace

/// Tokens first .. last-1 of all rows' T each, into contiguous y.
void rotate_tokens(const Heads& x, const Heads& cos, const Heads& sin, bool inverse, int64_t first, int64_t last,
                   int64_t T, int64_t H, int64_t E, void* y) {
  const bool whole = E == static_cast<int64_t>(hn::Lanes(Lanes()));
  with_type(cos.type, [&](auto angle) {
    with_type(x.type, [&](auto number) {
      using X = decltype(number);
      using C = decltype(angle);
      for (int64_t n = first; n < last; ++n) {
        const int64_t b = n / T, t = n % T;
        const X* from = token<X>(x, b, t);
        const C *c = token<C>(cos, b, t), *s = token<C>(sin, b, t);
        X* to = static_cast<X*>(y) + n * H * E;
        if (whole)
          rotate_whole(from, x.h, c, s, inverse, H, E, to);
        else
          rotate_by_halves(from, x.h, c, s, inverse, H, E, to);
      }
    });
  });
}

}  // namespace etude::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include "etude/base/torch_pch.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "etude/base/error.h"
#include "etude/tensor/paths.h"

namespace etude {
namespace {

HWY_EXPORT(rotate_tokens);

/// x with contiguous heads: itself or a copy.
Tensor with_heads(const Tensor& x_BTHE) {
  return x_BTHE.size(-1) == 1 || x_BTHE.stride(-1) == 1 ? x_BTHE : x_BTHE.contiguous();
}

/// x_BTHE, or angles [T, 1, E] that all rows share.
Heads heads_of(const Tensor& x) {
  return {const_cast<void*>(x.const_data_ptr()), x.scalar_type(), x.dim() == 4 ? x.stride(0) : 0, x.stride(-3),
          x.stride(-2)};
}

Tensor composed(const Tensor& x_BTHE, const Tensor& cos, const Tensor& sin, bool inverse) {
  // at::roll() would do, but has no `meta` kernel.
  const int64_t half = x_BTHE.size(-1) / 2;
  const Tensor rolled = at::cat({x_BTHE.narrow(-1, half, half), x_BTHE.narrow(-1, 0, half)}, -1);
  return at::addcmul(x_BTHE * cos, rolled, sin, inverse ? -1 : 1).to(x_BTHE.scalar_type());
}

}  // namespace

Tensor rotate_pairs(const Tensor& x_BTHE, const Tensor& cos, const Tensor& sin, bool inverse) {
  const int64_t B = x_BTHE.size(0), T = x_BTHE.size(1), H = x_BTHE.size(2), E = x_BTHE.size(3);
  ETUDE_CHECK(E % 2 == 0 && cos.size(-1) == E && sin.sizes() == cos.sizes() && cos.size(-3) == T &&
                  (cos.dim() == 3 || cos.size(0) == B) && sin.scalar_type() == cos.scalar_type(),
              "a rotation has an angle for each position and pair");
  const char* const why_not = why_not_rows({x_BTHE, cos, sin});
  took_path("rotary", why_not ? why_not : "own");
  if (why_not) return composed(x_BTHE, cos, sin, inverse);
  const Tensor x = with_heads(x_BTHE), y = at::empty({B, T, H, E}, x.options());
  const Tensor cosines = with_heads(cos), sines = with_heads(sin);
  const int64_t grain = std::max<int64_t>(1, kNumbersPerThread / std::max<int64_t>(1, H * E));
  at::parallel_for(0, B * T, grain, [&](int64_t first, int64_t last) {
    HWY_DYNAMIC_DISPATCH(rotate_tokens)
    (heads_of(x), heads_of(cosines), heads_of(sines), inverse, first, last, T, H, E, y.mutable_data_ptr());
  });
  return y;
}

}  // namespace etude

#endif
