#pragma once
// What is done to blocks of the products of linear layers, and to the matrices that they read.
//
// N rows, O outputs.

#include <vector>

#include "etude/tensor/product.h"
#include "etude/tensor/rows.h"

namespace etude {

MatrixView view_of(const Rows& rows);
Rows rows_of(const ProductBlock& block);
/// The part where the block lies, moved by so many rows and columns. Of no data: none.
Rows part_at(const Rows& all, const ProductBlock& block, int64_t rows_later = 0, int64_t cols_later = 0);
/// The block's columns first .. first+count-1, with their place counted from `first_col` on.
ProductBlock columns_of(const ProductBlock& block, int64_t first, int64_t count, int64_t first_col);

/// to = block + bias + residual. bias: of the block's columns, null for none. residual: without data for none. `to` may
/// be the block itself.
void store_block(const ProductBlock& block, const float* bias, const Rows& residual, const Rows& to);

/// Where a block of the gradient of hidden = silu(gate) up goes: the gradients of gate and up, and hidden itself. All
/// of one type.
struct SwigluRows {
  Rows gate, up, gate_gradient, up_gradient, hidden;
};
void swiglu_block(const ProductBlock& gradient, const SwigluRows& whole);

/// Sums over the rows, float32 [O]. The same bits whatever the number of threads.
Tensor column_sums(const MatrixView& x_NO);

/// Matrices with the same number of rows beside each other, converted to `type`, contiguous. Undefined ones are zeros
/// of as many columns as `cols` says.
Tensor beside_each_other(const std::vector<Tensor>& parts, const std::vector<int64_t>& cols, int64_t rows,
                         at::ScalarType type);
/// Matrices with the same number of columns below each other, converted to `type`, contiguous.
Tensor below_each_other(const std::vector<Tensor>& parts, at::ScalarType type);

}  // namespace etude
