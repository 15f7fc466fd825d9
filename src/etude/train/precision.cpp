#include "etude/train/precision.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <limits>
#include <mutex>

#include "etude/base/log.h"
#include "etude/base/torch_pch.h"
#include "etude/tensor/processor.h"
#include "etude/tensor/product.h"

namespace etude {
namespace {

constexpr int64_t kSize = 512;
constexpr int kTries = 3;

/// Seconds of a product of ones, the quickest of some.
double seconds_of_product(Format format) {
  const torch::NoGradGuard no_grad;
  const Tensor ones = torch::ones({kSize, kSize});
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; i <= kTries; ++i) {
    const auto start = std::chrono::steady_clock::now();
    product(MatrixView::of(ones), MatrixView::of(ones), format);
    const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (i > 0) least = std::min(least, took);  // the first makes kernels
  }
  return least;
}

}  // namespace

std::optional<std::string> cost_of_bfloat16() {
  if (isa() >= Isa::avx512_bf16) return std::nullopt;
  char times[32];
  std::snprintf(times, sizeof times, "%.1f",
                seconds_of_product(Format::bfloat16) / seconds_of_product(Format::float32));
  return "precision = \"bf16\": no instructions for bfloat16 here (" + std::string(isa_name(isa())) +
         "); a product takes " + times +
         " times as long as in fp32, rounding its operands included. It saves memory only";
}

void warn_of_cost(Format format) {
  if (format != Format::bfloat16) return;
  static std::once_flag once;
  std::call_once(once, [] {
    if (const auto cost = cost_of_bfloat16()) warn(*cost);
  });
}

}  // namespace etude
