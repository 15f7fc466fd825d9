// B batch, T time, H heads, E head width.

#include "etude/nn/rotary.h"

#include <cmath>
#include <complex>

#include "etude/nn/testing.h"

namespace etude {
namespace {

using test::distance;
using test::random;

constexpr double kTheta = 10000;

/// The pair (x_i, x_{i+E/2}) as a complex number, times exp(i position theta^(-2i/E)).
Tensor by_complex_numbers(const Tensor& x_BTHE, const Tensor& position_BT) {
  const Tensor y = x_BTHE.clone();
  const int64_t half = x_BTHE.size(3) / 2;
  auto in = x_BTHE.accessor<double, 4>();
  auto out = y.accessor<double, 4>();
  auto position = position_BT.accessor<int64_t, 2>();
  for (int64_t b = 0; b < x_BTHE.size(0); ++b)
    for (int64_t t = 0; t < x_BTHE.size(1); ++t)
      for (int64_t h = 0; h < x_BTHE.size(2); ++h)
        for (int64_t i = 0; i < half; ++i) {
          const double angle = static_cast<double>(position[b][t]) *
                               std::pow(kTheta, -static_cast<double>(2 * i) / static_cast<double>(2 * half));
          const auto z = std::complex<double>(in[b][t][h][i], in[b][t][h][i + half]) * std::polar(1.0, angle);
          out[b][t][h][i] = z.real();
          out[b][t][h][i + half] = z.imag();
        }
  return y;
}

TEST(Rotary, TurnsComplexPairs) {
  const Tensor x = random({2, 5, 3, 8}, "x");
  Rotary rotary(8, 16, kTheta);
  const Tensor start = at::arange(5, at::kLong).expand({2, 5});
  EXPECT_LT(distance(rotate(x, rotary.from_start(5, x.options())), by_complex_numbers(x, start)), 1e-13);
  const Tensor own = at::tensor({0, 1, 0, 1, 2, 7, 15, 3, 0, 4}, at::kLong).view({2, 5});
  EXPECT_LT(distance(rotate(x, rotary.at(own, x.options())), by_complex_numbers(x, own)), 1e-13);
}

TEST(Rotary, ProductsDependOnDistanceOnly) {
  Rotary rotary(6, 64, kTheta);
  const Tensor q = random({1, 1, 1, 6}, "q"), k = random({1, 1, 1, 6}, "k");
  const auto score = [&](int64_t m, int64_t n) {
    const auto turned = [&](const Tensor& x, int64_t p) {
      return rotate(x, rotary.at(at::full({1, 1}, p, at::kLong), x.options()));
    };
    return (turned(q, m) * turned(k, n)).sum().item<double>();
  };
  EXPECT_NEAR(score(5, 2), score(40, 37), 1e-13);
  EXPECT_GT(std::abs(score(5, 2) - score(5, 3)), 1e-3);
}

TEST(Rotary, FollowsTheDtypeAskedFor) {
  Rotary rotary(4, 8, kTheta);
  const Tensor wide = rotary.from_start(8, at::TensorOptions(at::kDouble)).cos;
  const Tensor narrow = rotary.from_start(8, at::TensorOptions(at::kFloat)).cos;
  EXPECT_EQ(narrow.scalar_type(), at::kFloat);
  EXPECT_EQ(distance(narrow, wide.to(at::kFloat)), 0);
}

TEST(Rotary, GradientsOfBothOrders) {
  Rotary rotary(4, 8, kTheta);
  const Tensor x = random({1, 3, 2, 4}, "x");
  const Rotation rotation = rotary.from_start(3, x.options());
  test::expect_gradients([&] { return rotate(x, rotation); }, {x});
  test::expect_gradients(
      [&] {
        at::AutoGradMode grad(true);
        return torch::autograd::grad({rotate(x, rotation).pow(3).sum()}, {x}, {}, true, true)[0];
      },
      {x});
}

}  // namespace
}  // namespace etude
