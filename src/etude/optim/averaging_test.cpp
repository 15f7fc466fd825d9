#include "etude/optim/averaging.h"

#include "etude/base/torch_pch.h"

#include <gtest/gtest.h>

#include "etude/base/testing.h"

namespace etude::averaging_test {
namespace {

TEST(Averaging, WarmsUpToItsDecay) {
  EXPECT_DOUBLE_EQ(warmed_up_decay(0.999, 0), 0.1);
  EXPECT_DOUBLE_EQ(warmed_up_decay(0.999, 8), 0.5);
  EXPECT_DOUBLE_EQ(warmed_up_decay(0.999, 90), 0.91);
  EXPECT_DOUBLE_EQ(warmed_up_decay(0.9, 80), 0.9);  // 81 / 90
  EXPECT_DOUBLE_EQ(warmed_up_decay(0.9, 1000), 0.9);
  EXPECT_DOUBLE_EQ(warmed_up_decay(0, 1000), 0);
}

TEST(Averaging, MovesByTheShareThatIsLeft) {
  const Tensor average = torch::tensor({0.0, 8.0}, torch::kFloat64);
  move_averages({average}, {torch::tensor({4.0, 0.0}, torch::kFloat64)}, 0.75);
  EXPECT_TRUE(torch::equal(average, torch::tensor({1.0, 6.0}, torch::kFloat64))) << average;
  move_averages({average}, {torch::tensor({5.0, 2.0}, torch::kFloat64)}, 0.75);
  EXPECT_TRUE(torch::equal(average, torch::tensor({2.0, 5.0}, torch::kFloat64))) << average;
}

TEST(Averaging, NarrowValuesHaveAWiderAverage) {
  const Tensor value = torch::full({3}, 1.0, torch::kBFloat16);
  const Tensor average = begin_average(value);
  EXPECT_EQ(average.scalar_type(), torch::kFloat32);
  // A thousandth of the way from 1 to 2, of which bfloat16 knows nothing.
  move_averages({average}, {torch::full({3}, 2.0, torch::kBFloat16)}, 0.999);
  EXPECT_NEAR(average[0].item<double>(), 1.001, 1e-6);
  EXPECT_EQ(value[0].item<double>(), 1);  // a copy
  const Tensor wide = torch::ones({2}, torch::kFloat64);
  EXPECT_EQ(begin_average(wide).scalar_type(), torch::kFloat64);
  EXPECT_NE(begin_average(wide).data_ptr(), wide.data_ptr());
}

TEST(Averaging, MeanIsSummedInDouble) {
  UniformMean mean;
  // In float 2^24 + 1 is 2^24: summed in float these would be 2^24 / 3.
  for (const float x : {16777216.0F, 1.0F, 1.0F})
    mean.add({{"a", torch::full({2}, x)}, {"steps", torch::tensor({static_cast<int64_t>(x)})}}, "state");
  const NamedTensors made = mean.mean();
  ASSERT_EQ(made.size(), 2U);
  EXPECT_EQ(made[0].first, "a");
  EXPECT_EQ(made[0].second.scalar_type(), torch::kFloat32);
  EXPECT_EQ(made[0].second[1].item<double>(), 5592406.0);
  EXPECT_EQ(made[1].second.item<int64_t>(), 1);  // of the last
}

TEST(Averaging, MeanChangesNoneOfItsStates) {
  const Tensor first = torch::zeros({2}, torch::kFloat64), count = torch::zeros({1}, torch::kInt64);
  UniformMean mean;
  mean.add({{"a", first}, {"n", count}}, "one");
  mean.add({{"n", count + 5}, {"a", first + 2}}, "two");  // whatever their order
  EXPECT_TRUE(torch::equal(mean.mean()[0].second, torch::ones({2}, torch::kFloat64)));
  mean.mean()[1].second.fill_(77);
  EXPECT_EQ(mean.mean()[1].second.item<int64_t>(), 5);
  EXPECT_EQ(first[0].item<double>(), 0);
  EXPECT_EQ(count.item<int64_t>(), 0);
}

TEST(Averaging, StatesOfOtherNetsAreRefused) {
  const auto with = [](const NamedTensors& second) {
    UniformMean mean;
    mean.add({{"a", torch::zeros({2})}, {"b", torch::zeros({2})}}, "step 1");
    mean.add(second, "step 2");
  };
  const Tensor two = torch::zeros({2});
  expect_error([&] { with({{"a", two}}); }, Code::checkpoint, "there are 1 tensors here and 2", "step 2", "same nets");
  expect_error([&] { with({{"a", two}, {"c", two}}); }, Code::checkpoint, "'c' is not in the state before", "step 2");
  expect_error(
      [&] {
        with({{"a", two}, {"b", torch::zeros({3})}});
      },
      Code::checkpoint, "'b' has another shape", "step 2");
  expect_error(
      [&] {
        with({{"a", two.to(torch::kFloat64)}, {"b", two}});
      },
      Code::checkpoint, "'a' has another shape or type", "step 2");
}

}  // namespace
}  // namespace etude::averaging_test
