#include "etude/train/data_parallel.h"

#include <gtest/gtest.h>

#include <cmath>
#include <mutex>

#include "etude/comm/testing.h"
#include "etude/train/testing.h"

namespace etude::data_parallel_test {
namespace {

using test::mlp;
using test::regression;

constexpr int64_t kSteps = 5;
const std::vector<int64_t> kWidths = {3, 8, 8, 8, 8, 1};
constexpr int64_t kNumel = 3 * 8 + 8 + 3 * (8 * 8 + 8) + 8 + 1;

/// What a rank holds at the end of each step.
class Probe : public Technique {
 public:
  struct Seen {
    std::vector<Tensor> values;  ///< of all parameters, after the last step
    int64_t optimizer_bytes = 0;
    std::vector<bool> has_gradient;  ///< of all parameters, in the last step
  };
  explicit Probe(Seen& seen) : seen_(seen) {}
  Contract contract() const override {
    return {.name = "probe",
            .owns = {},
            .acts = {Event::guard, Event::step_end},
            .requires_ = {},
            .refuses = {},
            .why = {}};
  }
  void on(Event event, Step& step) override {
    if (event == Event::guard) {
      seen_.has_gradient.clear();
      for (const Parameter& p : step.all_parameters()) seen_.has_gradient.push_back(p.value.grad().defined());
      return;
    }
    seen_.values.clear();
    for (const Parameter& p : step.all_parameters()) seen_.values.push_back(p.value.detach().clone());
    seen_.optimizer_bytes = 0;
    for (const auto& [name, state] : step.learner("model").optimizer->state())
      if (!name.starts_with("step/")) seen_.optimizer_bytes += static_cast<int64_t>(state.nbytes());
  }

 private:
  Seen& seen_;
};

struct Setup {
  int64_t batch = 7;
  int accumulate = 1;
  std::optional<std::string> shard = {};
  int64_t bucket = 300;
  bool idle_net = false;  ///< a net of the learner that the loss does not use
  std::shared_ptr<Objective> objective = std::make_shared<test::Regression>();
  std::function<void(const GradientSync::Moment&)> observer = {};
};

TrainStage stage_of(const Setup& setup, Probe::Seen& seen) {
  TrainStage stage = regression(setup.objective, setup.batch);
  stage.nets = {mlp("model", kWidths)};
  stage.learners = {test::learner("model", {"model"}, "adamw", 0.02)};
  if (setup.idle_net) {
    stage.nets.push_back(mlp("idle", {3, 8}));
    stage.learners.front().params.push_back("idle");
  }
  stage.learners.front().clip = 0.5;
  stage.learners.front().on_nonfinite = "skip_step";
  stage.accumulate = setup.accumulate;
  stage.stop = Count{kSteps, Unit::steps};
  DataParallelOptions options{.ranks = 8, .bucket = setup.bucket, .shard = setup.shard};
  const auto technique = std::make_shared<DataParallel>(options);
  technique->observe(setup.observer);
  stage.with = {technique, std::make_shared<Probe>(seen)};
  return stage;
}

struct Trained {
  Fit fit;  ///< of the leading rank
  std::vector<Probe::Seen> seen;
  std::vector<std::map<std::string, Traffic>> traffic;
};

Trained run_on(int ranks, const Setup& setup) {
  Trained run;
  run.seen.resize(static_cast<size_t>(ranks));
  run.traffic.resize(static_cast<size_t>(ranks));
  test::on_ranks(ranks, [&](RankGroup& group) {
    const auto me = static_cast<size_t>(group.index());
    const TrainStage stage = stage_of(setup, run.seen[me]);
    Surroundings around;
    around.links = &group.links;
    Fit fitted = fit(stage, around);
    run.traffic[me] = group.links.traffic();
    if (me == 0) run.fit = std::move(fitted);
  });
  return run;
}

Trained run_in_one_process(const Setup& setup) {
  Trained run;
  run.seen.resize(1);
  run.fit = fit(stage_of(setup, run.seen[0]));
  return run;
}

const std::vector<std::optional<std::string>> kShards = {std::nullopt, "optimizer", "gradients"};

void expect_close(const std::vector<Tensor>& a, const std::vector<Tensor>& b, const std::string& what) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(torch::allclose(a[i], b[i], 1e-6, 1e-8)) << what << ", " << i;
}

TEST(DataParallel, AnyNumberOfRanksTrainsAsOneProcessDoes) {
  for (int64_t batch : {7, 3})
    for (int accumulate : {1, 2}) {
      const Trained alone = run_in_one_process({.batch = batch, .accumulate = accumulate});
      for (const auto& shard : kShards)
        for (int ranks = 1; ranks <= 4; ++ranks) {
          const std::string what = std::to_string(ranks) + " ranks, batch " + std::to_string(batch) + " in " +
                                   std::to_string(accumulate) + ", " + shard.value_or("none");
          const Trained run = run_on(ranks, {.batch = batch, .accumulate = accumulate, .shard = shard});
          expect_close(run.seen[0].values, alone.seen[0].values, what);
          for (const Probe::Seen& seen : run.seen)
            for (size_t i = 0; i < seen.values.size(); ++i)
              EXPECT_TRUE(torch::equal(seen.values[i], run.seen[0].values[i])) << what;
          // Norms before clipping, which is at work: the limit is far below.
          ASSERT_GT(alone.fit.values.at("train/grad_norm"), 0.5);
          EXPECT_NEAR(run.fit.values.at("train/grad_norm") / alone.fit.values.at("train/grad_norm"), 1, 1e-6) << what;
          EXPECT_NEAR(run.fit.values.at("train/loss") / alone.fit.values.at("train/loss"), 1, 1e-6) << what;
        }
    }
}

TEST(DataParallel, HasTheSameBitsInEveryRun) {
  for (const auto& shard : kShards) {
    const Trained first = run_on(3, {.shard = shard}), second = run_on(3, {.shard = shard});
    for (size_t i = 0; i < first.seen[0].values.size(); ++i)
      EXPECT_TRUE(torch::equal(first.seen[0].values[i], second.seen[0].values[i]));
  }
}

TEST(DataParallel, ShardsChangeNothingInOneProcess) {
  const Trained whole = run_in_one_process({});
  for (const auto& shard : kShards) {
    const Trained run = run_in_one_process({.shard = shard});
    for (size_t i = 0; i < whole.seen[0].values.size(); ++i)
      EXPECT_TRUE(torch::equal(run.seen[0].values[i], whole.seen[0].values[i]));
    EXPECT_EQ(run.seen[0].optimizer_bytes, 2 * 8 * kNumel);
  }
}

TEST(DataParallel, EachRankKeepsItsShareOfTheOptimizersState) {
  for (int ranks : {2, 3, 4}) {
    for (const char* shard : {"optimizer", "gradients"}) {
      const Trained run = run_on(ranks, {.shard = shard});
      int64_t all = 0;
      for (const Probe::Seen& seen : run.seen) {
        all += seen.optimizer_bytes;
        EXPECT_NEAR(static_cast<double>(seen.optimizer_bytes) * ranks / (2 * 8 * kNumel), 1, 0.1) << ranks;
      }
      EXPECT_EQ(all, 2 * 8 * kNumel);
    }
    for (const Probe::Seen& seen : run_on(ranks, {}).seen) EXPECT_EQ(seen.optimizer_bytes, 2 * 8 * kNumel);
  }
}

TEST(DataParallel, GradientsLiveAtTheirOwnersOnlyWhereTheyAreSharded) {
  const Trained run = run_on(3, {.shard = "gradients"});
  for (size_t i = 0; i < run.seen[0].has_gradient.size(); ++i) {
    int holders = 0;
    for (const Probe::Seen& seen : run.seen) holders += seen.has_gradient[i] ? 1 : 0;
    EXPECT_EQ(holders, 1) << i;
  }
}

TEST(DataParallel, SendsWhatItsFormulasSay) {
  const auto sent = [](const Trained& run, const std::string& operation) {
    int64_t all = 0;
    for (const auto& traffic : run.traffic)
      if (const auto found = traffic.find(operation); found != traffic.end()) all += found->second.bytes;
    return all;
  };
  const int64_t bytes = kSteps * 8 * kNumel;
  for (int ranks : {2, 3, 4}) {
    const int64_t others = ranks - 1;
    const Trained none = run_on(ranks, {}), optimizer = run_on(ranks, {.shard = "optimizer"}),
                  gradients = run_on(ranks, {.shard = "gradients"});
    EXPECT_EQ(sent(none, "gradients"), 2 * others * bytes);
    EXPECT_EQ(sent(none, "values"), 0);
    EXPECT_EQ(sent(optimizer, "gradients"), 2 * others * bytes);
    EXPECT_EQ(sent(optimizer, "values"), others * bytes);
    EXPECT_EQ(sent(gradients, "gradients"), others * bytes);
    EXPECT_EQ(sent(gradients, "values"), others * bytes);
  }
}

TEST(DataParallel, TheAccountIsThatOfItsMachinesHoweverManyRanksThereAre) {
  for (const auto& shard : kShards) {
    const double rings = shard == "optimizer" ? 3 : 2;
    const Counters alone = run_in_one_process({.shard = shard}).fit.counters;
    EXPECT_EQ(alone[Unit::bytes], rings * 7 * kSteps * 8 * kNumel);
    EXPECT_EQ(alone[Unit::messages], rings * 8 * 7 * kSteps);
    const Counters shared = run_on(3, {.shard = shard}).fit.counters;
    for (Unit unit : {Unit::bytes, Unit::messages, Unit::rounds}) EXPECT_EQ(shared[unit], alone[unit]);
  }
}

TEST(DataParallel, WhatTheLossDoesNotUseIsNotTouched) {
  const Trained alone = run_in_one_process({.idle_net = true});
  for (const auto& shard : kShards)
    for (int ranks : {2, 4}) {
      const Trained run = run_on(ranks, {.shard = shard, .idle_net = true});
      expect_close(run.seen[0].values, alone.seen[0].values, shard.value_or("none"));
      const auto untouched = test::initial_mlp("idle", {3, 8}, 11);  // "idle" stands before "model"
      EXPECT_TRUE(torch::equal(run.seen[0].values[0], untouched->named_parameters()[0].value()));
      EXPECT_FALSE(run.seen[0].has_gradient[0]);
    }
}

TEST(DataParallel, AllRanksSkipWhatOneFindsNotFinite) {
  /// In the third step, one sample has a loss or a gradient that is not finite.
  class Broken : public test::Regression {
   public:
    explicit Broken(bool loss) : loss_(loss) {}
    Terms loss(Step& step, const Batch& batch, Ctx& ctx) override {
      Terms terms = test::Regression::loss(step, batch, ctx);
      if (step.number() != 2) return terms;
      const Tensor bad = batch.id_B == 2 * 7 + 5;
      Tensor& item = terms.front().item;
      // The root of 0 * x is 0, and its gradient infinity times 0.
      item = loss_ ? item.masked_fill(bad, INFINITY) : item + bad * torch::sqrt(item * ~bad);
      return terms;
    }

   private:
    bool loss_;
  };
  for (bool loss : {true, false}) {
    const auto objective = std::make_shared<Broken>(loss);
    const Trained alone = run_in_one_process({.objective = objective});
    ASSERT_FALSE(torch::allclose(alone.seen[0].values[0], run_in_one_process({}).seen[0].values[0], 1e-6, 1e-8));
    ASSERT_TRUE(torch::isfinite(alone.seen[0].values[0]).all().item<bool>());
    for (const auto& shard : kShards)
      for (int ranks : {2, 3}) {
        const Trained run = run_on(ranks, {.shard = shard, .objective = objective});
        for (const Probe::Seen& seen : run.seen)
          expect_close(seen.values, alone.seen[0].values, shard.value_or("none") + (loss ? ", loss" : ", gradient"));
      }
  }
}

TEST(DataParallel, TheFirstBucketLeavesBeforeTheLastGradientExists) {
  using Kind = GradientSync::Moment::Kind;
  std::mutex mutex;
  std::map<std::thread::id, std::vector<GradientSync::Moment>> moments;
  run_on(2, {.accumulate = 2, .observer = [&](const GradientSync::Moment& moment) {
               const std::lock_guard lock(mutex);
               moments[std::this_thread::get_id()].push_back(moment);
             }});
  ASSERT_EQ(moments.size(), 2u);
  for (const auto& [rank, of_rank] : moments) {
    const auto first_step =
        std::vector(of_rank.begin(), of_rank.begin() + static_cast<std::ptrdiff_t>(of_rank.size()) / kSteps);
    const auto departure = std::find_if(first_step.begin(), first_step.end(),
                                        [](const auto& moment) { return moment.kind == Kind::departure; });
    EXPECT_TRUE(
        std::any_of(departure, first_step.end(), [](const auto& moment) { return moment.kind == Kind::gradient; }));
  }
}

}  // namespace
}  // namespace etude::data_parallel_test
