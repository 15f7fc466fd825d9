#pragma once
// What kernels that go through rows of numbers share: rows in memory, and how they are spread over threads.
//
// N any leading dimensions, D width.

#include <c10/core/ScalarType.h>
#include <c10/util/FunctionRef.h>

#include <initializer_list>

#include "etude/tensor/tensor.h"

namespace etude {

/// `count` rows of `width` contiguous float32 or bfloat16, `stride` elements apart.
struct Rows {
  void* data = nullptr;
  at::ScalarType type = at::ScalarType::Float;
  int64_t count = 0, width = 0, stride = 0;

  /// Rows first .. last-1; none stays none.
  Rows between(int64_t first, int64_t last) const;
};

/// x itself if its rows (last dimension) are contiguous and all one stride apart, such as a slice of a wider
/// projection; else a contiguous copy.
Tensor with_rows(const Tensor& x_ND);
/// The rows of what with_rows() gave.
Rows rows_of(const Tensor& x_ND);

/// Whether kernels may be used at all: tensors (undefined ones do not count) on the CPU of float32 or bfloat16, and
/// instructions that were not forbidden. Otherwise the reason, as took_path() wants it: "aten: ...".
const char* why_not_rows(std::initializer_list<Tensor> tensors);

/// Calls `kernel` for pieces of operands of the same count and width, on several threads: whole rows, or parts of one
/// long row where all operands are contiguous. For functions of each element alone.
void for_each_piece(std::initializer_list<Rows> operands, c10::function_ref<void(const Rows*)> kernel);

/// So many numbers at least for each thread: less work is not worth waking one.
constexpr int64_t kNumbersPerThread = 16384;

}  // namespace etude
