#include "methods/noloco/simulation.h"

#include "etude/base/torch_pch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace etude::noloco_simulation_test {
namespace {

using namespace noloco;

double median_of_others(std::vector<double> idle) {
  idle.erase(idle.begin());
  std::sort(idle.begin(), idle.end());
  return idle[idle.size() / 2];
}

TEST(NoLoCoSimulation, ATreeTakesLongerByTheLogarithm) {
  // The ratios that the specification of the paper gives for s = 0.5; the pair's closed form is exp(s^2/2) (1 +
  // erf(s/2)).
  const auto table = latency_table(1);
  ASSERT_EQ(table.rows.size(), 8u);
  for (const auto& row : table.rows) {
    ASSERT_EQ(row.size(), table.columns.size());
    EXPECT_NEAR(row[1] / (std::exp(0.125) * (1 + std::erf(0.25))), 1, 0.01);
    for (const auto& [N, ratio] : {std::pair{8, 5.8}, {64, 13.0}, {256, 19.0}, {1024, 24.0}})
      if (row[0] == N) {
        EXPECT_NEAR(row[3] / ratio, 1, 0.05) << N;
      }
  }
}

TEST(NoLoCoSimulation, AStragglerHoldsUpItsPartnersOnly) {
  for (const int N : {8, 64}) {
    const double pairs = median_of_others(straggler_idle({.replicas = N}, 7));
    const double all = median_of_others(straggler_idle({.replicas = N, .group = N}, 7));
    EXPECT_GT(all, 3 * 179) << N;
    EXPECT_LT(pairs, N == 8 ? all : 5) << N;
  }
  // At 1024 replicas hardly anybody notices: a partner's partners are at most 7 after three outer steps.
  const auto idle = straggler_idle({.replicas = 1024}, 7);
  const auto delayed = std::count_if(idle.begin() + 1, idle.end(), [](double seconds) { return seconds > 100; });
  EXPECT_LT(median_of_others(idle), 5);
  EXPECT_LE(delayed, 7);
  EXPECT_GE(delayed, 1);
}

TEST(NoLoCoSimulation, TheClockOfATreeAgreesWithTheExchangeOfAll) {
  // Waiting for the straggler is 9 * 20 seconds an outer step in both; what messages take on top differs.
  for (const int N : {8, 64}) {
    const double clock = median_of_others(straggler_idle_in_tree({.replicas = N}, 7));
    const double exchange = median_of_others(straggler_idle({.replicas = N, .group = N}, 7));
    EXPECT_NEAR(clock, 3 * 180, 3 * 0.1 * 2 * std::log2(N) * 3) << N;
    EXPECT_NEAR(clock / exchange, 1, 0.02) << N;
  }
  // Nobody slow and no spread: everybody waits for the tree alone.
  for (const double idle : straggler_idle_in_tree({.replicas = 16, .slowness = 1, .spread = 0}, 7))
    EXPECT_NEAR(idle, 3 * 0.1 * 2 * 4, 1e-12);
}

TEST(NoLoCoSimulation, TheTableSaysWhatTheSimulationsSay) {
  const auto table = straggler_table(7);
  ASSERT_EQ(table.rows.size(), 12u);
  for (const auto& row : table.rows) {
    ASSERT_EQ(row.size(), table.columns.size());
    EXPECT_LE(row[2], row[4]);
    EXPECT_EQ(row[4], 1) << "an all-reduce holds up everybody";
    EXPECT_LE(row[3], row[5]);
    if (row[0] == 1024 && row[1] == 3) {
      EXPECT_LE(row[2] * 1023, 7);
    }
  }
}

}  // namespace
}  // namespace etude::noloco_simulation_test
