#pragma once
// What the tests of kernels over rows share: inputs in several layouts, distances from float64, forced instructions.

#include "etude/base/torch_pch.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "etude/base/rng.h"
#include "etude/tensor/activation.h"
#include "etude/tensor/fill.h"
#include "etude/tensor/paths.h"
#include "etude/tensor/processor.h"

namespace etude::test {

/// Normal values, as they are after rounding to `type`.
inline Tensor normal_rows(at::IntArrayRef sizes, at::ScalarType type, uint64_t seed, std::string_view name) {
  const Tensor t = at::empty(sizes, at::kFloat);
  Rng rng = Rng(Key{.seed = seed, .purpose = Purpose::test}).fork(name);
  fill_normal_(t, rng, 0, 1);
  return t.to(type);
}

/// The same values in memory of other strides: 0 contiguous, 1 within wider rows, 2 columns contiguous.
inline Tensor in_layout(const Tensor& x, int layout) {
  if (layout == 0) return x.contiguous();
  std::vector<int64_t> wider = x.sizes().vec();
  wider.back() = 2 * wider.back() + 3;
  if (layout == 1) return at::zeros(wider, x.options()).narrow(-1, 2, x.size(-1)).copy_(x);
  return x.transpose(0, -1).contiguous().transpose(0, -1);
}

/// ATen's function of that name.
inline Tensor activation_of(Activation activation, const Tensor& x) {
  switch (activation) {
    case Activation::relu:
      return at::relu(x);
    case Activation::gelu:
      return at::gelu(x);
    case Activation::gelu_tanh:
      return at::gelu(x, "tanh");
    case Activation::silu:
      return at::silu(x);
    case Activation::none:
      break;
  }
  return x * 1;
}

/// |got - expected| / |expected| in float64; |got| where expected is zero.
inline double relative_distance(const Tensor& got, const Tensor& expected) {
  EXPECT_EQ(got.sizes(), expected.sizes());
  const double norm = expected.to(at::kDouble).norm().item<double>();
  return (got.to(at::kDouble) - expected.to(at::kDouble)).norm().item<double>() / (norm > 0 ? norm : 1);
}

/// What a kernel may be off by: a result in bfloat16 is rounded to 8 bits.
inline double allowed(at::ScalarType type) { return type == at::kBFloat16 ? 1e-2 : 1e-5; }

/// `f` with each set of instructions that this processor has.
inline void with_each_isa(const std::function<void()>& f) {
  for (const Isa isa : available_isas()) {
    force_isa(isa);
    SCOPED_TRACE(std::string(isa_name(isa)));
    f();
  }
  force_isa(detected_isa());
}

/// The paths that `op` takes in `f`.
inline std::map<std::string, int64_t> paths_of(const std::string& op, const std::function<void()>& f) {
  watch_paths(true);
  f();
  const auto all = paths_taken();
  watch_paths(false);
  const auto found = all.find(op);
  return found == all.end() ? std::map<std::string, int64_t>() : found->second;
}

}  // namespace etude::test
