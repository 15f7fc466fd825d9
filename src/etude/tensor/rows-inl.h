// Loops over rows.h's rows by lanes of float32, for each instruction set: see simd.h.

#if defined(ETUDE_TENSOR_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ETUDE_TENSOR_ROWS_INL_H_
#undef ETUDE_TENSOR_ROWS_INL_H_
#else
#define ETUDE_TENSOR_ROWS_INL_H_
#endif

#include "etude/tensor/rows.h"
#include "etude/tensor/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace etude::HWY_NAMESPACE {

template <class T>
HWY_INLINE T* row(const Rows& rows, int64_t i) {
  return static_cast<T*>(rows.data) + i * rows.stride;
}

/// f(T()) with T the type of numbers.
template <class F>
HWY_INLINE void with_type(at::ScalarType type, const F& f) {
  if (type == at::ScalarType::BFloat16)
    f(c10::BFloat16());
  else
    f(float());
}

/// How many lanes count: all that there are, known to the compiler, or the first n, n below their number.
struct AllLanes {};
using FirstLanes = size_t;

template <class T>
HWY_INLINE V load_lanes(const T* from, AllLanes) {
  return load(from);
}
template <class T>
HWY_INLINE V load_lanes(const T* from, FirstLanes n) {
  return load_some(from, n);
}
template <class T>
HWY_INLINE void store_lanes(V value, T* to, AllLanes) {
  store(value, to);
}
template <class T>
HWY_INLINE void store_lanes(V value, T* to, FirstLanes n) {
  store_some(value, to, n);
}
/// Zero in the lanes that do not count.
HWY_INLINE V only(V value, AllLanes) { return value; }
HWY_INLINE V only(V value, FirstLanes n) { return hn::IfThenElseZero(hn::FirstN(Lanes(), n), value); }

/// f(i, lanes) for the numbers i and following of 0 .. width-1, as many as `lanes` says.
template <class F>
HWY_INLINE void for_lanes(int64_t width, const F& f) {
  const auto step = static_cast<int64_t>(hn::Lanes(Lanes()));
  int64_t i = 0;
  for (; i + step <= width; i += step) f(i, AllLanes());
  if (i < width) f(i, static_cast<FirstLanes>(width - i));
}

HWY_INLINE float sum_of_lanes(V value) { return hn::GetLane(hn::SumOfLanes(Lanes(), value)); }

/// A sum over all numbers: f(sum, i, lanes) adds those at i and following, zero for lanes that do not count. Four sums
/// that do not wait for each other.
template <class F>
HWY_INLINE float sum_over_lanes(int64_t width, const F& f) {
  const auto step = static_cast<int64_t>(hn::Lanes(Lanes()));
  V a = hn::Zero(Lanes()), b = a, c = a, d = a;
  int64_t i = 0;
  for (; i + 4 * step <= width; i += 4 * step) {
    a = f(a, i, AllLanes());
    b = f(b, i + step, AllLanes());
    c = f(c, i + 2 * step, AllLanes());
    d = f(d, i + 3 * step, AllLanes());
  }
  for (; i + step <= width; i += step) a = f(a, i, AllLanes());
  if (i < width) a = f(a, i, static_cast<FirstLanes>(width - i));
  return sum_of_lanes((a + b) + (c + d));
}

}  // namespace etude::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
