// N rows, I inputs, O outputs.

#include "etude/tensor/linear.h"

#include "etude/base/torch_pch.h"

#include <gtest/gtest.h>

#include "etude/tensor/paths.h"
#include "etude/tensor/processor.h"
#include "etude/tensor/rows_testing.h"

namespace etude {
namespace {

using torch::autograd::grad;
using torch::autograd::variable_list;

/// What a linear layer is made of, in float64; undefined where it has none.
struct FusedCase {
  std::string name;
  Activation before = Activation::none, after = Activation::none;
  bool gated = false, bias = false, residual = false;
};

const std::vector<FusedCase> kFusedCases = {
    {.name = "plain"},
    {.name = "bias", .bias = true},
    {.name = "residual", .residual = true},
    {.name = "gelu after", .after = Activation::gelu, .bias = true, .residual = true},
    {.name = "relu after, no bias", .after = Activation::relu},
    {.name = "gelu_tanh before", .before = Activation::gelu_tanh, .bias = true, .residual = true},
    {.name = "swiglu", .gated = true},
    {.name = "swiglu, bias, residual", .gated = true, .bias = true, .residual = true},
};

struct FusedSize {
  std::vector<int64_t> rows;
  int64_t I, O;
};
const std::vector<FusedSize> kFusedSizes = {{{1}, 1, 1},       {{3}, 5, 7},   {{2, 9}, 64, 130}, {{5, 13, 4}, 33, 65},
                                            {{257}, 128, 64},  {{0}, 6, 4},   {{4}, 0, 3},       {{4}, 3, 0},
                                            {{1, 300}, 72, 1}, {{700}, 1, 90}};

double fused_error(const Tensor& a, const Tensor& exact) {
  EXPECT_EQ(a.sizes(), exact.sizes());
  const double norm = exact.norm().item<double>();
  return (a.to(at::kDouble) - exact).norm().item<double>() / (norm > 0 ? norm : 1);
}

/// Random values that both types hold, as a leaf of that type and one of float64.
struct FusedPair {
  Tensor own, exact;
};
FusedPair pair_of(at::IntArrayRef sizes, at::ScalarType type, double scale) {
  const Tensor own = (at::randn(sizes) * scale).to(type);
  return {own.detach().clone().requires_grad_(), own.to(at::kDouble).detach().requires_grad_()};
}

struct Operands64 {
  std::vector<FusedPair> all;  ///< inputs, weight, bias, residual
  std::vector<Tensor> exact() const {
    std::vector<Tensor> list;
    for (const FusedPair& p : all) list.push_back(p.exact);
    return list;
  }
  std::vector<Tensor> own() const {
    std::vector<Tensor> list;
    for (const FusedPair& p : all) list.push_back(p.own);
    return list;
  }
};

Operands64 operands_of(const FusedCase& c, const FusedSize& size, at::ScalarType input_type) {
  std::vector<int64_t> in = size.rows, out = size.rows;
  in.push_back(size.I);
  out.push_back(size.O);
  Operands64 o;
  for (int i = 0; i < (c.gated ? 2 : 1); ++i) o.all.push_back(pair_of(in, input_type, 1));
  o.all.push_back(pair_of({size.O, size.I}, at::kFloat, 1 / std::sqrt(std::max<int64_t>(1, size.I))));
  if (c.bias) o.all.push_back(pair_of({size.O}, at::kFloat, 1));
  if (c.residual) o.all.push_back(pair_of(out, at::kFloat, 1));
  return o;
}

Tensor own_value(const FusedCase& c, const std::vector<Tensor>& in, Format format) {
  size_t next = c.gated ? 2 : 1;
  const Tensor& weight = in[next++];
  LinearOptions options{.format = format, .activation = c.after};
  if (c.bias) options.bias_O = in[next++];
  if (c.residual) options.residual_NO = in[next++];
  if (c.gated) return swiglu_linear(in[0], in[1], weight, options);
  return c.before == Activation::none ? fused_linear(in[0], weight, options)
                                      : activated_linear(c.before, in[0], weight, options);
}

Tensor exact_value(const FusedCase& c, const std::vector<Tensor>& in) {
  size_t next = c.gated ? 2 : 1;
  const Tensor hidden = c.gated ? at::silu(in[0]) * in[1] : test::activation_of(c.before, in[0]);
  Tensor y = hidden.matmul(in[next++].t());
  if (c.bias) y = y + in[next++];
  y = test::activation_of(c.after, y);
  return c.residual ? y + in[next++] : y;
}

void expect_agreement(const FusedCase& c, const FusedSize& size, Format format, at::ScalarType input_type,
                      double tolerance) {
  SCOPED_TRACE(c.name + " " + std::to_string(size.I) + " -> " + std::to_string(size.O));
  const Operands64 o = operands_of(c, size, input_type);
  const Tensor y = own_value(c, o.own(), format), exact = exact_value(c, o.exact());
  EXPECT_LT(fused_error(y.detach(), exact.detach()), tolerance);
  EXPECT_EQ(y.scalar_type(), c.residual ? at::kFloat : storage_of(format));
  const Tensor w = at::randn(exact.sizes());
  const variable_list found = grad({y}, o.own(), {w.to(y.scalar_type())}),
                      expected = grad({exact}, o.exact(), {w.to(at::kDouble)});
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_LT(fused_error(found[i], expected[i]), tolerance) << "gradient " << i;
    EXPECT_EQ(found[i].scalar_type(), o.all[i].own.scalar_type());
  }
}

TEST(FusedLinear, AgreesWithFloat64InFloat32) {
  for (int64_t seed = 0; seed < 3; ++seed) {
    at::manual_seed(seed);
    for (const FusedCase& c : kFusedCases)
      for (const FusedSize& size : kFusedSizes) expect_agreement(c, size, Format::float32, at::kFloat, 1e-5);
  }
}

TEST(FusedLinear, AgreesWithFloat64InBfloat16) {
  for (int64_t seed = 0; seed < 3; ++seed) {
    at::manual_seed(seed);
    for (const FusedCase& c : kFusedCases) {
      // Where x W^T is rounded to the other side of 0, relu's gradient is another one.
      if (c.after == Activation::relu) continue;
      for (const FusedSize& size :
           {FusedSize{{2, 9}, 64, 130}, FusedSize{{5, 13, 4}, 33, 65}, FusedSize{{257}, 128, 64}})
        for (const at::ScalarType type : {at::kFloat, at::kBFloat16})
          expect_agreement(c, size, Format::bfloat16, type, 1e-2);
    }
  }
}

TEST(FusedLinear, TakesInputsOfAnyStrides) {
  at::manual_seed(5);
  const Tensor wide = at::randn({6, 5, 40}), weight = at::randn({24, 20}), residual = at::randn({24, 6, 5});
  for (const Tensor& x : {wide.narrow(2, 7, 20), wide.transpose(0, 1).narrow(2, 0, 20),
                          at::randn({20, 6, 5}).permute({1, 2, 0}), at::randn({1, 1, 20}).expand({6, 5, 20})}) {
    const Tensor in = x.detach().requires_grad_();
    const Tensor past = x.size(0) == 6 ? residual.permute({1, 2, 0}) : residual.permute({2, 1, 0});
    const Tensor y = fused_linear(in, weight, {.residual_NO = past});
    const Tensor exact = x.to(at::kDouble).matmul(weight.to(at::kDouble).t()) + past;
    EXPECT_LT(fused_error(y.detach(), exact), 1e-5);
    // A gradient that is one number, repeated.
    EXPECT_LT(fused_error(grad({y.sum()}, {in})[0], weight.to(at::kDouble).sum(0).expand(in.sizes())), 1e-5);
  }
}

TEST(FusedLinear, GivesTheSameBitsTwice) {
  at::manual_seed(6);
  const FusedCase& c = kFusedCases.back();
  const Operands64 o = operands_of(c, {{300}, 200, 150}, at::kFloat);
  for (const Format format : {Format::float32, Format::bfloat16}) {
    const auto run = [&] {
      const Tensor y = own_value(c, o.own(), format);
      variable_list all = grad({y.square().sum()}, o.own());
      all.push_back(y.detach());
      return all;
    };
    const variable_list first = run(), second = run();
    for (size_t i = 0; i < first.size(); ++i) EXPECT_TRUE(at::equal(first[i], second[i])) << i;
  }
}

TEST(FusedLinear, IsDifferentiableTwice) {
  at::manual_seed(7);
  for (const FusedCase& c : kFusedCases) {
    SCOPED_TRACE(c.name);
    const Operands64 o = operands_of(c, {{12}, 9, 10}, at::kFloat);
    const Tensor w = at::randn({12, 10});
    const auto second = [&](const Tensor& y, const std::vector<Tensor>& in) {
      const variable_list once = grad({(y.square() * w).sum()}, in, {}, true, /*create_graph=*/true);
      Tensor sum = at::zeros({}, y.options());
      for (const Tensor& g : once) sum = sum + g.square().sum();
      return grad({sum}, in);
    };
    const variable_list found = second(own_value(c, o.own(), Format::float32), o.own());
    const variable_list expected = second(exact_value(c, o.exact()), o.exact());
    for (size_t i = 0; i < found.size(); ++i) EXPECT_LT(fused_error(found[i], expected[i]), 1e-4) << i;
  }
}

TEST(FusedLinear, KeepsWhatIsFrozenWithoutAGradient) {
  const Tensor x = at::randn({20, 8}).requires_grad_(), weight = at::randn({4, 8});
  const Tensor y = fused_linear(x, weight);
  EXPECT_TRUE(grad({y.sum()}, {x})[0].defined());
  EXPECT_FALSE(fused_linear(x.detach(), weight).requires_grad());
}

/// Runs `f` with ATen's operators alone.
template <class F>
auto by_aten_alone(const F& f) {
  const Isa before = isa();
  force_isa(Isa::aten);
  const auto value = f();
  force_isa(before);
  return value;
}

TEST(FusedLinear, OtherTypesAndDevicesTakeTheCompositionOfATen) {
  at::manual_seed(8);
  for (const FusedCase& c : kFusedCases) {
    SCOPED_TRACE(c.name);
    const Operands64 o = operands_of(c, {{6, 5}, 9, 10}, at::kFloat);
    // float64 stays float64 whatever the format.
    const Tensor exact = exact_value(c, o.exact());
    EXPECT_LT((own_value(c, o.exact(), Format::bfloat16) - exact).abs().max().item<double>(), 1e-12);
    std::vector<Tensor> meta;
    for (const Tensor& t : o.own()) meta.push_back(t.to(at::kMeta));
    if (c.after != Activation::relu) {  // which LibTorch 2.15 does not have there
      EXPECT_EQ(own_value(c, meta, Format::bfloat16).sizes(), exact.sizes());
    }
    for (const Format format : {Format::float32, Format::bfloat16}) {
      const Tensor y = by_aten_alone([&] { return own_value(c, o.own(), format); });
      EXPECT_EQ(y.scalar_type(), c.residual ? at::kFloat : storage_of(format));
      EXPECT_LT(fused_error(y.detach(), exact.detach()), format == Format::float32 ? 1e-5 : 1e-2);
    }
  }
}

TEST(FusedLinear, TheResultHasTheTypeThatIsAskedFor) {
  const Tensor x = at::randn({20, 8}), weight = at::randn({4, 8});
  EXPECT_EQ(fused_linear(x, weight, {.format = Format::bfloat16}).scalar_type(), at::kBFloat16);
  EXPECT_EQ(fused_linear(x, weight, {.format = Format::bfloat16, .type = at::kFloat}).scalar_type(), at::kFloat);
  EXPECT_EQ(fused_linear(x, weight, {.type = at::kBFloat16}).scalar_type(), at::kBFloat16);
}

TEST(FusedLinear, TheOwnKernelsAreTakenAtTheSizesOfNets) {
  if (isa() == Isa::aten) GTEST_SKIP() << "own kernels are switched off";
  watch_paths(true);
  for (const Format format : {Format::float32, Format::bfloat16}) {
    const at::ScalarType type = storage_of(format);
    const Tensor gate = at::randn({1024, 172}).to(type).requires_grad_(), up = at::randn({1024, 172}).to(type);
    const Tensor weight = at::randn({64, 172}).requires_grad_(), residual = at::randn({1024, 64});
    swiglu_linear(gate, up, weight, {.format = format, .residual_NO = residual}).sum().backward();
  }
  const auto taken = paths_taken();
  watch_paths(false);
  for (const char* op : {"linear", "linear backward"}) {
    EXPECT_EQ(taken.at(op).size(), 2U) << op;
    EXPECT_EQ(taken.at(op).at("own: float32"), 1) << op;
    EXPECT_EQ(taken.at(op).at("own: bfloat16"), 1) << op;
  }
}

}  // namespace
}  // namespace etude
