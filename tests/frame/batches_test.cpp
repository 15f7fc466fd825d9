// Probe (f): batch sizes that change, Poisson batches with an empty one, a batch-coupled loss, accumulation, replicas.

#include "tests/frame/probe.h"

namespace etude::probe {
namespace {

/// Owns the plan: the size of each batch is drawn anew, and may be 0.
class PoissonBatches : public Technique {
 public:
  Contract contract() const override {
    return {.name = "poisson", .owns = {Slot::plan}, .acts = {}, .requires_ = {}, .refuses = {}, .why = {}};
  }
  int64_t batch_size(Step& step) override {
    Rng rng = step.rng(Purpose::sample, step.replica());
    int64_t n = 0;
    for (double t = rng.exponential(); t < 1.2; t += rng.exponential()) ++n;
    return n;
  }
};

/// InfoNCE between x and a shifted view: every item is every other's negative.
class Contrast : public Objective {
 public:
  Needs needs() const override { return {Coupling::batch, {"x"}}; }
  Terms loss(Step& step, const Batch& batch, Ctx&) override {
    auto& net = step.net<Mlp>("model");
    const auto a = net.forward(batch.at("x")), b = net.forward(batch.at("x") + 0.1);
    const auto scores = a.mm(b.t());
    return {{"nce", torch::logsumexp(scores, 1) - scores.diagonal(), {}, step.norm("items"), 1.0}};
  }
};

TrainStage batches(std::shared_ptr<Objective> objective, int64_t batch, int accumulate, int replicas) {
  TrainStage stage;
  stage.seed = 11;
  stage.nets = {mlp("model", {3, 6, 1})};
  stage.learners = {learner("model", {"model"}, "sgd", 0.05)};
  stage.sources = {{"train", std::make_shared<Samples>(3, batch)}};
  stage.passes = {{.objective = std::move(objective)}};
  stage.accumulate = accumulate;
  stage.replicas = replicas;
  stage.stop = Count{8, Unit::steps};
  return stage;
}

TEST(Batches, PoissonResumesAtEveryStepAndMeetsAnEmptyOne) {
  auto make = [] {
    TrainStage stage = batches(std::make_shared<Regression>(), 4, 1, 4);
    stage.with = {std::make_shared<PoissonBatches>()};
    return stage;
  };
  const Fit result = same_wherever_stopped(make);
  EXPECT_GT(result.counters[Unit::samples], 0);
  int empty = 0;
  for (int64_t step = 0; step < 8; ++step)
    for (int64_t replica = 0; replica < 4; ++replica) {
      Rng rng(Key{11, Purpose::sample, step, replica});
      empty += rng.exponential() >= 1.2;
    }
  EXPECT_GT(empty, 0) << "the probe must meet an empty batch";
}

TEST(Batches, AccumulationGivesTheSameGradient) {
  auto final_of = [](int accumulate) {
    const Fit result = fit(batches(std::make_shared<Regression>(), 8, accumulate, 1));
    return result.artifact.tensors;
  };
  const auto whole = final_of(1), halves = final_of(2), eighths = final_of(8);
  for (size_t i = 0; i < whole.size(); ++i) {
    EXPECT_TRUE(torch::allclose(whole[i].second, halves[i].second, 1e-12, 1e-13)) << whole[i].first;
    EXPECT_TRUE(torch::allclose(whole[i].second, eighths[i].second, 1e-12, 1e-13)) << whole[i].first;
  }
}

TEST(Batches, CoupledLossTrainsWholeAndRefusesToBeCut) {
  same_wherever_stopped([] { return batches(std::make_shared<Contrast>(), 8, 1, 4); });
  try {
    fit(batches(std::make_shared<Contrast>(), 8, 2, 1));
    FAIL() << "a coupled batch must not be cut";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::config);
    EXPECT_FALSE(error.hint().empty());
  }
}

TEST(Batches, TwoOwnersOfOneSlotAreRefused) {
  TrainStage stage = batches(std::make_shared<Regression>(), 4, 1, 1);
  stage.with = {std::make_shared<PoissonBatches>(), std::make_shared<PoissonBatches>()};
  EXPECT_THROW(describe(stage), Error);
}

/// Keeps its count where no checkpoint sees it: the check of every probe must notice.
class Forgetful : public Regression {
 public:
  Terms loss(Step& step, const Batch& batch, Ctx& ctx) override {
    Terms terms = Regression::loss(step, batch, ctx);
    terms[0].scale = 1.0 / ++calls_;
    return terms;
  }

 private:
  int calls_ = 0;
};

TEST(Batches, AnObjectiveThatForgetsFailsAtResume) {
  const Folder folder;
  Surroundings straight, stopped;
  straight.directory = folder.at("a");
  stopped.directory = folder.at("b");
  const Print expected = print(fit(batches(std::make_shared<Forgetful>(), 4, 1, 1), straight), straight.directory);
  int done = 0;
  stopped.interrupted = [&] { return ++done == 3; };
  fit(batches(std::make_shared<Forgetful>(), 4, 1, 1), stopped);
  stopped.interrupted = nullptr;
  const Print actual = print(fit(batches(std::make_shared<Forgetful>(), 4, 1, 1), stopped), stopped.directory);
  EXPECT_NE(expected.lines, actual.lines);
}

TEST(Batches, ANotFiniteLossStopsBeforeTheUpdate) {
  class Broken : public Regression {
   public:
    Terms loss(Step& step, const Batch& batch, Ctx& ctx) override {
      Terms terms = Regression::loss(step, batch, ctx);
      if (step.number() == 2) terms[0].item = terms[0].item / 0.0;
      return terms;
    }
  };
  const Folder folder;
  Surroundings around;
  around.directory = folder.at("run");
  TrainStage stage = batches(std::make_shared<Broken>(), 4, 1, 1);
  stage.checkpoint.every = Count{1, Unit::steps};
  try {
    fit(stage, around);
    FAIL() << "a loss that is not finite must stop the run";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::numeric);
    EXPECT_NE(error.message().find("step 3"), std::string::npos) << error.message();
  }
  EXPECT_EQ(Checkpoints(around.directory).load_latest()->step, 2);
}

}  // namespace
}  // namespace etude::probe
