// Probe (c): a source with memory. A counting environment answers the net's own outputs; what happened goes into an
// append-only replay, and batches are drawn from it.

#include "tests/frame/probe.h"

namespace etude::probe {
namespace {

/// An angle that actions turn. It counts its own steps, and lives in the run state.
class Wheel {
 public:
  explicit Wheel(Step& step) : step_(step), angle_(step.store().number("wheel/angle", 0.1)) {}
  Tensor see() const { return torch::tensor({{std::sin(angle_), std::cos(angle_)}}, torch::kFloat64); }
  double turn(double action) {
    step_.count(Unit::env_steps, 1);
    angle_ += 0.5 + 0.1 * action;
    return std::sin(angle_);
  }

 private:
  Step& step_;
  double& angle_;
};

/// Plays three turns with the net as it is, then draws four rows of all that was ever played.
class Play : public Source {
 public:
  Kind kind() const override { return Kind::on_policy; }
  Batch next(Step& step, int64_t) override {
    torch::NoGradGuard no_grad;
    Segments& replay = step.store().segments("replay");
    Wheel wheel(step);
    for (int turn = 0; turn < 3; ++turn) {
      const Tensor seen = wheel.see();
      const double action = step.net<Mlp>("model").forward(seen).item<double>();
      const double explored = action + 0.1 * step.rng(Purpose::environment, turn).normal();
      replay.append({{"x", seen}, {"y", torch::tensor({{wheel.turn(explored)}}, torch::kFloat64)}});
    }
    Rng draw = step.rng(Purpose::sample);
    std::vector<int64_t> rows;
    for (int b = 0; b < 4; ++b) rows.push_back(draw.below(replay.size()));
    Batch batch;
    batch.x = replay.get(rows);
    batch.id_B = torch::tensor(rows, torch::kInt64);
    return batch;
  }
};

TrainStage playing() {
  TrainStage stage;
  stage.seed = 5;
  stage.nets = {mlp("model", {2, 6, 1})};
  stage.learners = {learner("model", {"model"})};
  stage.sources = {{"play", std::make_shared<Play>()}};
  stage.passes = {{.objective = std::make_shared<Regression>(), .source = "play"}};
  stage.stop = Count{24, Unit::env_steps};
  stage.checkpoint.every = Count{2, Unit::steps};
  return stage;
}

TEST(Replay, ResumeAtEveryStep) {
  const Fit result = same_wherever_stopped(playing);
  EXPECT_EQ(result.counters[Unit::env_steps], 24);
  EXPECT_EQ(result.counters.step(), 8);
  EXPECT_EQ(result.counters[Unit::samples], 8 * 4);
}

TEST(Replay, WhatIsPlayedHangsOnTheNetAsItIsTrained) {
  const auto played = [](double lr) {
    const TestFolder folder;
    TrainStage stage = playing();
    stage.learners = {learner("model", {"model"}, "sgd", lr)};
    fit(stage, {.directory = folder.at("run")});
    const auto snapshot = Checkpoints(folder.at("run")).load_latest();
    const Segments& replay = snapshot->loaded_segments.at("replica-0/replay");
    EXPECT_EQ(replay.size(), 24) << "every turn is kept";
    return replay.get({2, 23}).at("y");
  };
  const Tensor still = played(0), trained = played(0.1);
  EXPECT_TRUE(torch::equal(still[0], trained[0])) << "nothing is trained before the first batch";
  EXPECT_FALSE(torch::equal(still[1], trained[1]));
}

}  // namespace
}  // namespace etude::probe
