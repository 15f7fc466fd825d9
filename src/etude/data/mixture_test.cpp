#include "etude/data/mixture.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "etude/base/testing.h"
#include "etude/data/source.h"

namespace etude::mixture_test {
namespace {

const std::vector<std::vector<double>> kWeights = {{1},
                                                   {1, 1},
                                                   {3, 1},
                                                   {0.7, 0.2, 0.1},
                                                   {1, 2, 3, 4, 5, 6, 7},
                                                   {0.015, 0.985},
                                                   {std::sqrt(2.0), 1, std::exp(1.0)},
                                                   {1e-3, 1, 1e-3, 5},
                                                   {1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
                                                   {2.5e-6, 1}};

TEST(Mixture, EveryBeginningHoldsEachWeightToLessThanOneSample) {
  for (const std::vector<double>& weights : kWeights) {
    const Mixture mixture(weights);
    const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
    std::vector<int64_t> taken(weights.size(), 0);
    for (int64_t p = 0; p < 30000; ++p) {
      const Mixture::Place place = mixture.at(p);
      ASSERT_LT(place.source, weights.size());
      ASSERT_EQ(place.number, taken[place.source]++);
      for (size_t s = 0; s < weights.size(); ++s) {
        ASSERT_LT(std::abs(static_cast<double>(taken[s]) - weights[s] / sum * static_cast<double>(p + 1)), 1 + 1e-6)
            << "source " << s << " of " << weights.size() << " at " << p;
      }
    }
    for (size_t s = 0; s < weights.size(); ++s) ASSERT_EQ(mixture.count(s, 30000), taken[s]);
  }
}

TEST(Mixture, PeriodsAreExactWhereTheyCanBe) {
  EXPECT_EQ(Mixture({0.7, 0.2, 0.1}).period(), 10);
  EXPECT_EQ(Mixture({3, 1}).shares(), (std::vector<int64_t>{3, 1}));
  EXPECT_EQ(Mixture({1, std::sqrt(2.0)}).period(), 1 << 20);
  const Mixture far({0.7, 0.2, 0.1});
  const int64_t p = int64_t{1} << 50;
  EXPECT_EQ(far.at(10 * p).number, p * far.shares()[far.at(0).source]);
  EXPECT_EQ(far.count(0, 10 * p), 7 * p);
}

TEST(Mixture, WeightsThatAreNoShares) {
  const double nan = std::nan("");
  for (const auto& [bad, place] :
       std::vector<std::pair<std::vector<double>, std::string>>{{{0, 1}, "data.mix.0"},
                                                                {{1, -1, 5}, "data.mix.1"},
                                                                {{1, nan}, "data.mix.0.weight"},
                                                                {{1, HUGE_VAL}, "data.mix.0.weight"},
                                                                {{1, 1e-7}, "data.mix.1"}}) {
    expect_error([&] { Mixture mixture(bad); }, Code::config, "is no share of", place, "positive");
  }
}

PlanPoint point(int64_t step, int64_t position, int replica, int replicas, int64_t batch, int64_t records) {
  return {3, step, position, replica, replicas, records, batch};
}

TEST(MixedPlan, EveryRecordOncePerEpochOfItsPart) {
  const std::vector<Share> shares = {{0, 7, 3}, {7, 50, 1}, {57, 1, 1}};
  for (const bool shuffle : {true, false}) {
    const auto plan = mixed_plan(shuffle, shares);
    std::vector<std::vector<int64_t>> taken(3);
    for (int64_t step = 0; step < 250; ++step) {
      for (int replica = 0; replica < 2; ++replica) {
        for (const int64_t id : plan->ids(point(step, step * 2, replica, 2, 1, 58))) {
          taken[id < 7 ? 0 : id < 57 ? 1 : 2].push_back(id);
        }
      }
    }
    EXPECT_EQ(taken[0].size(), 300u);
    EXPECT_EQ(taken[1].size(), 100u);
    EXPECT_EQ(taken[2].size(), 100u);
    // Replicas of a step take its samples in any order, so epochs are looked at in steps that they fill.
    EXPECT_EQ(std::set<int64_t>(taken[1].begin(), taken[1].begin() + 50).size(), 50u);
    EXPECT_EQ(std::set<int64_t>(taken[1].begin() + 50, taken[1].end()).size(), 50u);
    if (!shuffle) {
      for (int64_t i = 0; i < 100; ++i) EXPECT_EQ(taken[1][static_cast<size_t>(i)], 7 + i % 50);
    } else {
      EXPECT_NE(std::vector<int64_t>(taken[1].begin(), taken[1].begin() + 50),
                std::vector<int64_t>(taken[1].begin() + 50, taken[1].end()));
    }
  }
}

TEST(MixedPlan, TheSameSamplesWhateverTheReplicasAndBatches) {
  const std::vector<Share> shares = {{0, 11, 0.6}, {11, 5, 0.4}};
  const auto plan = mixed_plan(true, shares);
  const auto samples = [&](int64_t position, int replicas, int64_t batch) {
    std::multiset<int64_t> all;
    for (int r = 0; r < replicas; ++r) {
      for (const int64_t id : plan->ids(point(position, position, r, replicas, batch, 16))) all.insert(id);
    }
    return all;
  };
  for (int64_t position = 0; position < 60; position += 12) {
    const auto whole = samples(position, 1, 12);
    EXPECT_EQ(samples(position, 4, 3), whole);
    auto parts = samples(position, 2, 3);
    parts.merge(samples(position + 6, 3, 2));
    EXPECT_EQ(parts, whole);
    const auto of_first = std::count_if(whole.begin(), whole.end(), [](int64_t id) { return id < 11; });
    EXPECT_NEAR(static_cast<double>(of_first), 0.6 * 12, 1);
  }
  EXPECT_EQ(plan->ids(point(9, 90, 1, 3, 4, 16)), mixed_plan(true, shares)->ids(point(9, 90, 1, 3, 4, 16)));
}

TEST(MixedPlan, NoReplicaMeetsOnePartMoreThanOthers) {
  // Two parts in turn, two replicas with a sample each: in a fixed order each would always meet the same part.
  const auto plan = mixed_plan(true, {{0, 100, 1}, {100, 100, 1}});
  int first = 0;
  for (int64_t step = 0; step < 1000; ++step) first += plan->ids(point(step, 2 * step, 0, 2, 1, 200))[0] < 100;
  EXPECT_NEAR(first, 500, 100);
}

TEST(MixedPlan, PartsWithoutRecords) {
  const auto plan = mixed_plan(true, {{0, 3, 1}, {3, 0, 1}});
  expect_error([&] { plan->ids(point(0, 0, 0, 1, 2, 3)); }, Code::data, "no records", "data.mix", "add data");
}

}  // namespace
}  // namespace etude::mixture_test
