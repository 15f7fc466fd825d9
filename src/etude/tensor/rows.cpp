// N any leading dimensions, D width.

#include "etude/tensor/rows.h"

#include "etude/base/torch_pch.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>

#include "etude/base/error.h"
#include "etude/tensor/processor.h"

namespace etude {
namespace {

/// The stride of rows if all of them are the same distance apart, else -1.
int64_t row_stride(const Tensor& x) {
  if (x.dim() == 0 || x.is_contiguous()) return x.dim() == 0 ? 1 : x.size(-1);
  if (x.size(-1) > 1 && x.stride(-1) != 1) return -1;
  int64_t stride = -1, rows_inside = 1;
  for (int64_t d = x.dim() - 2; d >= 0; --d) {
    if (x.size(d) == 1) continue;
    if (stride < 0) stride = x.stride(d);
    if (x.stride(d) != stride * rows_inside) return -1;
    rows_inside *= x.size(d);
  }
  return stride < x.size(-1) ? -1 : stride;
}

Rows part_of(const Rows& all, bool by_rows, int64_t first, int64_t last) {
  if (by_rows) return all.between(first, last);
  Rows part = all;
  part.data = static_cast<char*>(all.data) + first * static_cast<int64_t>(c10::elementSize(all.type));
  part.width = part.stride = last - first;
  return part;
}

}  // namespace

Rows Rows::between(int64_t first, int64_t last) const {
  Rows some = *this;
  if (data) some.data = static_cast<char*>(data) + first * stride * static_cast<int64_t>(c10::elementSize(type));
  some.count = last - first;
  return some;
}

Tensor with_rows(const Tensor& x_ND) { return row_stride(x_ND) < 0 ? x_ND.contiguous() : x_ND; }

Rows rows_of(const Tensor& x_ND) {
  const int64_t stride = row_stride(x_ND), width = x_ND.dim() == 0 ? 1 : x_ND.size(-1);
  ETUDE_CHECK(stride >= 0, "rows are contiguous and one stride apart");
  return {const_cast<void*>(x_ND.const_data_ptr()), x_ND.scalar_type(), width == 0 ? 0 : x_ND.numel() / width, width,
          stride};
}

const char* why_not_rows(std::initializer_list<Tensor> tensors) {
  if (isa() == Isa::aten) return "aten: own kernels are switched off";
  for (const Tensor& t : tensors) {
    if (!t.defined()) continue;
    if (!t.is_cpu() || t.layout() != at::kStrided) return "aten: device";
    if (t.scalar_type() != at::kFloat && t.scalar_type() != at::kBFloat16) return "aten: type";
  }
  return nullptr;
}

void for_each_piece(std::initializer_list<Rows> operands, c10::function_ref<void(const Rows*)> kernel) {
  constexpr size_t kMost = 8;
  ETUDE_CHECK(operands.size() > 0 && operands.size() <= kMost, "between one and eight operands");
  std::array<Rows, kMost> whole;
  std::copy(operands.begin(), operands.end(), whole.begin());
  const int64_t width = whole[0].width, numbers = whole[0].count * width;
  const bool by_rows = std::any_of(operands.begin(), operands.end(), [](const Rows& r) { return r.stride != r.width; });
  if (!by_rows)
    for (size_t i = 0; i < operands.size(); ++i) whole[i].count = 1, whole[i].width = whole[i].stride = numbers;
  const auto piece = [&](int64_t first, int64_t last) {
    std::array<Rows, kMost> part;
    for (size_t i = 0; i < operands.size(); ++i) part[i] = part_of(whole[i], by_rows, first, last);
    kernel(part.data());
  };
  if (numbers == 0) return;
  if (by_rows)
    at::parallel_for(0, whole[0].count, std::max<int64_t>(1, kNumbersPerThread / width), piece);
  else
    at::parallel_for(0, numbers, kNumbersPerThread, piece);
}

}  // namespace etude
