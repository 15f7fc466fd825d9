#pragma once
// Matrix products of float32 or bfloat16 operands with float32 sums, where what follows the product happens on each
// block of it while it is in the cache.
//
// M rows, N columns, K summed.

#include <ATen/core/Tensor.h>
#include <c10/util/BFloat16.h>
#include <c10/util/FunctionRef.h>

#include <cstdint>

#include "etude/tensor/format.h"

namespace etude {

/// A matrix somewhere in memory, float32 or bfloat16; strides in elements.
struct MatrixView {
  const void* data = nullptr;
  at::ScalarType type = at::ScalarType::Float;
  int64_t rows = 0, cols = 0, row_stride = 0, col_stride = 1;

  /// A matrix on the CPU, of any strides.
  static MatrixView of(const at::Tensor& matrix);
  /// x_N...I as the matrix [N, I]. `x` is contiguous.
  static MatrixView rows_of(const at::Tensor& x);
  MatrixView t() const { return {data, type, cols, rows, col_stride, row_stride}; }
  /// Rows first .. first+count-1.
  MatrixView slice(int64_t first, int64_t count) const;
};

/// The right operand as the kernels read it: panels of kPanel columns, in bfloat16 with pairs of rows interleaved.
/// Made once, used by any number of products and threads.
class PackedMatrix {
 public:
  static constexpr int64_t kPanel = 64;

  PackedMatrix(const MatrixView& b_KN, Format format);
  Format format() const { return format_; }
  int64_t rows() const { return rows_; }  ///< K
  int64_t cols() const { return cols_; }  ///< N
  /// Panel `i`, columns kPanel i and following: rows rounded up to even in bfloat16, kPanel wide, filled up with zeros.
  const void* panel(int64_t i) const;
  /// All of it as float32 [K, N], where there are no panels: without has_block_kernels().
  const at::Tensor& whole() const { return panels_; }

 private:
  Format format_;
  int64_t rows_, cols_;
  at::Tensor panels_;
};

/// A finished block of a product: rows row .. row+rows-1, columns col .. col+cols-1, in memory that the receiver may
/// change; data[r * stride + c].
struct ProductBlock {
  int64_t row, col, rows, cols;
  float* data;
  int64_t stride;
};
/// Called once for each block, on several threads at once.
using FinishBlock = c10::function_ref<void(const ProductBlock&)>;

/// A B. Blocks are as wide as one panel, or the last one's rest. The same bits for the same number of threads. Called
/// inside of a parallel region it runs on the calling thread.
void multiply(const MatrixView& a_MK, const PackedMatrix& b, FinishBlock finish);
void multiply(const MatrixView& a_MK, const MatrixView& b_KN, Format format, FinishBlock finish);

/// A B into a new contiguous tensor [M, N] of float32 or bfloat16.
at::Tensor product(const MatrixView& a_MK, const MatrixView& b_KN, Format format,
                   at::ScalarType type = at::ScalarType::Float);

/// Whether the kernels below exist here: AVX-512 or better. Without them, multiply() takes LibTorch's product of whole
/// matrices (of operands rounded to bfloat16 where that is the format).
bool has_block_kernels();

/// C (+)= A B on the calling thread, for operands in the caches. A: M rows of K, `lda` apart. B: float32 K rows of N,
/// `ldb` apart; bfloat16 K/2 rows of N pairs, `ldb` pairs apart, K even. Each K, N and strides seen first makes a
/// kernel (about a millisecond), so ask for few different ones.
void block_product(int64_t M, int64_t N, int64_t K, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
                   int64_t ldc, bool add);
void block_product(int64_t M, int64_t N, int64_t K, const c10::BFloat16* a, int64_t lda, const c10::BFloat16* b,
                   int64_t ldb, float* c, int64_t ldc, bool add);
/// After a thread's last block_product of a region: AMX keeps a state in the processor.
void end_block_products(Format format);

/// Copies of a piece of a matrix on the calling thread, converted to the type of `to`: as left operand, rows of `cols`
/// with zeros up to `padded_cols`, `stride` apart...
void copy_rows(const MatrixView& from, float* to, int64_t stride, int64_t padded_cols);
void copy_rows(const MatrixView& from, c10::BFloat16* to, int64_t stride, int64_t padded_cols);
/// ... and as right operand: in bfloat16 pairs of rows interleaved, [rows/2, stride, 2], rows rounded up to even; zeros
/// up to `padded_cols`.
void copy_panel(const MatrixView& from, float* to, int64_t stride, int64_t padded_cols);
void copy_panel(const MatrixView& from, c10::BFloat16* to, int64_t stride, int64_t padded_cols);

}  // namespace etude
