// Probe (a): two learners and three passes, one loss through the other's frozen parameters. A generator maps
// noise to numbers, a critic scores them; the critic moves twice a step, the generator through the critic.

#include "tests/frame/probe.h"

namespace etude::probe {
namespace {

class CriticLoss : public Objective {
 public:
  Terms loss(Step& step, const Batch& batch, Ctx&) override {
    const Tensor made = step.net<Mlp>("generator").forward(batch.at("x"));
    auto& critic = step.net<Mlp>("critic");
    return {{"real", at::softplus(-critic.forward(batch.at("y"))), {}, step.norm("items"), 1.0},
            {"made", at::softplus(critic.forward(made)), {}, step.norm("items"), 1.0}};
  }
};

class GeneratorLoss : public Objective {
 public:
  Terms loss(Step& step, const Batch& batch, Ctx&) override {
    const Tensor made = step.net<Mlp>("generator").forward(batch.at("x"));
    return {{"fool", at::softplus(-step.net<Mlp>("critic").forward(made)), {}, step.norm("items"), 1.0}};
  }
};

TrainStage adversaries() {
  TrainStage stage;
  stage.seed = 3;
  stage.nets = {mlp("generator", {3, 8, 1}), mlp("critic", {1, 8, 1})};
  stage.learners = {learner("generator", {"generator"}), learner("critic", {"critic"})};
  stage.sources = {{"train", std::make_shared<Samples>(3, 5)}};
  const auto critic = std::make_shared<CriticLoss>();
  stage.passes = {
      {.name = "critic", .objective = critic, .learners = {"critic"}},
      {.name = "again", .objective = critic, .learners = {"critic"}, .reuse = true},
      {.name = "generator", .objective = std::make_shared<GeneratorLoss>(), .learners = {"generator"}, .every = 2}};
  stage.stop = Count{8, Unit::steps};
  return stage;
}

TEST(Adversaries, ResumeAtEveryStep) {
  const Fit result = same_wherever_stopped(adversaries);
  EXPECT_EQ(result.counters[Unit::samples], 8 * 5 + 4 * 5) << "the second pass takes the batch of the first";
}

/// Whether each pass alone moved a net of the stage.
bool moved(const std::string& pass, const std::string& net, const std::vector<int64_t>& widths) {
  TrainStage stage = adversaries();
  std::erase_if(stage.passes, [&](const Pass& p) { return p.name != pass; });
  const Fit result = fit(stage);
  const auto start = initial_mlp(net, widths, stage.seed)->named_parameters();
  bool any = false;
  for (const auto& [name, value] : result.artifact.tensors)
    if (name.starts_with(net + "/")) any = any || !torch::equal(value, start[name.substr(net.size() + 1)]);
  return any;
}

TEST(Adversaries, ALossThroughTheOtherMovesOnlyItsOwn) {
  EXPECT_TRUE(moved("critic", "critic", {1, 8, 1}));
  EXPECT_FALSE(moved("critic", "generator", {3, 8, 1}));
  EXPECT_TRUE(moved("generator", "generator", {3, 8, 1}));
  EXPECT_FALSE(moved("generator", "critic", {1, 8, 1}));
}

}  // namespace
}  // namespace etude::probe
