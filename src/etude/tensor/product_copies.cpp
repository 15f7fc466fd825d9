// Operands of block products as the kernels read them: converted, transposed, interleaved.

#include "etude/tensor/simd.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "etude/tensor/product_copies.cpp"
#include <hwy/foreach_target.h>

#include <algorithm>
#include <cstring>

#include "etude/tensor/product.h"
#include "etude/tensor/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace etude::HWY_NAMESPACE {

using c10::BFloat16;

template <class From, class To>
void convert(const From* from, To* to, int64_t n) {
  if constexpr (std::is_same_v<From, To>) {
    std::memcpy(to, from, static_cast<size_t>(n) * sizeof(To));
  } else {
    const auto wide = static_cast<int64_t>(hn::Lanes(Lanes()));
    int64_t i = 0;
    for (; i + wide <= n; i += wide) store(load(from + i), to + i);
    for (; i < n; ++i) to[i] = static_cast<To>(static_cast<float>(from[i]));
  }
}

/// to[c][r] = from[r][c] for 32-bit values. Sixteen rows of the source at a time fill lines of the destination.
void transpose(const uint32_t* from, int64_t from_stride, uint32_t* to, int64_t to_stride, int64_t rows, int64_t cols) {
  int64_t whole_rows = 0, whole_cols = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::FixedTag<uint32_t, 4> four;
  const hn::Repartition<uint64_t, decltype(four)> two;
  whole_rows = rows / 4 * 4;
  whole_cols = cols / 4 * 4;
  constexpr int64_t kLine = 16;
  for (int64_t r0 = 0; r0 < whole_rows; r0 += kLine)
    for (int64_t c = 0; c < whole_cols; c += 4)
      for (int64_t r = r0; r < std::min(r0 + kLine, whole_rows); r += 4) {
        const uint32_t* at = from + r * from_stride + c;
        const auto r0v = hn::LoadU(four, at), r1v = hn::LoadU(four, at + from_stride);
        const auto r2v = hn::LoadU(four, at + 2 * from_stride), r3v = hn::LoadU(four, at + 3 * from_stride);
        const auto low01 = hn::BitCast(two, hn::InterleaveLower(four, r0v, r1v));
        const auto low23 = hn::BitCast(two, hn::InterleaveLower(four, r2v, r3v));
        const auto high01 = hn::BitCast(two, hn::InterleaveUpper(four, r0v, r1v));
        const auto high23 = hn::BitCast(two, hn::InterleaveUpper(four, r2v, r3v));
        uint32_t* out = to + c * to_stride + r;
        hn::StoreU(hn::BitCast(four, hn::InterleaveLower(two, low01, low23)), four, out);
        hn::StoreU(hn::BitCast(four, hn::InterleaveUpper(two, low01, low23)), four, out + to_stride);
        hn::StoreU(hn::BitCast(four, hn::InterleaveLower(two, high01, high23)), four, out + 2 * to_stride);
        hn::StoreU(hn::BitCast(four, hn::InterleaveUpper(two, high01, high23)), four, out + 3 * to_stride);
      }
#endif
  for (int64_t c = 0; c < cols; ++c)
    for (int64_t r = c < whole_cols ? whole_rows : 0; r < rows; ++r) to[c * to_stride + r] = from[r * from_stride + c];
}

/// Pairs (a[i], b[i]) in bfloat16; b may be null for zeros.
template <class From>
void interleave(const From* a, const From* b, BFloat16* to, int64_t n) {
  auto* const pairs = reinterpret_cast<uint32_t*>(to);
  int64_t i = 0;
  const auto wide = static_cast<int64_t>(hn::Lanes(Lanes()));
  const hn::RebindToUnsigned<Lanes> bits;
  for (; b && i + wide <= n; i += wide) {
    const auto low = hn::PromoteTo(bits, to_bfloat16(load(a + i)));
    const auto high = hn::PromoteTo(bits, to_bfloat16(load(b + i)));
    hn::StoreU(hn::Or(low, hn::ShiftLeft<16>(high)), bits, pairs + i);
  }
  for (; i < n; ++i) {
    const BFloat16 pair[2] = {BFloat16(static_cast<float>(a[i])), b ? BFloat16(static_cast<float>(b[i])) : BFloat16(0)};
    std::memcpy(pairs + i, pair, sizeof(pair));
  }
}

template <class From>
const From* at(const MatrixView& m, int64_t r, int64_t c) {
  return static_cast<const From*>(m.data) + r * m.row_stride + c * m.col_stride;
}

template <class From, class To>
void copy_each(const MatrixView& m, To* to, int64_t stride) {
  for (int64_t r = 0; r < m.rows; ++r)
    for (int64_t c = 0; c < m.cols; ++c) to[r * stride + c] = static_cast<To>(static_cast<float>(*at<From>(m, r, c)));
}

/// Rows from columns: pairs of columns are interleaved to 32-bit values, and those transposed.
template <class From>
void transposed_rows(const MatrixView& m, BFloat16* to, int64_t stride) {
  constexpr int64_t kPairs = 16, kRows = 128;
  HWY_ALIGN uint32_t pairs[kPairs * kRows];
  for (int64_t c = 0; c < m.cols; c += 2 * kPairs) {
    const int64_t cols = std::min(2 * kPairs, m.cols - c), count = cols / 2;
    for (int64_t r = 0; r < m.rows; r += kRows) {
      const int64_t rows = std::min(kRows, m.rows - r);
      for (int64_t p = 0; p < count; ++p)
        interleave(at<From>(m, r, c + 2 * p), at<From>(m, r, c + 2 * p + 1),
                   reinterpret_cast<BFloat16*>(pairs + p * kRows), rows);
      BFloat16* out = to + r * stride + c;
      if (stride % 2 == 0 && reinterpret_cast<uintptr_t>(out) % 4 == 0)
        transpose(pairs, kRows, reinterpret_cast<uint32_t*>(out), stride / 2, count, rows);
      else
        for (int64_t i = 0; i < rows; ++i)
          for (int64_t p = 0; p < count; ++p) std::memcpy(out + i * stride + 2 * p, pairs + p * kRows + i, 4);
      if (cols % 2 != 0)
        for (int64_t i = 0; i < rows; ++i)
          out[i * stride + cols - 1] = BFloat16(static_cast<float>(*at<From>(m, r + i, c + cols - 1)));
    }
  }
}

template <class From, class To>
void rows_of_type(const MatrixView& m, To* to, int64_t stride, int64_t padded_cols) {
  if (m.col_stride == 1) {
    for (int64_t r = 0; r < m.rows; ++r) convert(at<From>(m, r, 0), to + r * stride, m.cols);
  } else if (m.row_stride == 1 && std::is_same_v<To, BFloat16>) {
    if constexpr (std::is_same_v<To, BFloat16>) transposed_rows<From>(m, to, stride);
  } else if (m.row_stride == 1 && std::is_same_v<From, float>) {
    transpose(static_cast<const uint32_t*>(m.data), m.col_stride, reinterpret_cast<uint32_t*>(to), stride, m.cols,
              m.rows);
  } else {
    copy_each<From>(m, to, stride);
  }
  for (int64_t r = 0; padded_cols > m.cols && r < m.rows; ++r)
    std::fill(to + r * stride + m.cols, to + r * stride + padded_cols, To(0));
}

void rows_to_float(const MatrixView& m, float* to, int64_t stride, int64_t padded_cols) {
  if (m.type == at::kFloat)
    rows_of_type<float>(m, to, stride, padded_cols);
  else
    rows_of_type<BFloat16>(m, to, stride, padded_cols);
}

void rows_to_bfloat16(const MatrixView& m, BFloat16* to, int64_t stride, int64_t padded_cols) {
  if (m.type == at::kFloat)
    rows_of_type<float>(m, to, stride, padded_cols);
  else
    rows_of_type<BFloat16>(m, to, stride, padded_cols);
}

/// Pairs of rows interleaved. Where columns are contiguous, pairs lie side by side already: they are converted, and
/// transposed as 32-bit values.
template <class From>
void pairs_of_type(const MatrixView& m, BFloat16* to, int64_t stride, int64_t padded_cols) {
  if (m.row_stride == 1 && m.col_stride != 1) {
    constexpr int64_t kRows = 128, kCols = 16;
    HWY_ALIGN BFloat16 columns[kRows * kCols];
    for (int64_t r = 0; r < m.rows; r += kRows) {
      const int64_t rows = std::min(kRows, m.rows - r), pairs = (rows + 1) / 2;
      for (int64_t c = 0; c < m.cols; c += kCols) {
        const int64_t cols = std::min(kCols, m.cols - c);
        for (int64_t i = 0; i < cols; ++i) {
          convert(at<From>(m, r, c + i), columns + i * kRows, rows);
          if (rows % 2 != 0) columns[i * kRows + rows] = BFloat16(0);
        }
        transpose(reinterpret_cast<const uint32_t*>(columns), kRows / 2,
                  reinterpret_cast<uint32_t*>(to) + (r / 2) * stride + c, stride, cols, pairs);
      }
    }
  } else {
    for (int64_t r = 0; r < m.rows; r += 2) {
      const bool has_second = r + 1 < m.rows;
      BFloat16* out = to + r * stride;
      if (m.col_stride == 1) {
        interleave(at<From>(m, r, 0), has_second ? at<From>(m, r + 1, 0) : nullptr, out, m.cols);
      } else {
        for (int64_t c = 0; c < m.cols; ++c)
          interleave(at<From>(m, r, c), has_second ? at<From>(m, r + 1, c) : nullptr, out + 2 * c, 1);
      }
    }
  }
  for (int64_t r = 0; padded_cols > m.cols && r < m.rows; r += 2)
    std::fill(to + r * stride + 2 * m.cols, to + r * stride + 2 * padded_cols, BFloat16(0));
}

void pairs_to_bfloat16(const MatrixView& m, BFloat16* to, int64_t stride, int64_t padded_cols) {
  if (m.type == at::kFloat)
    pairs_of_type<float>(m, to, stride, padded_cols);
  else
    pairs_of_type<BFloat16>(m, to, stride, padded_cols);
}

}  // namespace etude::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace etude {

HWY_EXPORT(rows_to_float);
HWY_EXPORT(rows_to_bfloat16);
HWY_EXPORT(pairs_to_bfloat16);

void copy_rows(const MatrixView& from, float* to, int64_t stride, int64_t padded_cols) {
  HWY_DYNAMIC_DISPATCH(rows_to_float)(from, to, stride, padded_cols);
}
void copy_rows(const MatrixView& from, c10::BFloat16* to, int64_t stride, int64_t padded_cols) {
  HWY_DYNAMIC_DISPATCH(rows_to_bfloat16)(from, to, stride, padded_cols);
}
void copy_panel(const MatrixView& from, float* to, int64_t stride, int64_t padded_cols) {
  copy_rows(from, to, stride, padded_cols);
}
void copy_panel(const MatrixView& from, c10::BFloat16* to, int64_t stride, int64_t padded_cols) {
  HWY_DYNAMIC_DISPATCH(pairs_to_bfloat16)(from, to, stride, padded_cols);
}

}  // namespace etude
#endif
