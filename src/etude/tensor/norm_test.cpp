// N rows, D width.

#include "etude/tensor/norm.h"

#include "etude/tensor/rows_testing.h"

namespace etude {
namespace {

using test::allowed;
using test::in_layout;
using test::normal_rows;
using test::relative_distance;

const std::vector<std::vector<int64_t>> kNormShapes{{1, 1}, {1, 7},     {3, 5, 17}, {130, 64}, {33, 256}, {4, 16, 1},
                                                    {0, 8}, {2, 0, 16}, {9, 1000},  {700, 3},  {65, 65},  {31, 33}};

struct NormInputs {
  NormOf norm;
  Tensor x, gradient, past;
};

NormInputs norm_inputs(NormOf::Kind kind, at::IntArrayRef shape, at::ScalarType x_type, at::ScalarType y_type,
                       int layout, uint64_t seed) {
  const int64_t D = shape.back();
  NormInputs in;
  in.norm.kind = kind;
  in.norm.eps = D == 1 ? 1 : 1e-3;
  in.norm.weight_D = normal_rows({D}, at::kFloat, seed, "weight");
  if (kind == NormOf::Kind::layer && seed % 3 != 0) in.norm.bias_D = normal_rows({D}, at::kFloat, seed, "bias");
  in.x = in_layout(normal_rows(shape, x_type, seed, "x") * 2 + 1, layout);
  in.gradient = in_layout(normal_rows(shape, y_type, seed, "gradient"), layout);
  in.past = normal_rows(shape, x_type, seed, "past");
  if (D == 1) {
    // Differences of numbers that are nearly the same would show float32's own limits.
    for (Tensor* t : {&in.norm.weight_D, &in.x, &in.gradient, &in.past}) *t = t->abs();
  }
  return in;
}

/// The formula and autograd's gradients of it, in float64.
struct NormOracle {
  Tensor y;
  NormGradients gradients;
};
NormOracle norm_oracle(const NormInputs& in) {
  const auto wide = [](const Tensor& t) {
    return t.defined() ? t.detach().to(at::kDouble).clone().requires_grad_() : t;
  };
  const Tensor x = wide(in.x), weight = wide(in.norm.weight_D), bias = wide(in.norm.bias_D);
  const bool layer = in.norm.kind == NormOf::Kind::layer;
  const Tensor apart = layer ? x - x.mean({-1}, true) : x;
  Tensor y = apart / (apart.square().mean({-1}, true) + in.norm.eps).sqrt() * weight;
  if (bias.defined()) y = y + bias;
  y.backward(in.gradient.to(at::kDouble));
  return {y.detach(), {x.grad(), weight.grad(), bias.defined() ? bias.grad() : Tensor()}};
}

void expect_norm(const NormInputs& in, at::ScalarType type) {
  const NormOracle expected = norm_oracle(in);
  const auto x_type = in.x.scalar_type();
  const Normed got = norm_forward(in.norm, in.x, type);
  EXPECT_EQ(got.y.scalar_type(), type);
  EXPECT_LT(relative_distance(got.y, expected.y), allowed(type));
  EXPECT_LT(relative_distance(norm_again(in.norm, in.x, got.statistics_N2, type), expected.y), allowed(type));

  NormGradients g = norm_backward(in.norm, in.gradient, in.x, got.statistics_N2, true, true);
  EXPECT_EQ(g.x.scalar_type(), x_type);
  EXPECT_LT(relative_distance(g.x, expected.gradients.x), allowed(x_type));
  EXPECT_LT(relative_distance(g.weight_D, expected.gradients.weight_D), 1e-5);
  EXPECT_EQ(g.bias_D.defined(), in.norm.bias_D.defined());
  if (g.bias_D.defined()) {
    EXPECT_LT(relative_distance(g.bias_D, expected.gradients.bias_D), 1e-5);
  }

  g = norm_backward(in.norm, in.gradient, in.x, got.statistics_N2, true, false, in.past);
  EXPECT_FALSE(g.weight_D.defined());
  EXPECT_LT(relative_distance(g.x, expected.gradients.x + in.past.to(at::kDouble)), allowed(x_type));
  EXPECT_FALSE(norm_backward(in.norm, in.gradient, in.x, got.statistics_N2, false, true).x.defined());
}

TEST(Norm, KernelsFollowFloat64) {
  uint64_t seed = 0;
  test::with_each_isa([&] {
    for (const auto kind : {NormOf::Kind::rms, NormOf::Kind::layer})
      for (const auto x_type : {at::kFloat, at::kBFloat16})
        for (const auto y_type : {at::kFloat, at::kBFloat16})
          for (const auto& shape : kNormShapes)
            for (const int layout : {0, 1, 2}) {
              SCOPED_TRACE(std::string(kind == NormOf::Kind::rms ? "rms" : "layer") + " layout " +
                           std::to_string(layout) + " D=" + std::to_string(shape.back()));
              // The variance of one number is zero: all that is left is rounding, divided by a small number.
              if (kind == NormOf::Kind::layer && shape.back() == 1 && isa() == Isa::aten) continue;
              expect_norm(norm_inputs(kind, shape, x_type, y_type, layout, ++seed), y_type);
            }
  });
}

TEST(Norm, AutogradGivesTheSameGradientsAndKeepsTheResidualStreamWide) {
  for (const auto kind : {NormOf::Kind::rms, NormOf::Kind::layer}) {
    const NormInputs in = norm_inputs(kind, {3, 11, 48}, at::kFloat, at::kBFloat16, 0, 7);
    const NormOracle expected = norm_oracle(in);
    const Tensor x = in.x.clone().requires_grad_(), weight = in.norm.weight_D.clone().requires_grad_();
    const Tensor bias = in.norm.bias_D.defined() ? in.norm.bias_D.clone().requires_grad_() : Tensor();
    const Tensor y = norm({.kind = kind, .weight_D = weight, .bias_D = bias, .eps = in.norm.eps}, x, at::kBFloat16);
    EXPECT_EQ(y.scalar_type(), at::kBFloat16);
    y.backward(in.gradient);
    EXPECT_LT(relative_distance(x.grad(), expected.gradients.x), 1e-5);
    EXPECT_LT(relative_distance(weight.grad(), expected.gradients.weight_D), 1e-5);
    if (bias.defined()) {
      EXPECT_LT(relative_distance(bias.grad(), expected.gradients.bias_D), 1e-5);
    }
  }
}

/// The gradients in x and the weight of u . (gradient of v . norm(x)).
std::vector<Tensor> second_norm_gradients(NormOf norm_of, const Tensor& x, at::ScalarType type) {
  const Tensor v = normal_rows(x.sizes(), at::kFloat, 3, "v").to(type);
  const Tensor u = normal_rows(x.sizes(), at::kFloat, 3, "u").to(type);
  norm_of.weight_D = norm_of.weight_D.to(type).detach().requires_grad_();
  const Tensor in = x.to(type).detach().requires_grad_();
  const Tensor y = norm(norm_of, in, type);
  const auto first = torch::autograd::grad({(y * v).sum()}, {in, norm_of.weight_D}, {}, true, true);
  return torch::autograd::grad({(first[0] * u).sum() + first[1].square().sum()}, {in, norm_of.weight_D});
}

TEST(Norm, SecondDerivativesAreThoseOfFloat64) {
  for (const auto kind : {NormOf::Kind::rms, NormOf::Kind::layer}) {
    NormInputs in = norm_inputs(kind, {5, 24}, at::kFloat, at::kFloat, 0, 3);
    const auto wide = second_norm_gradients(in.norm, in.x, at::kDouble);
    const auto got = second_norm_gradients(in.norm, in.x, at::kFloat);
    for (size_t i = 0; i < 2; ++i) EXPECT_LT(relative_distance(got[i], wide[i]), 1e-5);
  }
}

TEST(Norm, BitsDoNotDependOnTheThreads) {
  const int threads = at::get_num_threads();
  for (const auto kind : {NormOf::Kind::rms, NormOf::Kind::layer}) {
    const NormInputs in = norm_inputs(kind, {1000, 200}, at::kFloat, at::kFloat, 0, 4);
    const auto all = [&] {
      const Normed normed = norm_forward(in.norm, in.x, at::kFloat);
      const NormGradients g = norm_backward(in.norm, in.gradient, in.x, normed.statistics_N2, true, true);
      std::vector<Tensor> found{normed.y, g.x, g.weight_D};
      if (g.bias_D.defined()) found.push_back(g.bias_D);
      return found;
    };
    at::set_num_threads(1);
    const auto alone = all();
    at::set_num_threads(2);
    const auto both = all();
    for (size_t i = 0; i < alone.size(); ++i) EXPECT_TRUE(alone[i].equal(both[i])) << i;
  }
  at::set_num_threads(threads);
}

TEST(Norm, SumsOverManyRowsStayExact) {
  NormInputs in = norm_inputs(NormOf::Kind::rms, {60000, 16}, at::kFloat, at::kFloat, 0, 5);
  in.gradient = in.gradient.abs();
  const Normed normed = norm_forward(in.norm, in.x, at::kFloat);
  const NormGradients g = norm_backward(in.norm, in.gradient, in.x, normed.statistics_N2, false, true);
  EXPECT_LT(relative_distance(g.weight_D, norm_oracle(in).gradients.weight_D), 1e-6);
}

TEST(Norm, ValuesThatAreNotFiniteAreSeen) {
  Tensor x = at::ones({2, 40});
  x[1][37] = std::numeric_limits<float>::quiet_NaN();
  const NormOf rms{.weight_D = at::ones({40})};
  const Tensor y = norm(rms, x, at::kBFloat16);
  EXPECT_TRUE(y[0].isfinite().all().item<bool>());
  EXPECT_TRUE(y[1].isnan().all().item<bool>());
}

TEST(Norm, TakesTheKernelsAtTheSizesThatMatterAndAtenElsewhere) {
  const auto run = [](at::IntArrayRef shape, const at::TensorOptions& like) {
    const NormOf rms{.weight_D = at::ones({shape.back()}, like.dtype(at::kFloat))};
    const Tensor x = at::ones(shape, like).requires_grad_();
    norm(rms, x, like.dtype().toScalarType()).sum().backward();
  };
  const std::map<std::string, int64_t> own{{"own", 1}};
  for (const auto type : {at::kFloat, at::kBFloat16})
    for (const std::vector<int64_t>& shape : {std::vector<int64_t>{16, 64, 64}, {16, 256, 256}, {4, 512, 512}})
      for (const char* op : {"norm", "norm backward"})
        EXPECT_EQ(test::paths_of(op, [&] { run(shape, type); }), own) << op << " " << c10::toString(type);
  EXPECT_EQ(test::paths_of("norm",
                           [&] {
                             run({2, 3}, at::TensorOptions(at::kFloat).device(at::kMeta));
                           }),
            (std::map<std::string, int64_t>{{"aten: device", 1}}));
  EXPECT_EQ(test::paths_of("norm",
                           [&] {
                             run({2, 3}, at::kDouble);
                           }),
            (std::map<std::string, int64_t>{{"aten: type", 1}}));
}

}  // namespace
}  // namespace etude
