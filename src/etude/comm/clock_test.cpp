#include "etude/comm/clock.h"

#include "etude/base/torch_pch.h"

#include <gtest/gtest.h>

#include <cmath>

#include "etude/comm/group_mean.h"

namespace etude {
namespace {

/// All replicas meet in the given groups once.
void meet(Clock& clock, const std::vector<std::vector<int>>& groups, int rounds) {
  std::map<int, GroupMean> sides;
  const std::vector<Tensor> own = {torch::ones({8})};
  for (int round = 0; round < rounds; ++round) {
    for (const auto& group : groups)
      for (int r : group) sides[r].post(clock.peers(r), group, own, round);
    for (const auto& group : groups)
      for (int r : group) sides[r].collect(clock.peers(r), group, own, round);
    clock.end_round();
  }
}

TEST(Clock, AMessageTakesLatencyAndBytesOverBandwidth) {
  Clock clock(2, {.median = 0.5, .bandwidth = 100}, 1);
  clock.compute(0, 2);
  clock.compute(1, 1);
  clock.peers(0).send(1, "a", {torch::zeros({50}), torch::zeros({25})});  // 300 bytes: 3 s
  clock.peers(0).send(1, "b", {torch::zeros({25})});                      // waits for the link: 1 s more
  EXPECT_EQ(clock.now(0), 2) << "sending does not block";
  EXPECT_EQ(clock.peers(1).receive(0, "a").size(), 2u);
  EXPECT_DOUBLE_EQ(clock.now(1), 5.5);
  EXPECT_DOUBLE_EQ(clock.idle(1), 4.5);
  clock.peers(1).receive(0, "b");
  EXPECT_DOUBLE_EQ(clock.now(1), 6.5);
  EXPECT_DOUBLE_EQ(clock.latest(), 6.5);
  EXPECT_EQ(clock.peers(0).traffic().bytes, 400);
  EXPECT_EQ(clock.peers(0).traffic().messages, 2);
}

TEST(Clock, AMessageThatIsThereAlreadyCostsNoWaiting) {
  Clock clock(2, {.median = 1}, 1);
  clock.peers(0).send(1, "a", {torch::zeros({1})});
  clock.compute(1, 3);
  clock.peers(1).receive(0, "a");
  EXPECT_DOUBLE_EQ(clock.now(1), 3);
  EXPECT_DOUBLE_EQ(clock.idle(1), 0);
}

TEST(Clock, AMessageToOneselfTakesNoTime) {
  Clock clock(1, {.median = 1, .bandwidth = 1}, 1);
  clock.peers(0).send(0, "a", {torch::zeros({9})});
  EXPECT_EQ(clock.peers(0).receive(0, "a").size(), 1u);
  EXPECT_EQ(clock.now(0), 0);
  EXPECT_EQ(clock.peers(0).traffic().messages, 0);
}

TEST(Clock, WhoIsLostCostsTheDeadlineAndNoMore) {
  Clock clock(2, {.median = 1, .deadline = 4}, 1);
  clock.lose(0);
  clock.peers(0).send(1, "a", {torch::zeros({1})});
  EXPECT_TRUE(clock.peers(1).receive(0, "a").empty());
  EXPECT_DOUBLE_EQ(clock.now(1), 4);
  EXPECT_DOUBLE_EQ(clock.idle(1), 4);
}

TEST(Clock, LatenciesAreKeyed) {
  const auto run = [](uint64_t seed, int replicas, bool other_first) {
    Clock clock(replicas, {.median = 1, .spread = 0.5}, seed);
    if (other_first) clock.peers(1).send(0, "a", {torch::zeros({1})});
    clock.peers(0).send(1, "a", {torch::zeros({1})});
    clock.peers(1).receive(0, "a");
    return clock.now(1);
  };
  EXPECT_EQ(run(1, 2, false), run(1, 2, false));
  EXPECT_EQ(run(1, 2, false), run(1, 9, true));
  EXPECT_NE(run(1, 2, false), run(2, 2, false));
}

TEST(Clock, LatenciesAreLognormal) {
  // Mean of log = 0, standard deviation of log = s.
  Clock clock(2, {.median = 1, .spread = 0.5}, 5);
  const int draws = 20000;
  double sum = 0, squares = 0;
  for (int i = 0; i < draws; ++i) {
    const double before = clock.now(1);
    clock.compute(0, before - clock.now(0));
    clock.peers(0).send(1, "a", {});
    EXPECT_TRUE(clock.peers(1).receive(0, "a").empty());
    const double log = std::log(clock.now(1) - before);
    sum += log;
    squares += log * log;
    clock.end_round();
  }
  EXPECT_NEAR(sum / draws, 0, 0.5 * 4 / std::sqrt(draws));
  EXPECT_NEAR(std::sqrt(squares / draws), 0.5, 0.01);
}

TEST(Clock, PairExchangeMatchesItsClosedForm) {
  for (double s : {0.0, 0.25, 0.5, 1.0}) {
    const double expected = std::exp(s * s / 2) * (1 + std::erf(s / 2));
    EXPECT_NEAR(pair_exchange_seconds(s, 200000, 1) / expected, 1, 0.01) << s;
  }
}

TEST(Clock, ThePairExchangeOverPeersTakesAsLong) {
  // The later of the two messages, seen by whoever finishes last.
  const double s = 0.5;
  const int N = 512, meetings = 20;
  double total = 0;
  for (int k = 0; k < meetings; ++k) {
    Clock clock(N, {.median = 1, .spread = s}, static_cast<uint64_t>(k));
    std::vector<std::vector<int>> pairs;
    for (int r = 0; r < N; r += 2) pairs.push_back({r, r + 1});
    meet(clock, pairs, 1);
    for (int r = 0; r < N; r += 2) total += std::max(clock.now(r), clock.now(r + 1));
  }
  EXPECT_NEAR(total / (meetings * N / 2), std::exp(s * s / 2) * (1 + std::erf(s / 2)), 0.03);
}

TEST(Clock, TreeWithoutSpreadIsItsDepth) {
  for (int N : {2, 8, 64, 1024}) EXPECT_DOUBLE_EQ(tree_all_reduce_seconds(N, 0, 1, 1), 2 * std::log2(N));
}

TEST(Clock, TreeOverPairGrowsWithTheLogarithm) {
  const double s = 0.5, pair = std::exp(s * s / 2) * (1 + std::erf(s / 2));
  const std::vector<std::pair<int, double>> expected = {{8, 5.8}, {64, 13}, {256, 19}, {1024, 24}};
  for (const auto& [N, ratio] : expected)
    EXPECT_NEAR(tree_all_reduce_seconds(N, s, 400000 / N, 1) / pair / ratio, 1, 0.05) << N;
}

}  // namespace
}  // namespace etude
