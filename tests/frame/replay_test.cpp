// Probe (c): a source with memory. A counting environment answers the net's own outputs; what happened goes into an
// append-only replay, and batches are drawn from it.

#include "tests/frame/probe.h"

namespace etude::probe {
namespace {

/// State is a phase; an action moves it; the reward is high near a target. Counts its steps.
class Play : public Source {
 public:
  Kind kind() const override { return Kind::on_policy; }
  Batch next(Step& step, int64_t) override {
    torch::NoGradGuard no_grad;
    Segments& replay = step.store().segments("replay");
    double& phase = step.store().number("phase", 0.1);
    for (int k = 0; k < 3; ++k) {
      const auto seen = torch::tensor({{std::sin(phase), std::cos(phase)}}, torch::kFloat64);
      const double action =
          step.net<Mlp>("model").forward(seen).item<double>() + 0.1 * step.rng(Purpose::environment, k).normal();
      phase += 0.5 + 0.1 * action;
      replay.append({{"x", seen}, {"y", torch::tensor({{std::sin(phase)}}, torch::kFloat64)}});
    }
    step.count(Unit::env_steps, 3);
    Rng draw = step.rng(Purpose::sample);
    std::vector<int64_t> rows;
    for (int b = 0; b < 4; ++b) rows.push_back(draw.below(replay.size()));
    Batch batch;
    for (auto& [name, value] : replay.get(rows)) batch.x[name] = value;
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
}

}  // namespace
}  // namespace etude::probe
