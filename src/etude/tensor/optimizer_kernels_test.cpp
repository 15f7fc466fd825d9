#include "etude/tensor/optimizer_kernels.h"

#include "etude/base/torch_pch.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>

#include "etude/base/rng.h"
#include "etude/tensor/fill.h"
#include "etude/tensor/processor.h"

namespace etude {
namespace {

using Row = std::vector<Tensor>;

/// Sizes around those of vectors, blocks and shares: none, one, odd ones, a matrix laid out by columns, large ones.
Row update_row(const std::string& name, uint64_t seed, at::ScalarType type = at::kFloat) {
  Row row;
  for (const auto& sizes : std::vector<std::vector<int64_t>>{
           {0}, {1}, {}, {7}, {16}, {3, 5}, {0, 4}, {33}, {127, 65}, {4095}, {4097}, {3, 0}, {130, 257}, {70001}}) {
    const Tensor t = at::empty(sizes, at::kFloat);
    Rng rng = Rng(Key{.seed = seed, .purpose = Purpose::test}).fork(name + std::to_string(row.size()));
    fill_normal_(t, rng);
    row.push_back(t.to(type));
  }
  row[5] = row[5].t().contiguous().t();
  return row;
}

Row copies(const Row& row, at::ScalarType type) {
  Row all;
  for (const Tensor& t : row) all.push_back(t.to(type, false, /*copy=*/true, at::MemoryFormat::Preserve));
  return all;
}

/// |a - b| / |b| over all tensors.
double relative_error(const Row& found, const Row& expected) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    difference += (found[i].to(at::kDouble) - expected[i]).pow(2).sum().item<double>();
    size += expected[i].pow(2).sum().item<double>();
  }
  return std::sqrt(difference / size);
}

bool same_bits_in_rows(const Row& a, const Row& b) {
  for (size_t i = 0; i < a.size(); ++i)
    if (!at::equal(a[i], b[i])) return false;
  return true;
}

/// Runs `check` with each of our instruction sets that this processor has.
void on_each_isa(const std::function<void()>& check) {
  const Isa before = isa();
  for (const Isa each : available_isas()) {
    if (each == Isa::aten) continue;
    force_isa(each);
    SCOPED_TRACE(std::string(isa_name(each)));
    check();
  }
  force_isa(before);
}

/// Kingma and Ba 2015, Algorithm 1, and Loshchilov and Hutter 2019, Algorithm 2, line by line in double.
void adam_in_double(Row& theta, const Row& gradient, Row& m, Row& v, const std::vector<double>& t,
                    const AdamPass& with) {
  for (size_t i = 0; i < theta.size(); ++i) {
    Tensor g = gradient[i].to(at::kDouble) * with.gradient_scale;
    if (!with.decoupled) g = g + with.weight_decay * theta[i];
    m[i] = with.beta1 * m[i] + (1 - with.beta1) * g;
    v[i] = with.beta2 * v[i] + (1 - with.beta2) * g * g;
    const Tensor m_hat = m[i] / (1 - std::pow(with.beta1, t[i])), v_hat = v[i] / (1 - std::pow(with.beta2, t[i]));
    const Tensor decay = (with.decoupled ? with.lr * with.weight_decay : 0) * theta[i];
    theta[i] = theta[i] - with.lr * m_hat / (v_hat.sqrt() + with.eps) - decay;
  }
}

TEST(OptimizerKernels, AdamIsThatOfTheAlgorithms) {
  on_each_isa([] {
    for (const bool decoupled : {false, true})
      for (const auto type : {at::kFloat, at::kBFloat16})
        for (const double scale : {1.0, 0.3}) {
          const AdamPass with{0.02, 0.9, 0.99, 1e-3, 0.1, decoupled, scale};
          Row theta = update_row("theta", 1), m = update_row("m", 1), v = update_row("v", 1);
          for (const Tensor& each : v) each.abs_();
          Row theta64 = copies(theta, at::kDouble), m64 = copies(m, at::kDouble), v64 = copies(v, at::kDouble);
          std::vector<double> t(theta.size());
          for (size_t i = 0; i < t.size(); ++i) t[i] = static_cast<double>(i % 3);
          for (uint64_t step = 0; step < 4; ++step) {
            const Row g = update_row("g", step, type), kept = copies(g, type);
            for (double& each : t) each += 1;
            ASSERT_TRUE(has_update_pass(theta, g, {m, v}));
            adam_pass(theta, g, m, v, t, with);
            adam_in_double(theta64, g, m64, v64, t, with);
            EXPECT_TRUE(same_bits_in_rows(g, kept)) << "gradients are read only";
          }
          EXPECT_LT(relative_error(theta, theta64), 1e-6);
          EXPECT_LT(relative_error(m, m64), 1e-6);
          EXPECT_LT(relative_error(v, v64), 1e-6);
        }
  });
}

TEST(OptimizerKernels, SgdIsThatOfItsDefinition) {
  on_each_isa([] {
    for (const double momentum : {0.0, 0.9})
      for (const bool nesterov : {false, true})
        for (const auto type : {at::kFloat, at::kBFloat16}) {
          if (nesterov && momentum == 0) continue;
          const SgdPass with{0.1, momentum, 0.05, nesterov, 0.7};
          Row theta = update_row("theta", 2), b;
          Row theta64 = copies(theta, at::kDouble), b64;
          if (momentum > 0) b = update_row("b", 2), b64 = copies(b, at::kDouble);
          for (uint64_t step = 0; step < 4; ++step) {
            const Row g = update_row("g", step, type);
            sgd_pass(theta, g, b, with);
            for (size_t i = 0; i < theta64.size(); ++i) {
              Tensor g64 = 0.7 * g[i].to(at::kDouble) + 0.05 * theta64[i];
              if (momentum > 0) {
                b64[i] = momentum * b64[i] + g64;
                g64 = nesterov ? g64 + momentum * b64[i] : b64[i];
              }
              theta64[i] = theta64[i] - 0.1 * g64;
            }
          }
          EXPECT_LT(relative_error(theta, theta64), 1e-6);
          EXPECT_TRUE(momentum == 0 || relative_error(b, b64) < 1e-6);
        }
  });
}

TEST(OptimizerKernels, SquaresAddUpInDouble) {
  on_each_isa([] {
    for (const auto type : {at::kFloat, at::kBFloat16}) {
      const Row x = update_row("x", 3, type);
      double expected = 0;
      for (const Tensor& t : x) {
        ASSERT_TRUE(has_norm_pass(t));
        expected += t.to(at::kDouble).pow(2).sum().item<double>();
      }
      EXPECT_NEAR(sum_of_squares(x) / expected, 1, 1e-13);
    }
    EXPECT_EQ(sum_of_squares({}), 0);
    EXPECT_NEAR(sum_of_squares({at::full({3}, 3e30f)}) / 27e60, 1, 1e-6) << "beyond float32";
    EXPECT_TRUE(std::isnan(sum_of_squares({at::tensor({1.f, NAN})})));
    EXPECT_TRUE(std::isinf(sum_of_squares({at::full({40}, INFINITY)})));
  });
}

TEST(OptimizerKernels, AnyNumberOfThreadsGivesTheSameBits) {
  const int before = at::get_num_threads();
  std::vector<Row> results;
  std::vector<double> sums;
  const auto large = [](const std::string& name) {
    Row row = update_row(name, 4);
    Rng rng = Rng(Key{.seed = 4, .purpose = Purpose::test}).fork(name);
    fill_normal_(row.emplace_back(at::empty({700001})), rng);  // worth three threads
    return row;
  };
  for (const int threads : {1, 2, 3, 1}) {
    at::set_num_threads(threads);
    const Row theta = large("theta"), m = large("m"), v = large("v"), b = large("b"), g = large("g");
    for (const Tensor& each : v) each.abs_();
    adam_pass(theta, g, m, v, std::vector<double>(theta.size(), 2), {0.01, 0.9, 0.999, 1e-8, 0.01, true, 0.5});
    sgd_pass(theta, g, b, {0.1, 0.9, 0.01, true, 0.5});
    results.push_back(theta);
    sums.push_back(sum_of_squares(theta));
  }
  at::set_num_threads(before);
  for (size_t i = 1; i < results.size(); ++i) {
    EXPECT_TRUE(same_bits_in_rows(results[i], results[0]));
    EXPECT_EQ(sums[i], sums[0]);
  }
}

TEST(OptimizerKernels, WeightsThatAreNotFiniteStayOutOfGradients) {
  const Tensor theta = at::full({20}, INFINITY), g = at::ones({20}), m = at::zeros({20}), v = at::zeros({20});
  adam_pass({theta}, {g}, {m}, {v}, {1}, {0.1, 0.9, 0.99, 1e-8, 0.1, true, 1});
  EXPECT_TRUE(at::isfinite(m).all().item<bool>()) << "a decoupled decay is no part of the gradient";
}

TEST(OptimizerKernels, SayWhatTheyTake) {
  const Tensor x = at::ones({4, 6});
  EXPECT_TRUE(has_update_pass({x}, {x}, {{x}}));
  EXPECT_TRUE(has_update_pass({x}, {x.to(at::kBFloat16)}, {}));
  EXPECT_TRUE(has_update_pass({}, {}, {}));
  const Tensor columns = at::ones({6, 4}).t(), some = at::ones({4, 12}).slice(1, 0, 12, 2);
  EXPECT_FALSE(has_update_pass({x}, {columns}, {}));
  EXPECT_FALSE(has_update_pass({some}, {some}, {})) << "not dense";
  EXPECT_FALSE(has_update_pass({x}, {x}, {{x.to(at::kDouble)}}));
  EXPECT_FALSE(has_update_pass({x.to(at::kDouble)}, {x.to(at::kDouble)}, {}));
  EXPECT_FALSE(has_update_pass({x}, {x.to(at::kDouble)}, {}));
  EXPECT_FALSE(has_update_pass({x.to(at::kMeta)}, {x.to(at::kMeta)}, {}));
  EXPECT_FALSE(has_norm_pass(Tensor()));
  EXPECT_FALSE(has_norm_pass(some));
  EXPECT_FALSE(has_norm_pass(x.to(at::kDouble)));
  EXPECT_FALSE(has_norm_pass(x.to_sparse()));
  const Isa before = isa();
  force_isa(Isa::aten);
  EXPECT_FALSE(has_update_pass({x}, {x}, {}));
  EXPECT_FALSE(has_norm_pass(x));
  force_isa(before);
}

}  // namespace
}  // namespace etude
