#pragma once
// What the tests of nets share: reproducible tensors and gradients by finite differences.

#include "etude/base/torch_pch.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "etude/base/error.h"
#include "etude/base/rng.h"
#include "etude/tensor/fill.h"

namespace etude::test {

/// Normal float64 values that depend on the name only.
inline Tensor random(at::IntArrayRef sizes, std::string_view name, double deviation = 1) {
  const Tensor t = at::empty(sizes, at::kDouble);
  Rng rng = Rng(Key{.seed = 11, .purpose = Purpose::test}).fork(name);
  fill_normal_(t, rng, 0, deviation);
  return t;
}

/// The largest absolute difference.
inline double distance(const Tensor& a, const Tensor& b) {
  EXPECT_EQ(a.sizes(), b.sizes());
  return a.numel() == 0 ? 0 : (a - b).abs().max().item<double>();
}

/// Compares autograd's gradient of sum(f() * w), w fixed and random, with central differences in every
/// element of each float64 input. `f` reads the inputs through the caller.
inline void expect_gradients(const std::function<Tensor()>& f, std::vector<Tensor> inputs, double tolerance = 1e-7) {
  for (Tensor& x : inputs) {
    ASSERT_EQ(x.scalar_type(), at::kDouble);
    x.requires_grad_(true);
  }
  const Tensor w = random(f().sizes(), "weights of the outputs");
  const auto analytic = torch::autograd::grad({(f() * w).sum()}, inputs);
  at::NoGradGuard no_grad;
  const double h = 1e-5;
  for (size_t i = 0; i < inputs.size(); ++i) {
    ASSERT_TRUE(inputs[i].is_contiguous());
    double* x = inputs[i].data_ptr<double>();
    const Tensor numeric = at::empty(inputs[i].sizes(), at::kDouble);
    for (int64_t j = 0; j < inputs[i].numel(); ++j) {
      const double at = x[j];
      x[j] = at + h;
      const double above = (f() * w).sum().item<double>();
      x[j] = at - h;
      const double below = (f() * w).sum().item<double>();
      x[j] = at;
      numeric.data_ptr<double>()[j] = (above - below) / (2 * h);
    }
    const double scale = std::max(1.0, numeric.abs().max().item<double>());
    EXPECT_LT(distance(analytic[i], numeric), tolerance * scale) << "input " << i;
  }
}

/// The Error that `f` throws; a failure if it throws none.
inline Error error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e;
  }
  ADD_FAILURE() << "no Error was thrown";
  return Error(Code::internal, "");
}

}  // namespace etude::test
