// B batch, T time, H heads, E head width (even).

#include "etude/tensor/simd.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "etude/tensor/rotary_kernel.cpp"
#include <hwy/foreach_target.h>

#include "etude/tensor/rotary_kernel.h"
#include "etude/tensor/rows-inl.h"
#include "etude/tensor/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace etude::HWY_NAMESPACE {

namespace {

/// Half a head at a time: (a, b) -> (a cos - b sin, b cos + a sin).
template <class X, class C>
HWY_INLINE void rotate_by_halves(const Rows& heads, const C* cos_E, const C* sin_E, bool inverse, const Rows& to) {
  const int64_t half = heads.width / 2;
  for_lanes(half, [&](int64_t i, auto lanes) {
    const V c = load_lanes(cos_E + i, lanes), sine = load_lanes(sin_E + half + i, lanes);
    const V s = inverse ? hn::Neg(sine) : sine;
    for (int64_t h = 0; h < heads.count; ++h) {
      const X* from = row<X>(heads, h) + i;
      X* into = row<X>(to, h) + i;
      const V a = load_lanes(from, lanes), b = load_lanes(from + half, lanes);
      store_lanes(hn::NegMulAdd(b, s, a * c), into, lanes);
      store_lanes(hn::MulAdd(a, s, b * c), into + half, lanes);
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

/// Heads that fill the lanes exactly: x cos + (x with its halves exchanged) sin.
template <class X, class C>
HWY_INLINE void rotate_whole(const Rows& heads, const C* cos_E, const C* sin_E, bool inverse, const Rows& to) {
  const V c = load(cos_E), s = inverse ? hn::Neg(load(sin_E)) : load(sin_E);
  for (int64_t h = 0; h < heads.count; ++h) {
    const V x = load(row<X>(heads, h));
    store(fma(exchanged(x), s, x * c), row<X>(to, h));
  }
}

}  // namespace

/// The heads of one token by its row of cos and of sin.
void rotate_heads(const Rows& heads, const Rows& cos_E, const Rows& sin_E, bool inverse, const Rows& to) {
  with_type(cos_E.type, [&](auto turn) {
    with_type(heads.type, [&](auto number) {
      using X = decltype(number);
      const auto *c = row<decltype(turn)>(cos_E, 0), *s = row<decltype(turn)>(sin_E, 0);
      if (heads.width == static_cast<int64_t>(hn::Lanes(Lanes())))
        rotate_whole<X>(heads, c, s, inverse, to);
      else
        rotate_by_halves<X>(heads, c, s, inverse, to);
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

HWY_EXPORT(rotate_heads);

/// x with contiguous heads: itself or a copy.
Tensor with_heads(const Tensor& x_BTHE) {
  return x_BTHE.size(-1) == 1 || x_BTHE.stride(-1) == 1 ? x_BTHE : x_BTHE.contiguous();
}

/// `count` rows of a tensor, the first from its number `offset` on.
Rows rows_at(const Tensor& t, int64_t offset, int64_t count, int64_t width, int64_t stride) {
  auto* const bytes = static_cast<char*>(const_cast<void*>(t.const_data_ptr()));
  return {bytes + offset * static_cast<int64_t>(t.element_size()), t.scalar_type(), count, width, stride};
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
  const Tensor cos_BTE = with_heads(cos.squeeze(-2)).expand({B, T, E});
  const Tensor sin_BTE = with_heads(sin.squeeze(-2)).expand({B, T, E});
  const auto angles = [E](const Tensor& t_BTE, int64_t b, int64_t t) {
    return rows_at(t_BTE, b * t_BTE.stride(0) + t * t_BTE.stride(1), 1, E, E);
  };
  const int64_t grain = std::max<int64_t>(1, kNumbersPerThread / std::max<int64_t>(1, H * E));
  at::parallel_for(0, B * T, grain, [&](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) {
      const int64_t b = n / T, t = n % T;
      const Rows heads = rows_at(x, b * x.stride(0) + t * x.stride(1), H, E, x.stride(2));
      const Rows to = rows_at(y, n * H * E, H, E, E);
      HWY_DYNAMIC_DISPATCH(rotate_heads)
      (heads, angles(cos_BTE, b, t), angles(sin_BTE, b, t), inverse, to);
    }
  });
  return y;
}

}  // namespace etude

#endif
