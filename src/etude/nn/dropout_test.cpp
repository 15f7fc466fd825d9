#include "etude/nn/context.h"
#include "etude/nn/testing.h"

namespace etude {
namespace {

using test::distance;

Ctx training(const Tensor& id_B) {
  Ctx ctx;
  ctx.seed = 3;
  ctx.step = 17;
  ctx.train = true;
  ctx.id_B = id_B;
  return ctx;
}

TEST(Dropout, IsTheIdentityOutsideTrainingAndAtZero) {
  const Tensor x = at::ones({2, 3});
  Ctx ctx = training(at::arange(2, at::kLong));
  EXPECT_TRUE(dropout(x, 0, ctx, "a").is_same(x));
  ctx.train = false;
  EXPECT_TRUE(dropout(x, 0.5, ctx, "a").is_same(x));
}

TEST(Dropout, ASampleKeepsItsMaskInAnyBatch) {
  const Tensor id = at::tensor({900, 4, 17, 5}, at::kLong);
  const Tensor x = at::ones({4, 7, 9});
  const Tensor whole = dropout(x, 0.3, training(id), "a");
  const Tensor first = dropout(x.narrow(0, 0, 1), 0.3, training(id.narrow(0, 0, 1)), "a");
  const Tensor rest = dropout(x.narrow(0, 1, 3), 0.3, training(id.narrow(0, 1, 3)), "a");
  EXPECT_TRUE(at::equal(whole, at::cat({first, rest})));
  EXPECT_TRUE(at::equal(dropout(x.flip(0), 0.3, training(id.flip(0)), "a"), whole.flip(0)));
}

TEST(Dropout, MasksDifferBetweenSamplesStepsSeedsAndSites) {
  const Tensor x = at::ones({2, 200});
  Ctx ctx = training(at::tensor({1, 2}, at::kLong));
  const Tensor y = dropout(x, 0.5, ctx, "a");
  EXPECT_FALSE(at::equal(y[0], y[1]));
  EXPECT_FALSE(at::equal(dropout(x, 0.5, ctx, "b"), y));
  EXPECT_TRUE(at::equal(dropout(x, 0.5, ctx, "a"), y));
  ctx.step = 18;
  EXPECT_FALSE(at::equal(dropout(x, 0.5, ctx, "a"), y));
  ctx.step = 17;
  ctx.seed = 4;
  EXPECT_FALSE(at::equal(dropout(x, 0.5, ctx, "a"), y));
}

TEST(Dropout, DropsAShareOfPAndKeepsTheMean) {
  const double p = 0.2;
  const int64_t n = 400000;
  const Tensor y = dropout(at::full({1, n}, 3.0, at::kDouble), p, training(at::zeros({1}, at::kLong)), "a");
  const Tensor kept = y.masked_select(y.ne(0));
  EXPECT_NEAR(static_cast<double>(kept.numel()) / static_cast<double>(n), 1 - p,
              5 * std::sqrt(p * (1 - p) / static_cast<double>(n)));
  EXPECT_LT((kept - 3 / (1 - p)).abs().max().item<double>(), 1e-6);
  EXPECT_EQ(y.scalar_type(), at::kDouble);
}

TEST(Dropout, GradientIsTheMask) {
  const Tensor x = test::random({2, 5}, "x").requires_grad_(true);
  const Ctx ctx = training(at::tensor({1, 2}, at::kLong));
  dropout(x, 0.5, ctx, "a").sum().backward();
  EXPECT_EQ(distance(x.grad(), dropout(at::ones({2, 5}, at::kDouble), 0.5, ctx, "a")), 0);
}

TEST(Dropout, LeavesTheDefaultGeneratorAlone) {
  const auto state = [] { return at::globalContext().defaultGenerator(at::kCPU).get_state().clone(); };
  const Tensor before = state();
  (void)dropout(at::ones({2, 5}), 0.5, training(at::tensor({1, 2}, at::kLong)), "a");
  EXPECT_TRUE(at::equal(state(), before));
}

TEST(Dropout, AnEmptyBatchStaysEmpty) {
  EXPECT_EQ(dropout(at::ones({0, 5}), 0.5, training(at::empty({0}, at::kLong)), "a").size(0), 0);
}

}  // namespace
}  // namespace etude
