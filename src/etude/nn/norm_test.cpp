#include "etude/nn/norm.h"

#include <cmath>

#include "etude/nn/mlp.h"
#include "etude/nn/testing.h"

namespace etude {
namespace {

using test::distance;
using test::random;

TEST(RmsNorm, FollowsItsFormula) {
  const Tensor x = random({2, 3, 5}, "x"), w = random({5}, "w");
  const double eps = 0.1;
  const Tensor y = rms_norm(x, w, eps);
  for (int b = 0; b < 2; ++b) {
    for (int t = 0; t < 3; ++t) {
      double squares = 0;
      for (int d = 0; d < 5; ++d) squares += std::pow(x[b][t][d].item<double>(), 2);
      for (int d = 0; d < 5; ++d) {
        const double expected = x[b][t][d].item<double>() / std::sqrt(squares / 5 + eps) * w[d].item<double>();
        EXPECT_NEAR(y[b][t][d].item<double>(), expected, 1e-13);
      }
    }
  }
}

TEST(RmsNorm, GradientsAreThoseOfFiniteDifferences) {
  const Tensor x = random({2, 3, 5}, "x"), w = random({5}, "w");
  test::expect_gradients([&] { return rms_norm(x, w, 0.1); }, {x, w});
}

TEST(RmsNorm, SecondDerivatives) {
  const Tensor x = random({2, 4}, "x").requires_grad_(true), w = random({4}, "w").requires_grad_(true);
  const Tensor v = random({2, 4}, "v");
  const auto first = [&] {
    const auto g = torch::autograd::grad({(rms_norm(x, w, 0.1) * v).sum()}, {x, w}, {}, true, true);
    return at::cat({g[0].flatten(), g[1]});
  };
  at::AutoGradMode grad(true);
  const Tensor u = random({12}, "u");
  const auto analytic = torch::autograd::grad({(first() * u).sum()}, {x, w});
  const double h = 1e-5;
  for (const auto& [input, gradient] : {std::pair(x, analytic[0]), std::pair(w, analytic[1])}) {
    double* p = input.data_ptr<double>();
    for (int64_t i = 0; i < input.numel(); ++i) {
      const double at = p[i];
      p[i] = at + h;
      const double above = (first() * u).sum().item<double>();
      p[i] = at - h;
      const double below = (first() * u).sum().item<double>();
      p[i] = at;
      EXPECT_NEAR(gradient.flatten()[i].item<double>(), (above - below) / (2 * h), 1e-6);
    }
  }
}

TEST(RmsNorm, NarrowTypesAreNormalisedInFloat32) {
  const Tensor x = (random({4, 256}, "x") * 100).to(at::kBFloat16), w = at::ones({256}, at::kBFloat16);
  const Tensor expected = rms_norm(x.to(at::kDouble), w.to(at::kDouble), 1e-5);
  const Tensor y = rms_norm(x, w, 1e-5);
  EXPECT_EQ(y.scalar_type(), at::kBFloat16);
  EXPECT_LT(((y.to(at::kDouble) - expected) / expected).abs().max().item<double>(), 1.0 / 256 + 1e-3);
}

TEST(Norms, WriteWhatProductsReadAndLeaveTheResidualStreamWide) {
  RmsNorm rms("rms", 40, 1e-5);
  LayerNorm layer("layer", 40, 1e-5);
  for (const Format format : {Format::float32, Format::bfloat16}) {
    Ctx ctx{.format = format};
    const Tensor x = random({3, 40}, "x").to(at::kFloat).requires_grad_(true);
    const Tensor wide = rms.forward(x, ctx), centered = layer.forward(x, ctx);
    EXPECT_EQ(wide.scalar_type(), storage_of(format));
    EXPECT_EQ(centered.scalar_type(), storage_of(format));
    (wide.to(at::kFloat) + centered.to(at::kFloat)).sum().backward();
    for (const Tensor& t : {x, rms.weight, layer.weight, layer.bias}) EXPECT_EQ(t.grad().scalar_type(), at::kFloat);
  }
}

TEST(SwiGlu, FollowsItsFormulaAndItsGradients) {
  auto mlp = std::make_shared<SwiGlu>("mlp", 3, 4);
  mlp->to(at::kDouble);
  {
    at::NoGradGuard no_grad;
    for (const auto& p : mlp->named_parameters()) p.value().copy_(random(p.value().sizes(), p.key()));
  }
  const Tensor x = random({2, 3}, "x");
  Ctx ctx;
  const Tensor gate = x.mm(mlp->gate_proj->weight.t()), up = x.mm(mlp->up_proj->weight.t());
  const Tensor expected = (gate / (1 + at::exp(-gate)) * up).mm(mlp->down_proj->weight.t());
  EXPECT_LT(distance(mlp->forward(x, ctx), expected), 1e-13);
  EXPECT_EQ(mlp->flops_per_token(), 2 * 3 * 12);
  std::vector<Tensor> inputs = mlp->parameters();
  inputs.push_back(x);
  test::expect_gradients([&] { return mlp->forward(x, ctx); }, inputs);
}

}  // namespace
}  // namespace etude
