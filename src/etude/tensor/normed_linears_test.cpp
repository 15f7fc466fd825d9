// N rows, I inputs, O outputs.

#include "etude/base/torch_pch.h"

#include <gtest/gtest.h>

#include "etude/tensor/linear.h"
#include "etude/tensor/paths.h"
#include "etude/tensor/processor.h"

namespace etude {
namespace {

using torch::autograd::grad;
using torch::autograd::variable_list;

struct SharedCase {
  std::optional<NormOf::Kind> norm;
  std::vector<int64_t> outputs;
  bool biases = false;
};
const std::vector<SharedCase> kSharedCases = {
    {std::nullopt, {64}},
    {std::nullopt, {5, 70, 1}, true},
    {NormOf::Kind::rms, {96, 32, 32}},
    {NormOf::Kind::rms, {172, 172}, true},
    {NormOf::Kind::layer, {192}, true},
    {NormOf::Kind::layer, {1, 2, 3}},
};
constexpr double kSharedEps = 1e-5;

double shared_error(const Tensor& a, const Tensor& exact) {
  EXPECT_EQ(a.sizes(), exact.sizes());
  const double norm = exact.norm().item<double>();
  return (a.to(at::kDouble) - exact).norm().item<double>() / (norm > 0 ? norm : 1);
}

/// x; weight and bias of the norm; weights; biases. In float32, and float64 of the same values.
struct SharedOperands {
  variable_list own, exact;
  size_t norm_parameters = 0, count = 0;

  SharedOperands(const SharedCase& c, at::IntArrayRef rows, int64_t I) {
    std::vector<int64_t> sizes = rows.vec();
    sizes.push_back(I);
    add(at::randn(sizes) + 0.3);
    if (c.norm) add(1 + 0.3 * at::randn({I}));
    if (c.norm == NormOf::Kind::layer) add(at::randn({I}));
    norm_parameters = own.size() - 1;
    count = c.outputs.size();
    for (const int64_t O : c.outputs) add(at::randn({O, I}) / std::sqrt(I));
    for (const int64_t O : c.outputs)
      if (c.biases) add(at::randn({O}));
  }
  void add(const Tensor& t) {
    own.push_back(t.detach().requires_grad_());
    exact.push_back(t.to(at::kDouble).detach().requires_grad_());
  }
};

SharedLinears own_outputs(const SharedCase& c, const SharedOperands& o, const variable_list& in, Format format) {
  std::optional<NormOf> norm;
  if (c.norm) norm = NormOf{*c.norm, in[1], o.norm_parameters > 1 ? in[2] : Tensor(), kSharedEps};
  const auto weights = in.begin() + 1 + static_cast<std::ptrdiff_t>(o.norm_parameters);
  const auto biases = weights + static_cast<std::ptrdiff_t>(o.count);
  return normed_linears(norm, in[0], {weights, biases}, {biases, in.end()}, format);
}

variable_list exact_outputs(const SharedCase& c, const SharedOperands& o, const variable_list& in) {
  const Tensor& x = in[0];
  Tensor read = x;
  if (c.norm == NormOf::Kind::rms) read = x / (x.square().mean(-1, true) + kSharedEps).sqrt() * in[1];
  if (c.norm == NormOf::Kind::layer) {
    const Tensor centred = x - x.mean(-1, true);
    read = centred / (centred.square().mean(-1, true) + kSharedEps).sqrt() * in[1] + in[2];
  }
  variable_list y;
  for (size_t i = 0; i < o.count; ++i) {
    y.push_back(read.matmul(in[1 + o.norm_parameters + i].t()));
    if (c.biases) y.back() = y.back() + in[1 + o.norm_parameters + o.count + i];
  }
  return y;
}

/// A loss that reads all outputs, and the input past them.
Tensor shared_loss(const variable_list& y, const Tensor& past, const variable_list& w) {
  Tensor sum = (past * w.back().to(past.scalar_type())).sum();
  for (size_t i = 0; i < y.size(); ++i) sum = sum + (y[i].to(past.scalar_type()) * w[i].to(past.scalar_type())).sum();
  return sum;
}

variable_list shared_weights(const variable_list& y, const Tensor& past) {
  variable_list w;
  // Values that bfloat16 holds, so that what is tested is not how a gradient of that type was rounded.
  for (const Tensor& t : y) w.push_back(at::randn(t.sizes()).to(at::kBFloat16).to(at::kFloat));
  w.push_back(at::randn(past.sizes()));
  return w;
}

void expect_shared_agreement(const SharedCase& c, at::IntArrayRef rows, int64_t I, Format format, double tolerance) {
  SCOPED_TRACE("I " + std::to_string(I) + ", outputs " + std::to_string(c.outputs.size()) +
               (c.norm ? ", norm " + std::to_string(static_cast<int>(*c.norm)) : ""));
  const SharedOperands o(c, rows, I);
  const SharedLinears found = own_outputs(c, o, o.own, format);
  const variable_list exact = exact_outputs(c, o, o.exact);
  ASSERT_EQ(found.y.size(), exact.size());
  for (size_t i = 0; i < exact.size(); ++i) {
    EXPECT_LT(shared_error(found.y[i].detach(), exact[i].detach()), tolerance);
    EXPECT_EQ(found.y[i].scalar_type(), storage_of(format));
  }
  EXPECT_TRUE(at::equal(found.x_NI, o.own[0]));
  const variable_list w = shared_weights(exact, o.exact[0]);
  const variable_list gradients = grad({shared_loss(found.y, found.x_NI, w)}, o.own);
  const variable_list expected = grad({shared_loss(exact, o.exact[0], w)}, o.exact);
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_LT(shared_error(gradients[i], expected[i]), tolerance) << "gradient " << i;
    EXPECT_EQ(gradients[i].scalar_type(), at::kFloat);
  }
}

TEST(NormedLinears, AgreeWithFloat64) {
  for (int64_t seed = 0; seed < 3; ++seed) {
    at::manual_seed(seed);
    for (const SharedCase& c : kSharedCases) {
      for (const int64_t I : {6, 33, 64}) {
        expect_shared_agreement(c, {1}, I, Format::float32, 1e-5);
        expect_shared_agreement(c, {2, 9}, I, Format::float32, 1e-5);
        expect_shared_agreement(c, {3, 5, 20}, I, Format::float32, 1e-5);
      }
      expect_shared_agreement(c, {0}, 8, Format::float32, 1e-5);
      expect_shared_agreement(c, {300}, 128, Format::bfloat16, 1e-2);
      expect_shared_agreement(c, {2, 9}, 33, Format::bfloat16, 1e-2);
    }
  }
}

TEST(NormedLinears, OutputsThatNobodyReadsHaveNoGradient) {
  at::manual_seed(3);
  const SharedCase c{NormOf::Kind::rms, {6, 7}, true};
  const SharedOperands o(c, {40}, 16);
  const SharedLinears found = own_outputs(c, o, o.own, Format::float32);
  const variable_list exact = exact_outputs(c, o, o.exact);
  const Tensor w = at::randn({40, 7});
  const variable_list gradients = grad({(found.y[1] * w).sum()}, o.own, {}, {}, false, /*allow_unused=*/true);
  const variable_list expected = grad({(exact[1] * w).sum()}, o.exact, {}, {}, false, true);
  for (size_t i = 0; i < expected.size(); ++i) {
    const Tensor zero = at::zeros(o.exact[i].sizes(), at::kDouble);
    EXPECT_LT(shared_error(gradients[i], expected[i].defined() ? expected[i] : zero), 1e-5) << i;
  }
  const SharedLinears again = own_outputs(c, o, o.own, Format::float32);
  EXPECT_TRUE(at::equal(grad({again.x_NI.square().sum()}, {o.own[0]})[0], 2 * o.own[0]));
}

TEST(NormedLinears, GradientsThatAreColumnsOfOneMatrixAreReadInPlace) {
  at::manual_seed(4);
  const SharedCase c{NormOf::Kind::rms, {24, 40}};
  const SharedOperands o(c, {50}, 32);
  const Tensor both = at::randn({50, 64});
  const variable_list beside = both.split_with_sizes({24, 40}, 1), apart{beside[0].clone(), beside[1].clone()};
  for (const Format format : {Format::float32, Format::bfloat16}) {
    const auto gradients_of = [&](const variable_list& w) {
      const SharedLinears found = own_outputs(c, o, o.own, format);
      return grad({found.y[0], found.y[1]}, o.own, {w[0].to(storage_of(format)), w[1].to(storage_of(format))});
    };
    const variable_list a = gradients_of(beside), b = gradients_of(apart);
    for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::equal(a[i], b[i])) << i;
  }
}

TEST(NormedLinears, GiveTheSameBitsTwice) {
  at::manual_seed(5);
  const SharedCase c{NormOf::Kind::layer, {96, 50}, true};
  const SharedOperands o(c, {400}, 100);
  const variable_list w = shared_weights(exact_outputs(c, o, o.exact), o.exact[0]);
  for (const Format format : {Format::float32, Format::bfloat16}) {
    const auto run = [&] {
      const SharedLinears found = own_outputs(c, o, o.own, format);
      return grad({shared_loss(found.y, found.x_NI, w)}, o.own);
    };
    const variable_list first = run(), second = run();
    for (size_t i = 0; i < first.size(); ++i) EXPECT_TRUE(at::equal(first[i], second[i])) << i;
  }
}

TEST(NormedLinears, AreDifferentiableTwice) {
  at::manual_seed(6);
  for (const SharedCase& c : kSharedCases) {
    const SharedOperands o(c, {11}, 9);
    const variable_list w = shared_weights(exact_outputs(c, o, o.exact), o.exact[0]);
    const auto second = [&](const variable_list& y, const Tensor& past, const variable_list& in) {
      variable_list squares;
      for (const Tensor& t : y) squares.push_back(t.square());
      const variable_list once = grad({shared_loss(squares, past.square(), w)}, in, {}, true, /*create_graph=*/true);
      Tensor sum = at::zeros({}, past.options());
      for (const Tensor& g : once) sum = sum + g.square().sum();
      return grad({sum}, in);
    };
    const SharedLinears found = own_outputs(c, o, o.own, Format::float32);
    const variable_list gradients = second(found.y, found.x_NI, o.own);
    const variable_list expected = second(exact_outputs(c, o, o.exact), o.exact[0], o.exact);
    for (size_t i = 0; i < gradients.size(); ++i) EXPECT_LT(shared_error(gradients[i], expected[i]), 1e-4) << i;
  }
}

TEST(NormedLinears, OtherTypesAndDevicesTakeTheCompositionOfATen) {
  at::manual_seed(7);
  for (const SharedCase& c : kSharedCases) {
    const SharedOperands o(c, {4, 3}, 8);
    const SharedLinears wide = own_outputs(c, o, o.exact, Format::bfloat16);
    const variable_list exact = exact_outputs(c, o, o.exact);
    variable_list meta;
    for (const Tensor& t : o.own) meta.push_back(t.to(at::kMeta));
    const SharedLinears shapes = own_outputs(c, o, meta, Format::bfloat16);
    for (size_t i = 0; i < exact.size(); ++i) {
      EXPECT_LT((wide.y[i] - exact[i]).abs().max().item<double>(), 1e-12);
      EXPECT_EQ(shapes.y[i].sizes(), exact[i].sizes());
    }
  }
}

TEST(NormedLinears, TheOwnKernelsAreTakenAtTheSizesOfNets) {
  if (isa() == Isa::aten) GTEST_SKIP() << "own kernels are switched off";
  watch_paths(true);
  for (const Format format : {Format::float32, Format::bfloat16}) {
    const SharedCase c{NormOf::Kind::rms, {64, 64, 64}};
    const SharedOperands o(c, {16, 64}, 64);
    const SharedLinears found = own_outputs(c, o, o.own, format);
    (found.y[0].sum() + found.y[2].sum()).backward();
  }
  const auto taken = paths_taken();
  watch_paths(false);
  for (const char* op : {"normed linears", "normed linears backward"}) {
    EXPECT_EQ(taken.at(op).size(), 2U) << op;
    EXPECT_EQ(taken.at(op).at("own: float32"), 1) << op;
    EXPECT_EQ(taken.at(op).at("own: bfloat16"), 1) << op;
  }
}

}  // namespace
}  // namespace etude
