#include "etude/tensor/activation.h"

#include "etude/tensor/rows_testing.h"

namespace etude {
namespace {

using test::activation_of;
using test::allowed;
using test::in_layout;
using test::normal_rows;
using test::relative_distance;

const std::vector<Activation> kActivations{Activation::none, Activation::relu, Activation::gelu, Activation::gelu_tanh,
                                           Activation::silu};
const std::vector<std::vector<int64_t>> kActivationShapes{{1, 1},     {3, 5, 17}, {64, 64}, {0, 8},
                                                          {2, 0, 16}, {33, 1000}, {7}};

/// A value and the gradient of x for a gradient of the value.
std::pair<Tensor, Tensor> activation_oracle(Activation activation, const Tensor& x, const Tensor& gradient) {
  const Tensor in = x.detach().to(at::kDouble).clone().requires_grad_();
  const Tensor y = activation_of(activation, in);
  y.backward(gradient.to(at::kDouble));
  return {y.detach(), in.grad()};
}

/// The largest |got - expected| / |expected| over all elements.
double worst_relative(const Tensor& got, const Tensor& expected) {
  return ((got.to(at::kDouble) - expected) / expected).abs().max().item<double>();
}

TEST(Activation, EveryElementIsAccurate) {
  const Tensor x = at::linspace(-5, 5, 200001, at::kFloat), ones = at::ones_like(x);
  test::with_each_isa([&] {
    if (isa() == Isa::aten) return;
    for (const Activation activation : kActivations) {
      SCOPED_TRACE(std::string(activation_name(activation)));
      const auto [value, slope] = activation_oracle(activation, x, ones);
      const Tensor seen = value.ne(0);
      const double worst =
          worst_relative(activation_forward(activation, x, at::kFloat).index({seen}), value.index({seen}));
      EXPECT_LT(worst, 2e-6);
      const double off = (activation_backward(activation, ones, x).to(at::kDouble) - slope).abs().max().item<double>();
      EXPECT_LT(off, 1e-6);
    }
  });
}

TEST(Activation, KernelsFollowFloat64) {
  uint64_t seed = 0;
  test::with_each_isa([&] {
    for (const Activation activation : kActivations)
      for (const auto x_type : {at::kFloat, at::kBFloat16})
        for (const auto y_type : {at::kFloat, at::kBFloat16})
          for (const auto& shape : kActivationShapes)
            for (const int layout : {0, 1, 2}) {
              SCOPED_TRACE(std::string(activation_name(activation)) + " layout " + std::to_string(layout));
              Tensor x = in_layout(normal_rows(shape, x_type, ++seed, "x") * 3, layout);
              // Where a function is nearly zero, a single number shows the oracle's own cancellation.
              if (x.numel() == 1) x = x.abs();
              const Tensor gradient = in_layout(normal_rows(shape, y_type, seed, "gradient"), layout);
              const auto [value, x_gradient] = activation_oracle(activation, x, gradient);
              const Tensor y = activation_forward(activation, x, y_type);
              EXPECT_EQ(y.scalar_type(), y_type);
              EXPECT_LT(relative_distance(y, value), allowed(y_type));
              const Tensor g = activation_backward(activation, gradient, x);
              EXPECT_EQ(g.scalar_type(), x_type);
              EXPECT_LT(relative_distance(g, x_gradient), allowed(x_type));
            }
  });
}

TEST(Activation, AutogradOfBothOrders) {
  for (const Activation activation : kActivations) {
    SCOPED_TRACE(std::string(activation_name(activation)));
    const auto second = [&](at::ScalarType type) {
      const Tensor x = normal_rows({6, 35}, at::kFloat, 2, "x").to(type).requires_grad_();
      const Tensor first = torch::autograd::grad({activate(activation, x).pow(3).sum()}, {x}, {}, true, true)[0];
      return std::pair(first.detach(), torch::autograd::grad({first.square().sum()}, {x})[0]);
    };
    const auto got = second(at::kFloat), wide = second(at::kDouble);
    EXPECT_LT(relative_distance(got.first, wide.first), 1e-5);
    EXPECT_LT(relative_distance(got.second, wide.second), 1e-5);
  }
}

TEST(Activation, FarValuesAndThoseThatAreNotFinite) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor x = at::tensor({-1e30F, -100.0F, -20.0F, 20.0F, 100.0F, 1e30F, 0.0F, nan});
  const Tensor expected = at::tensor({0.0F, 0.0F, 0.0F, 20.0F, 100.0F, 1e30F, 0.0F, nan});
  const Tensor slope = at::tensor({0.0F, 0.0F, 0.0F, 1.0F, 1.0F, 1.0F, 0.5F, nan});
  for (const Activation activation : {Activation::gelu, Activation::gelu_tanh, Activation::silu}) {
    SCOPED_TRACE(std::string(activation_name(activation)));
    EXPECT_TRUE(at::allclose(activation_forward(activation, x, at::kFloat), expected, 1e-6, 1e-7, true));
    const Tensor near = x.narrow(0, 1, 4);
    EXPECT_TRUE(
        at::allclose(activation_backward(activation, at::ones_like(near), near), slope.narrow(0, 1, 4), 1e-6, 1e-7));
    EXPECT_TRUE(activation_backward(activation, at::ones_like(x), x)[7].isnan().item<bool>());
  }
  EXPECT_TRUE(activation_forward(Activation::relu, x, at::kFloat)[7].isnan().item<bool>());
}

TEST(Activation, BlocksOfProductsChangeInPlaceAndNothingBesideThem) {
  for (const Activation activation : kActivations) {
    const Tensor memory = normal_rows({9, 70}, at::kFloat, 3, "block"), before = memory.clone();
    activate_block(activation, memory.mutable_data_ptr<float>(), 9, 37, 70);
    EXPECT_LT(
        relative_distance(memory.narrow(1, 0, 37), activation_of(activation, before.narrow(1, 0, 37).to(at::kDouble))),
        1e-6);
    EXPECT_TRUE(memory.narrow(1, 37, 33).equal(before.narrow(1, 37, 33)));
  }
}

TEST(SwigluKernel, FollowsFloat64) {
  uint64_t seed = 0;
  test::with_each_isa([&] {
    for (const auto x_type : {at::kFloat, at::kBFloat16})
      for (const auto y_type : {at::kFloat, at::kBFloat16})
        for (const auto& shape : kActivationShapes)
          for (const int layout : {0, 1, 2}) {
            const Tensor gate = in_layout(normal_rows(shape, x_type, ++seed, "gate") * 3, layout);
            const Tensor up = in_layout(normal_rows(shape, x_type, seed, "up"), layout);
            const Tensor gradient = normal_rows(shape, y_type, seed, "gradient");
            const Tensor a = gate.to(at::kDouble).requires_grad_(), b = up.to(at::kDouble).requires_grad_();
            const Tensor expected = a * at::sigmoid(a) * b;
            expected.backward(gradient.to(at::kDouble));
            EXPECT_LT(relative_distance(swiglu_forward(gate, up, y_type), expected.detach()), allowed(y_type));
            const SwigluGradients got = swiglu_backward(gradient, gate, up);
            EXPECT_LT(relative_distance(got.gate, a.grad()), allowed(x_type));
            EXPECT_LT(relative_distance(got.up, b.grad()), allowed(x_type));
          }
  });
}

TEST(SwigluKernel, AutogradOfBothOrdersAlsoWhereGateIsUp) {
  const auto second = [&](at::ScalarType type) {
    const Tensor wide = normal_rows({6, 70}, at::kFloat, 2, "both").to(type).requires_grad_();
    const Tensor gate = wide.narrow(1, 0, 35), up = wide.narrow(1, 35, 35);
    const Tensor y = swiglu(gate, up) + swiglu(gate, gate);
    const Tensor first = torch::autograd::grad({y.pow(2).sum()}, {wide}, {}, true, true)[0];
    return std::pair(first.detach(), torch::autograd::grad({first.square().sum()}, {wide})[0]);
  };
  const auto got = second(at::kFloat), wide = second(at::kDouble);
  EXPECT_LT(relative_distance(got.first, wide.first), 1e-5);
  EXPECT_LT(relative_distance(got.second, wide.second), 1e-5);
}

TEST(SwigluKernel, SameBitsForAnyThreads) {
  const int threads = at::get_num_threads();
  const Tensor gate = normal_rows({300, 333}, at::kFloat, 1, "gate"), up = normal_rows({300, 333}, at::kFloat, 1, "up");
  at::set_num_threads(1);
  const Tensor alone = swiglu_forward(gate, up, at::kFloat);
  at::set_num_threads(2);
  EXPECT_TRUE(alone.equal(swiglu_forward(gate, up, at::kFloat)));
  at::set_num_threads(threads);
}

TEST(SwigluKernel, TakesTheKernelsAtTheSizesThatMatterAndAtenElsewhere) {
  const std::map<std::string, int64_t> own{{"own", 1}};
  const auto run = [](at::IntArrayRef shape, const at::TensorOptions& like) {
    const Tensor x = at::ones(shape, like).requires_grad_();
    (swiglu(x, x) + activate(Activation::gelu_tanh, x)).sum().backward();
  };
  for (const auto type : {at::kFloat, at::kBFloat16})
    for (const std::vector<int64_t>& shape : {std::vector<int64_t>{16, 64, 192}, {16, 256, 688}, {4, 512, 1376}})
      for (const char* op : {"swiglu", "swiglu backward", "activation", "activation backward"})
        EXPECT_EQ(test::paths_of(op, [&] { run(shape, type); }), own) << op;
  for (const char* op : {"swiglu", "activation"}) {
    EXPECT_EQ(test::paths_of(op,
                             [&] {
                               run({2, 3}, at::TensorOptions(at::kFloat).device(at::kMeta));
                             }),
              (std::map<std::string, int64_t>{{"aten: device", 1}}));
    EXPECT_EQ(test::paths_of(op,
                             [&] {
                               run({2, 3}, at::kDouble);
                             }),
              (std::map<std::string, int64_t>{{"aten: type", 1}}));
  }
}

}  // namespace
}  // namespace etude
