// Loads and stores of float32 and bfloat16 as lanes of float32, for each instruction set: see simd.h.

#if defined(ETUDE_TENSOR_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ETUDE_TENSOR_SIMD_INL_H_
#undef ETUDE_TENSOR_SIMD_INL_H_
#else
#define ETUDE_TENSOR_SIMD_INL_H_
#endif

#include <c10/util/BFloat16.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace etude::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using Lanes = hn::ScalableTag<float>;
using V = hn::Vec<Lanes>;

/// As many lanes as there are.
HWY_INLINE V load(const float* from) { return hn::LoadU(Lanes(), from); }
HWY_INLINE V load(const c10::BFloat16* from) {
  const hn::Rebind<uint16_t, Lanes> narrow;
  const hn::RebindToUnsigned<Lanes> bits;
  const auto halves = hn::LoadU(narrow, reinterpret_cast<const uint16_t*>(from));
  return hn::BitCast(Lanes(), hn::ShiftLeft<16>(hn::PromoteTo(bits, halves)));
}

/// The upper halves after rounding to nearest, ties to even; NaN stays NaN.
HWY_INLINE hn::Vec<hn::Rebind<uint16_t, Lanes>> to_bfloat16(V value) {
  const hn::RebindToUnsigned<Lanes> bits;
  const auto u = hn::BitCast(bits, value);
  const auto odd = hn::And(hn::ShiftRight<16>(u), hn::Set(bits, 1));
  const auto rounded = hn::ShiftRight<16>(hn::Add(u, hn::Add(odd, hn::Set(bits, 0x7FFF))));
  const auto is_nan = hn::RebindMask(bits, hn::IsNaN(value));
  const auto kept = hn::IfThenElse(is_nan, hn::Set(bits, 0x7FC0), rounded);
  return hn::TruncateTo(hn::Rebind<uint16_t, Lanes>(), kept);
}

HWY_INLINE void store(V value, float* to) { hn::StoreU(value, Lanes(), to); }
HWY_INLINE void store(V value, c10::BFloat16* to) {
  hn::StoreU(to_bfloat16(value), hn::Rebind<uint16_t, Lanes>(), reinterpret_cast<uint16_t*>(to));
}

/// The first n lanes, n below their number; the others are zero, and nothing beyond is read.
template <class T>
HWY_INLINE V load_some(const T* from, size_t n) {
  HWY_ALIGN T some[hn::MaxLanes(Lanes())] = {};
  for (size_t i = 0; i < n; ++i) some[i] = from[i];
  return load(some);
}
HWY_INLINE V load_some(const float* from, size_t n) {
  return hn::MaskedLoad(hn::FirstN(Lanes(), n), Lanes(), from);
}
/// The first n lanes; nothing beyond is written.
template <class T>
HWY_INLINE void store_some(V value, T* to, size_t n) {
  HWY_ALIGN T some[hn::MaxLanes(Lanes())];
  store(value, some);
  for (size_t i = 0; i < n; ++i) to[i] = some[i];
}
HWY_INLINE void store_some(V value, float* to, size_t n) {
  hn::BlendedStore(value, hn::FirstN(Lanes(), n), Lanes(), to);
}

}  // namespace etude::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
