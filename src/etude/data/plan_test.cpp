#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "etude/base/testing.h"
#include "etude/data/source.h"

namespace etude::plan_test {
namespace {

PlanPoint point(int64_t position, int replica, int replicas, int64_t records, int64_t batch, uint64_t seed = 7) {
  PlanPoint p;
  p.seed = seed;
  p.position = position;
  p.replica = replica;
  p.replicas = replicas;
  p.records = records;
  p.batch = batch;
  return p;
}

/// What all replicas take in one step, in the order of replicas.
std::vector<int64_t> step_ids(const Plan& plan, int64_t position, int replicas, int64_t records, int64_t batch) {
  std::vector<int64_t> all;
  for (int r = 0; r < replicas; ++r) {
    const std::vector<int64_t> own = plan.ids(point(position, r, replicas, records, batch));
    EXPECT_EQ(own.size(), static_cast<size_t>(batch));
    all.insert(all.end(), own.begin(), own.end());
  }
  return all;
}

/// Cuts what was taken into epochs and requires each to have every record once; the last may be unfinished.
void expect_epochs(const std::vector<int64_t>& taken, int64_t records) {
  for (size_t begin = 0; begin < taken.size(); begin += static_cast<size_t>(records)) {
    const size_t end = std::min(taken.size(), begin + static_cast<size_t>(records));
    const std::set<int64_t> distinct(taken.begin() + static_cast<long>(begin), taken.begin() + static_cast<long>(end));
    ASSERT_EQ(distinct.size(), end - begin) << "a record twice in the epoch from sample " << begin;
    ASSERT_GE(*distinct.begin(), 0);
    ASSERT_LT(*distinct.rbegin(), records);
  }
}

TEST(EpochPlan, EachSampleOnceAnEpochForAnyReplicasAndBatch) {
  for (const bool shuffle : {false, true}) {
    const auto plan = epoch_plan(shuffle);
    for (const int64_t records : {1, 2, 7, 64, 101}) {
      for (const int replicas : {1, 2, 3, 4, 8}) {
        for (const int64_t batch : {1, 2, 5, 16}) {
          std::vector<int64_t> taken;
          while (static_cast<int64_t>(taken.size()) < 3 * records + 1) {
            const auto ids = step_ids(*plan, static_cast<int64_t>(taken.size()), replicas, records, batch);
            taken.insert(taken.end(), ids.begin(), ids.end());
          }
          expect_epochs(taken, records);
        }
      }
    }
  }
}

TEST(EpochPlan, EachSampleOnceWhenBatchAndReplicasChangeFromStepToStep) {
  const auto plan = epoch_plan(true);
  std::mt19937 random(5);
  for (int round = 0; round < 20; ++round) {
    const int64_t records = 1 + static_cast<int64_t>(random() % 200);
    std::vector<int64_t> taken;
    for (int step = 0; step < 60; ++step) {
      const int replicas = 1 + static_cast<int>(random() % 8);
      const auto batch = static_cast<int64_t>(random() % 7);  // 0: an empty batch
      const auto ids = step_ids(*plan, static_cast<int64_t>(taken.size()), replicas, records, batch);
      taken.insert(taken.end(), ids.begin(), ids.end());
    }
    expect_epochs(taken, records);
  }
}

TEST(EpochPlan, ReplicasOnlyShareOutTheSameSequence) {
  const auto plan = epoch_plan(true);
  for (const int replicas : {2, 3, 4, 8}) {
    EXPECT_EQ(step_ids(*plan, 48, replicas, 57, 24 / replicas), step_ids(*plan, 48, 1, 57, 24));
  }
}

TEST(EpochPlan, ByHand) {
  const auto plan = epoch_plan(false);
  EXPECT_EQ(plan->ids(point(6, 0, 2, 10, 3)), (std::vector<int64_t>{6, 7, 8}));
  EXPECT_EQ(plan->ids(point(6, 1, 2, 10, 3)), (std::vector<int64_t>{9, 0, 1}));
  EXPECT_TRUE(plan->ids(point(6, 1, 2, 10, 0)).empty());
}

TEST(EpochPlan, EpochsAndSeedsAreShuffledDifferently) {
  const auto plan = epoch_plan(true);
  const auto epoch = [&](int64_t e, uint64_t seed) { return plan->ids(point(100 * e, 0, 1, 100, 100, seed)); };
  std::vector<int64_t> sorted(100);
  for (int64_t i = 0; i < 100; ++i) sorted[static_cast<size_t>(i)] = i;
  const std::set<std::vector<int64_t>> orders{sorted, epoch(0, 7), epoch(1, 7), epoch(2, 7), epoch(0, 8)};
  EXPECT_EQ(orders.size(), 5u);
  // Any pair is about as often in one order as in the other.
  int before = 0;
  for (int64_t e = 0; e < 400; ++e) {
    const auto ids = epoch(e, 9);
    before += std::find(ids.begin(), ids.end(), 3) < std::find(ids.begin(), ids.end(), 4);
  }
  EXPECT_NEAR(before, 200, 5 * 10);  // five standard deviations
}

TEST(EpochPlan, RefusesNothing) {
  expect_error([] { epoch_plan(true)->ids(point(0, 0, 1, 0, 1)); }, Code::data, "no records", "data");
}

TEST(ShardedPlan, ReplicasStayInTheirRangesAndSeeEachRecordOnceAnEpoch) {
  for (const bool shuffle : {false, true}) {
    for (const auto& [shards, replicas] :
         std::vector<std::pair<int, int>>{{1, 1}, {4, 1}, {4, 2}, {4, 4}, {6, 3}, {8, 8}}) {
      const auto plan = sharded_plan(shuffle, shards);
      const int64_t own = shards / replicas;
      for (const int64_t records : {static_cast<int64_t>(shards), int64_t{50}, int64_t{97}}) {
        for (const int64_t batch : {own, 3 * own}) {
          std::map<int64_t, std::vector<int64_t>> taken;  // by shard
          for (int64_t step = 0; step < 40; ++step) {
            for (int r = 0; r < replicas; ++r) {
              const auto ids = plan->ids(point(step * batch * replicas, r, replicas, records, batch));
              ASSERT_EQ(ids.size(), static_cast<size_t>(batch));
              std::map<int64_t, int64_t> count;
              for (const int64_t id : ids) {
                // Shard of a record, found by trying.
                int64_t shard = 0;
                while (id >= (shard + 1) * records / shards) ++shard;
                ASSERT_EQ(shard / own, r);
                taken[shard].push_back(id - shard * records / shards);
                ++count[shard];
              }
              for (const auto& [shard, n] : count) ASSERT_EQ(n, batch / own);
            }
          }
          ASSERT_EQ(taken.size(), static_cast<size_t>(shards));
          for (const auto& [shard, ids] : taken) {
            expect_epochs(ids, (shard + 1) * records / shards - shard * records / shards);
          }
        }
      }
    }
  }
}

TEST(ShardedPlan, TheSameSamplesForAnyReplicas) {
  const auto plan = sharded_plan(true, 8);
  auto whole = step_ids(*plan, 64, 1, 333, 32);
  for (const int replicas : {2, 4, 8}) EXPECT_EQ(step_ids(*plan, 64, replicas, 333, 32 / replicas), whole);
}

TEST(ShardedPlan, OneShardIsTheEpochPlan) {
  EXPECT_EQ(sharded_plan(true, 1)->ids(point(40, 0, 1, 33, 20)), epoch_plan(true)->ids(point(40, 0, 1, 33, 20)));
}

TEST(ShardedPlan, ShardsOfEqualSizeAreShuffledDifferently) {
  const auto plan = sharded_plan(true, 2);
  const auto a = plan->ids(point(0, 0, 2, 80, 40)), b = plan->ids(point(0, 1, 2, 80, 40));
  std::vector<int64_t> shifted;
  for (const int64_t id : a) shifted.push_back(id + 40);
  EXPECT_NE(shifted, b);
}

TEST(ShardedPlan, RefusesWhatDoesNotFit) {
  expect_error([] { sharded_plan(true, 8)->ids(point(0, 0, 3, 100, 8)); }, Code::config, "8 shards", "source",
               "replicas");
  expect_error([] { sharded_plan(true, 8)->ids(point(0, 0, 16, 100, 8)); }, Code::config, "8 shards", "source",
               "replicas");
  expect_error([] { sharded_plan(true, 8)->ids(point(0, 0, 2, 100, 6)); }, Code::config, "8 shards", "source", "batch");
  expect_error([] { sharded_plan(true, 8)->ids(point(0, 0, 8, 7, 1)); }, Code::config, "8 shards", "source", "record");
  expect_error([] { sharded_plan(true, 8)->ids(point(4, 0, 8, 70, 1)); }, Code::config, "8 shards", "source",
               "equally");
}

}  // namespace
}  // namespace etude::plan_test
