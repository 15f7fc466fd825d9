// B batch, T time, H heads, E head width (even).

#include "etude/tensor/simd.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "etude/tensor/rotary_kernel.cpp"
#include <hwy/foreach_target.h>

#include "etude/tensor/rotary_kernel.h"
#include "etude/tensor/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace etude::HWY_NAMESPACE {

/// The heads of one token: (a, b) -> (a cos - b sin, b cos + a sin) with cos, sin of half a head each.
void rotate_heads(const Rows& heads, const Rows& cos, const Rows& sin, bool inverse, const Rows& to) {
  const int64_t half = heads.width / 2;
  with_type(cos.type, [&](auto turn) {
    with_type(heads.type, [&](auto number) {
      using X = decltype(number);
      const auto* cosine = row<decltype(turn)>(cos, 0);
      const auto* sine = row<decltype(turn)>(sin, 0);
      for_lanes(half, [&](int64_t i, auto lanes) {
        const V c = load_lanes(cosine + i, lanes), sine_i = load_lanes(sine + i, lanes);
        const V s = inverse ? hn::Neg(sine_i) : sine_i;
        for (int64_t h = 0; h < heads.count; ++h) {
          const X* from = row<X>(heads, h) + i;
          X* into = row<X>(to, h) + i;
          const V a = load_lanes(from, lanes), b = load_lanes(from + half, lanes);
          store_lanes(hn::NegMulAdd(b, s, a * c), into, lanes);
          store_lanes(hn::MulAdd(a, s, b * c), into + half, lanes);
        }
      });
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

/// Number `offset` of a tensor as a row of `width`.
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
  const int64_t B = x_BTHE.size(0), T = x_BTHE.size(1), H = x_BTHE.size(2), E = x_BTHE.size(3), half = E / 2;
  ETUDE_CHECK(E % 2 == 0 && cos.size(-1) == E && sin.sizes() == cos.sizes() && cos.size(-3) == T &&
                  (cos.dim() == 3 || cos.size(0) == B) && sin.scalar_type() == cos.scalar_type(),
              "a rotation has an angle for each position and pair");
  const char* const why_not = why_not_rows({x_BTHE, cos, sin});
  took_path("rotary", why_not ? why_not : "own");
  if (why_not) return composed(x_BTHE, cos, sin, inverse);
  const Tensor x = with_heads(x_BTHE), y = at::empty({B, T, H, E}, x.options());
  const Tensor cos_BTE = with_heads(cos.squeeze(-2)).expand({B, T, E});
  const Tensor sin_BTE = with_heads(sin.squeeze(-2)).expand({B, T, E});
  const auto half_row = [half](const Tensor& t_BTE, int64_t b, int64_t t, int64_t first) {
    return rows_at(t_BTE, b * t_BTE.stride(0) + t * t_BTE.stride(1) + first, 1, half, half);
  };
  const int64_t grain = std::max<int64_t>(1, kNumbersPerThread / std::max<int64_t>(1, H * E));
  at::parallel_for(0, B * T, grain, [&](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) {
      const int64_t b = n / T, t = n % T;
      const Rows heads = rows_at(x, b * x.stride(0) + t * x.stride(1), H, E, x.stride(2));
      const Rows to = rows_at(y, n * H * E, H, E, E);
      HWY_DYNAMIC_DISPATCH(rotate_heads)
      (heads, half_row(cos_BTE, b, t, 0), half_row(sin_BTE, b, t, half), inverse, to);
    }
  });
  return y;
}

}  // namespace etude

#endif
