#include "etude/report/statistics.h"

#include <array>
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

namespace etude::report {
namespace {

// Two-sided 95 % and 99 % points from the printed tables (Abramowitz and Stegun 26.10).
TEST(StudentT, MatchesThePrintedTable) {
  const std::vector<std::array<double, 3>> table = {
      {1, 12.706, 63.657}, {2, 4.303, 9.925},  {3, 3.182, 5.841},  {4, 2.776, 4.604},  {5, 2.571, 4.032},
      {9, 2.262, 3.250},   {10, 2.228, 3.169}, {29, 2.045, 2.756}, {60, 2.000, 2.660}, {120, 1.980, 2.617}};
  for (const auto& [df, p95, p99] : table) {
    EXPECT_NEAR(student_t_quantile(0.975, df), p95, 6e-4) << df;
    EXPECT_NEAR(student_t_quantile(0.995, df), p99, 6e-4) << df;
  }
}

TEST(StudentT, MatchesClosedFormsOfOneTwoAndFourDegrees) {
  const double pi = std::acos(-1.0);
  for (const double p : {1e-12, 1e-6, 0.01, 0.3, 0.499, 0.51, 0.9, 0.975, 0.9999}) {
    const double one = -1 / std::tan(pi * p);
    EXPECT_NEAR(student_t_quantile(p, 1) / one, 1, 1e-9) << p;
    const double two = (2 * p - 1) / std::sqrt(2 * p * (1 - p));
    EXPECT_NEAR(student_t_quantile(p, 2) / two, 1, 1e-9) << p;
    const double a = 4 * p * (1 - p);
    const double q = std::cos(std::acos(std::sqrt(a)) / 3) / std::sqrt(a);
    const double four = (p < 0.5 ? -1 : 1) * 2 * std::sqrt(q - 1);
    EXPECT_NEAR(student_t_quantile(p, 4) / four, 1, 1e-7) << p;
  }
}

TEST(StudentT, CdfAndQuantileAreInverseAndSymmetric) {
  for (const double df : {1.0, 2.5, 7.0, 33.0, 999.0, 1e6})
    for (const double p : {0.001, 0.2, 0.5, 0.8, 0.975}) {
      const double t = student_t_quantile(p, df);
      EXPECT_NEAR(student_t_cdf(t, df), p, 1e-12) << df;
      EXPECT_NEAR(student_t_quantile(1 - p, df), -t, 1e-9 * (1 + std::abs(t)));
    }
}

TEST(StudentT, TendsToTheNormal) { EXPECT_NEAR(student_t_quantile(0.975, 1e9), 1.959963984540054, 1e-7); }

TEST(Interval, OfFivePairsByHand) {
  // mean 3, sd sqrt(2.5), half width 2.776445 * sqrt(2.5 / 5)
  const std::vector<double> x = {1, 2, 3, 4, 5};
  const auto interval = mean_interval(x);
  EXPECT_EQ(interval.n, 5);
  EXPECT_DOUBLE_EQ(interval.mean, 3);
  EXPECT_DOUBLE_EQ(interval.sd, std::sqrt(2.5));
  EXPECT_NEAR(interval.low, 3 - 1.963243, 1e-6);
  EXPECT_NEAR(interval.high, 3 + 1.963243, 1e-6);
}

TEST(Interval, OfLessThanTwoValuesIsTheWholeLine) {
  for (const auto& x : {std::vector<double>{}, std::vector<double>{4}}) {
    const auto interval = mean_interval(x);
    EXPECT_TRUE(std::isinf(interval.low) && std::isinf(interval.high));
  }
  EXPECT_TRUE(std::isinf(bootstrap_interval({}, 1).high));
  EXPECT_TRUE(std::isinf(bootstrap_interval(std::vector<Weighted>{{4, 1}}, 1).high));
}

TEST(Interval, HasItsCoverage) {
  // 4000 samples of five normal values: 95 % of the intervals hold the true mean, give or take 1 %.
  int covered = 0;
  uint32_t state = 12345;
  const auto uniform = [&] { return ((state = state * 1664525u + 1013904223u) >> 8) / 16777216.0 + 1e-9; };
  for (int trial = 0; trial < 4000; ++trial) {
    std::vector<double> x(5);
    for (auto& v : x) v = std::sqrt(-2 * std::log(uniform())) * std::cos(6.283185307179586 * uniform());
    const auto interval = mean_interval(x);
    covered += interval.low <= 0 && 0 <= interval.high;
  }
  EXPECT_NEAR(covered / 4000.0, 0.95, 0.015);
}

TEST(Bootstrap, IsKeyedAndNearTheNormalInterval) {
  std::vector<Weighted> items;
  std::vector<double> plain;
  for (int i = 0; i < 400; ++i) {
    items.push_back({std::sin(i * 1.7) + 0.3, 64});
    plain.push_back(items.back().value);
  }
  const auto once = bootstrap_interval(items, 7), again = bootstrap_interval(items, 7);
  EXPECT_EQ(once.low, again.low);
  EXPECT_EQ(once.high, again.high);
  EXPECT_NE(once.low, bootstrap_interval(items, 8).low);
  const double error = standard_deviation(plain) / 20;
  EXPECT_NEAR(once.sd, error, 0.1 * error);
  EXPECT_NEAR(once.low, once.mean - 1.96 * error, 0.3 * error);
  EXPECT_NEAR(once.high, once.mean + 1.96 * error, 0.3 * error);
}

TEST(Bootstrap, WeighsItems) {
  const std::vector<Weighted> items = {{1, 3}, {5, 1}};
  EXPECT_DOUBLE_EQ(bootstrap_interval(items, 0).mean, 2);
  EXPECT_DOUBLE_EQ(bootstrap_interval(items, 0).low, 1);
  EXPECT_DOUBLE_EQ(bootstrap_interval(items, 0).high, 5);
}

TEST(SeedsNeeded, IsTheSmallestThatDecides) {
  // t(n-1) / sqrt(n): n=7 gives 2.4469/2.6458 = 0.9249, n=6 gives 2.5706/2.4495 = 1.0494.
  EXPECT_EQ(seeds_needed(1, 1), 7);
  EXPECT_EQ(seeds_needed(0.001, 1), 2);
  EXPECT_EQ(seeds_needed(0, 1), 2);
  EXPECT_EQ(seeds_needed(1, 0), std::nullopt);
  EXPECT_EQ(seeds_needed(1, 0.06), std::nullopt) << "1.9623 / sqrt(1000) = 0.0621";
  EXPECT_EQ(seeds_needed(0, 0), std::nullopt);
}

}  // namespace
}  // namespace etude::report
