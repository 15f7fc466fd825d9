// N rows, O outputs.

#include "etude/tensor/simd.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "etude/tensor/linear_blocks.cpp"
#include <hwy/foreach_target.h>

#include "etude/tensor/linear_blocks.h"
#include "etude/tensor/rows-inl.h"
#include "etude/tensor/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace etude::HWY_NAMESPACE {

void store_rows(const Rows& from, const float* bias, const Rows& residual, const Rows& to) {
  with_type(to.type, [&](auto out) {
    with_type(residual.type, [&](auto added) {
      for (int64_t r = 0; r < from.count; ++r) {
        const float* block = row<float>(from, r);
        const auto* past = residual.data ? row<decltype(added)>(residual, r) : nullptr;
        auto* y = row<decltype(out)>(to, r);
        for_lanes(from.width, [&](int64_t i, auto lanes) {
          V value = load_lanes(block + i, lanes);
          if (bias) value = value + load_lanes(bias + i, lanes);
          if (past) value = value + load_lanes(past + i, lanes);
          store_lanes(value, y + i, lanes);
        });
      }
    });
  });
}

/// d/dgate = gradient up silu'(gate) with silu'(x) = s + x s (1 - s), d/dup = gradient silu(gate).
void swiglu_rows(const Rows& gradient, const Rows& gate, const Rows& up, const Rows& gate_gradient,
                 const Rows& up_gradient, const Rows& hidden) {
  with_type(gate.type, [&](auto kept) {
    using T = decltype(kept);
    for (int64_t r = 0; r < gradient.count; ++r) {
      const float* g = row<float>(gradient, r);
      const T *a = row<T>(gate, r), *b = row<T>(up, r);
      T *to_a = row<T>(gate_gradient, r), *to_b = row<T>(up_gradient, r), *to_hidden = row<T>(hidden, r);
      for_lanes(gradient.width, [&](int64_t i, auto lanes) {
        const V g_i = load_lanes(g + i, lanes), a_i = load_lanes(a + i, lanes), b_i = load_lanes(b + i, lanes);
        const V s = sigmoid(a_i), silu = a_i * s;
        store_lanes(g_i * b_i * fma(silu, set(1.0F) - s, s), to_a + i, lanes);
        store_lanes(g_i * silu, to_b + i, lanes);
        store_lanes(silu * b_i, to_hidden + i, lanes);
      });
    }
  });
}

/// sums[0 .. width-1] of the rows, in runs of rows whose sums are added: fewer roundings in a row.
void sum_columns(const Rows& x, float* sums) {
  constexpr int64_t kRun = 256;
  with_type(x.type, [&](auto in) {
    for_lanes(x.width, [&](int64_t i, auto lanes) {
      V all = hn::Zero(Lanes());
      for (int64_t first = 0; first < x.count; first += kRun) {
        V run = hn::Zero(Lanes());
        for (int64_t r = first; r < std::min(first + kRun, x.count); ++r)
          run = run + load_lanes(row<decltype(in)>(x, r) + i, lanes);
        all = all + run;
      }
      store_lanes(all, sums + i, lanes);
    });
  });
}

}  // namespace etude::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include <ATen/Functions.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "etude/base/error.h"

namespace etude {
namespace {

HWY_EXPORT(store_rows);
HWY_EXPORT(swiglu_rows);
HWY_EXPORT(sum_columns);

Rows part(const Rows& all, int64_t row, int64_t col, int64_t rows, int64_t cols) {
  if (!all.data) return all;
  Rows some = all;
  const auto bytes = static_cast<int64_t>(c10::elementSize(all.type));
  some.data = static_cast<char*>(all.data) + (row * all.stride + col) * bytes;
  some.count = rows;
  some.width = cols;
  return some;
}

/// A copy of `from` at `row` and `col` of `to`, by several threads.
void copy_into(const MatrixView& from, const Tensor& to, int64_t row, int64_t col) {
  const int64_t stride = to.size(1), start = row * stride + col;
  at::parallel_for(0, from.rows, std::max<int64_t>(1, kNumbersPerThread / std::max<int64_t>(1, from.cols)),
                   [&](int64_t first, int64_t last) {
                     const MatrixView some = from.slice(first, last - first);
                     const int64_t offset = start + first * stride;
                     if (to.scalar_type() == at::kFloat)
                       copy_rows(some, to.mutable_data_ptr<float>() + offset, stride, from.cols);
                     else
                       copy_rows(some, to.mutable_data_ptr<c10::BFloat16>() + offset, stride, from.cols);
                   });
}

}  // namespace

MatrixView view_of(const Rows& rows) { return {rows.data, rows.type, rows.count, rows.width, rows.stride, 1}; }

Rows rows_of(const ProductBlock& block) { return {block.data, at::kFloat, block.rows, block.cols, block.stride}; }

Rows part_at(const Rows& all, const ProductBlock& block, int64_t rows_later, int64_t cols_later) {
  return part(all, block.row + rows_later, block.col + cols_later, block.rows, block.cols);
}

ProductBlock columns_of(const ProductBlock& block, int64_t first, int64_t count, int64_t first_col) {
  return {block.row, block.col + first - first_col, block.rows, count, block.data + first, block.stride};
}

void store_block(const ProductBlock& block, const float* bias, const Rows& residual, const Rows& to) {
  HWY_DYNAMIC_DISPATCH(store_rows)(rows_of(block), bias, residual, to);
}

void swiglu_block(const ProductBlock& gradient, const SwigluRows& whole) {
  HWY_DYNAMIC_DISPATCH(swiglu_rows)
  (rows_of(gradient), part_at(whole.gate, gradient), part_at(whole.up, gradient),
   part_at(whole.gate_gradient, gradient), part_at(whole.up_gradient, gradient), part_at(whole.hidden, gradient));
}

Tensor column_sums(const MatrixView& x) {
  ETUDE_CHECK(x.col_stride == 1, "rows are contiguous");
  // Groups of columns are a thread's; a few lines of the cache wide.
  constexpr int64_t kGroup = 64;
  const Tensor sums = at::empty({x.cols}, at::kFloat);
  const Rows all{const_cast<void*>(x.data), x.type, x.rows, x.cols, x.row_stride};
  at::parallel_for(0, (x.cols + kGroup - 1) / kGroup,
                   std::max<int64_t>(1, kNumbersPerThread / (kGroup * std::max<int64_t>(1, x.rows))),
                   [&](int64_t first, int64_t last) {
                     for (int64_t col = first * kGroup; col < std::min(last * kGroup, x.cols); col += kGroup)
                       HWY_DYNAMIC_DISPATCH(sum_columns)
                     (part(all, 0, col, x.rows, std::min(kGroup, x.cols - col)), sums.mutable_data_ptr<float>() + col);
                   });
  return sums;
}

Tensor beside_each_other(const std::vector<Tensor>& parts, const std::vector<int64_t>& cols, int64_t rows,
                         at::ScalarType type) {
  int64_t width = 0, col = 0;
  for (const int64_t n : cols) width += n;
  const Tensor all = at::empty({rows, width}, at::TensorOptions().dtype(type));
  for (size_t i = 0; i < parts.size(); col += cols[i++]) {
    if (!parts[i].defined()) {
      all.narrow(1, col, cols[i]).zero_();
      continue;
    }
    const Tensor from = with_rows(parts[i]);
    copy_into(view_of(rows_of(from)), all, 0, col);
  }
  return all;
}

Tensor below_each_other(const std::vector<Tensor>& parts, at::ScalarType type) {
  int64_t rows = 0, row = 0;
  for (const Tensor& t : parts) rows += t.size(0);
  const Tensor all = at::empty({rows, parts.at(0).size(1)}, at::TensorOptions().dtype(type));
  for (const Tensor& t : parts) {
    copy_into(MatrixView::of(t), all, row, 0);
    row += t.size(0);
  }
  return all;
}

}  // namespace etude

#endif
