#include "etude/tensor/simd.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "etude/tensor/cross_entropy_kernels.cpp"
#include <hwy/foreach_target.h>

#include <algorithm>
#include <cstring>

#include "etude/tensor/cross_entropy_kernels.h"
#include "etude/tensor/rows-inl.h"
#include "etude/tensor/simd_math-inl.h"

#include <hwy/contrib/math/math-inl.h>

HWY_BEFORE_NAMESPACE();
namespace etude::HWY_NAMESPACE {

using c10::BFloat16;

constexpr int64_t kLanes = static_cast<int64_t>(hn::MaxLanes(Lanes()));
constexpr int64_t kVectors = kHeadTile / kLanes;
static_assert(kHeadTile % kLanes == 0);

void largest(const float* logits, int64_t rows, float* largest_K) {
  V most[kVectors];
  for (V& v : most) v = set(-1e30F);
  for (int64_t p = 0; p < rows; ++p)
    for (int64_t i = 0; i < kVectors; ++i) most[i] = hn::Max(most[i], load(logits + p * kHeadTile + i * kLanes));
  for (int64_t i = 0; i < kVectors; ++i) store(most[i], largest_K + i * kLanes);
}

/// Goes through a tile; keep(p, i, e) gets vector i of row p.
template <bool kTotal, class Keep>
HWY_INLINE void for_exponentials(const Exponentials& tile, const Keep& keep) {
  V reference[kVectors], sum[kVectors], total[kVectors];
  for (int64_t i = 0; i < kVectors; ++i) {
    reference[i] = load(tile.reference_K + i * kLanes);
    sum[i] = load(tile.sum_K + i * kLanes);
    if (kTotal) total[i] = load(tile.total_K + i * kLanes);
  }
  for (int64_t p = 0; p < tile.rows; ++p)
    for (int64_t i = 0; i < kVectors; ++i) {
      const V logit = load(tile.logits_PK + p * kHeadTile + i * kLanes);
      const V e = exp_of(logit - reference[i]);
      sum[i] = sum[i] + e;
      if (kTotal) total[i] = total[i] + logit;
      keep(p, i, e);
    }
  for (int64_t i = 0; i < kVectors; ++i) {
    store(sum[i], tile.sum_K + i * kLanes);
    if (kTotal) store(total[i], tile.total_K + i * kLanes);
  }
}

template <class Keep>
HWY_INLINE void with_total(const Exponentials& tile, const Keep& keep) {
  if (tile.total_K)
    for_exponentials<true>(tile, keep);
  else
    for_exponentials<false>(tile, keep);
}

void exponentials_float(const Exponentials& tile, float* e, int64_t stride) {
  if (!e) return with_total(tile, [](int64_t, int64_t, V) {});
  with_total(tile, [=](int64_t p, int64_t i, V value) { store(value, e + p * stride + i * kLanes); });
}

void exponentials_bfloat16(const Exponentials& tile, BFloat16* e, int64_t stride, BFloat16* pairs) {
  if (!e) return with_total(tile, [](int64_t, int64_t, V) {});
  const hn::RebindToUnsigned<Lanes> bits;
  auto* const words = reinterpret_cast<uint32_t*>(pairs);
  with_total(tile, [&](int64_t p, int64_t i, V value) {
    const auto half = to_bfloat16(value);
    hn::StoreU(half, hn::Rebind<uint16_t, Lanes>(), reinterpret_cast<uint16_t*>(e + p * stride + i * kLanes));
    // The first of a pair is the lower half of the word; the second joins it there.
    uint32_t* const word = words + p / 2 * kHeadTile + i * kLanes;
    const auto wide = hn::PromoteTo(bits, half);
    hn::StoreU(p % 2 == 0 ? wide : hn::Or(hn::LoadU(bits, word), hn::ShiftLeft<16>(wide)), bits, word);
  });
}

void join(const float* reference, const float* sum, int64_t parts, int64_t stride, int64_t count, float* lse) {
  for_lanes(count, [&](int64_t i, auto lanes) {
    V most = load_lanes(reference + i, lanes);
    for (int64_t t = 1; t < parts; ++t) most = hn::Max(most, load_lanes(reference + t * stride + i, lanes));
    V all = hn::Zero(Lanes());
    for (int64_t t = 0; t < parts; ++t)
      all = fma(load_lanes(sum + t * stride + i, lanes), exp_of(load_lanes(reference + t * stride + i, lanes) - most),
                all);
    // Added and taken off again, a NaN of the sum stays one.
    const V log = hn::Log(Lanes(), all);
    store_lanes(hn::IfThenElse(hn::IsNaN(all), all, most + log), lse + i, lanes);
  });
}

void exponentials_of(const float* a, const float* b, const float* scale, int64_t count, float* to) {
  for_lanes(count, [&](int64_t i, auto lanes) {
    const V difference = load_lanes(a + i, lanes) - load_lanes(b + i, lanes);
    store_lanes(load_lanes(scale + i, lanes) * exp_of(difference), to + i, lanes);
  });
}

constexpr int64_t kColumns = PackedMatrix::kPanel;

template <class From>
void scaled_rows(const MatrixView& x, const float* factor, int64_t padded_rows, float* panel) {
  for (int64_t m = 0; m < x.rows; ++m) {
    const From* from = static_cast<const From*>(x.data) + m * x.row_stride;
    float* to = panel + m * kColumns;
    const V f = set(factor[m]);
    for_lanes(x.cols, [&](int64_t i, auto lanes) { store_lanes(f * load_lanes(from + i, lanes), to + i, lanes); });
    std::fill(to + x.cols, to + kColumns, 0.0F);
  }
  std::fill(panel + x.rows * kColumns, panel + padded_rows * kColumns, 0.0F);
}

template <class From>
void scaled_pairs(const MatrixView& x, const float* factor, int64_t padded_rows, BFloat16* panel) {
  const hn::RebindToUnsigned<Lanes> bits;
  HWY_ALIGN uint32_t words[kLanes];
  for (int64_t m = 0; m < padded_rows; m += 2) {
    const From* first = static_cast<const From*>(x.data) + m * x.row_stride;
    const bool has_first = m < x.rows, has_second = m + 1 < x.rows;
    const V f = set(has_first ? factor[m] : 0), s = set(has_second ? factor[m + 1] : 0);
    auto* const to = reinterpret_cast<uint32_t*>(panel) + m / 2 * kColumns;
    if (!has_first) {
      std::fill(to, to + kColumns, 0U);
      continue;
    }
    const From* second = has_second ? first + x.row_stride : first;
    for_lanes(x.cols, [&](int64_t i, auto lanes) {
      const auto low = hn::PromoteTo(bits, to_bfloat16(f * load_lanes(first + i, lanes)));
      const auto high = hn::PromoteTo(bits, to_bfloat16(s * load_lanes(second + i, lanes)));
      const auto both = hn::Or(low, hn::ShiftLeft<16>(high));
      hn::Store(both, bits, words);
      std::memcpy(to + i, words, static_cast<size_t>(std::min(kLanes, x.cols - i)) * sizeof(uint32_t));
    });
    std::fill(to + x.cols, to + kColumns, 0U);
  }
}

void scaled_panel_float(const MatrixView& x, const float* factor, int64_t padded_rows, float* panel) {
  with_type(x.type, [&](auto from) { scaled_rows<decltype(from)>(x, factor, padded_rows, panel); });
}

void scaled_panel_bfloat16(const MatrixView& x, const float* factor, int64_t padded_rows, BFloat16* panel) {
  with_type(x.type, [&](auto from) { scaled_pairs<decltype(from)>(x, factor, padded_rows, panel); });
}

void add_scaled_of(float* to, const void* from, at::ScalarType type, float factor, int64_t count) {
  const V f = set(factor);
  with_type(type, [&](auto number) {
    const auto* x = static_cast<const decltype(number)*>(from);
    for_lanes(count, [&](int64_t i, auto lanes) {
      store_lanes(fma(f, load_lanes(x + i, lanes), load_lanes(to + i, lanes)), to + i, lanes);
    });
  });
}

template <class T>
float dot_of(const T* a, const float* b, int64_t count) {
  return sum_over_lanes(count, [&](V sum, int64_t i, auto lanes) {
    return fma(load_lanes(a + i, lanes), load_lanes(b + i, lanes), sum);
  });
}
float dot_float(const float* a, const float* b, int64_t count) { return dot_of(a, b, count); }
float dot_bfloat16(const BFloat16* a, const float* b, int64_t count) { return dot_of(a, b, count); }

}  // namespace etude::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace etude {

using c10::BFloat16;

HWY_EXPORT(largest);
HWY_EXPORT(exponentials_float);
HWY_EXPORT(exponentials_bfloat16);
HWY_EXPORT(join);
HWY_EXPORT(exponentials_of);
HWY_EXPORT(scaled_panel_float);
HWY_EXPORT(scaled_panel_bfloat16);
HWY_EXPORT(add_scaled_of);
HWY_EXPORT(dot_float);
HWY_EXPORT(dot_bfloat16);

void largest_logits(const float* logits_PK, int64_t rows, float* largest_K) {
  HWY_DYNAMIC_DISPATCH(largest)(logits_PK, rows, largest_K);
}
void exponentials(const Exponentials& tile, float* e_PK, int64_t stride) {
  HWY_DYNAMIC_DISPATCH(exponentials_float)(tile, e_PK, stride);
}
void exponentials(const Exponentials& tile, BFloat16* e_PK, int64_t stride, BFloat16* pairs) {
  HWY_DYNAMIC_DISPATCH(exponentials_bfloat16)(tile, e_PK, stride, pairs);
}
void join_softmaxes(const float* reference, const float* sum, int64_t parts, int64_t stride, int64_t count,
                    float* lse) {
  HWY_DYNAMIC_DISPATCH(join)(reference, sum, parts, stride, count, lse);
}
void scaled_exponentials(const float* a, const float* b, const float* scale, int64_t count, float* to) {
  HWY_DYNAMIC_DISPATCH(exponentials_of)(a, b, scale, count, to);
}
void scaled_panel(const MatrixView& x, const float* factor, int64_t padded_rows, float* panel) {
  HWY_DYNAMIC_DISPATCH(scaled_panel_float)(x, factor, padded_rows, panel);
}
void scaled_panel(const MatrixView& x, const float* factor, int64_t padded_rows, BFloat16* panel) {
  HWY_DYNAMIC_DISPATCH(scaled_panel_bfloat16)(x, factor, padded_rows, panel);
}
void add_scaled(float* to, const void* from, at::ScalarType type, float factor, int64_t count) {
  HWY_DYNAMIC_DISPATCH(add_scaled_of)(to, from, type, factor, count);
}
float dot(const float* a, const float* b, int64_t count) { return HWY_DYNAMIC_DISPATCH(dot_float)(a, b, count); }
float dot(const BFloat16* a, const float* b, int64_t count) { return HWY_DYNAMIC_DISPATCH(dot_bfloat16)(a, b, count); }

}  // namespace etude
#endif
