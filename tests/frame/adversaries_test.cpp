// Probe (a): two learners and three passes, one loss through the other's frozen parameters. A generator maps
// noise to numbers, a critic scores them; the critic moves twice a step, the generator through the critic.

#include "tests/frame/probe.h"

namespace etude::probe {
namespace {

class CriticLoss : public Objective {
 public:
  Terms loss(Step& step, const Batch& batch, Ctx&) override {
    const auto made = step.net<Mlp>("generator").forward(batch.at("x")).detach();
    auto& critic = step.net<Mlp>("critic");
    return {{"real", at::softplus(-critic.forward(batch.at("y"))), {}, step.norm("items"), 1.0},
            {"made", at::softplus(critic.forward(made)), {}, step.norm("items"), 1.0}};
  }
};

class GeneratorLoss : public Objective {
 public:
  Terms loss(Step& step, const Batch& batch, Ctx&) override {
    const auto made = step.net<Mlp>("generator").forward(batch.at("x"));
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

TEST(Adversaries, ResumeAtEveryStep) { same_wherever_stopped(adversaries); }

TEST(Adversaries, ALossThroughTheOtherMovesOnlyItsOwn) {
  TrainStage stage = adversaries();
  stage.passes = {stage.passes.back()};
  stage.passes.front().every = 1;
  const Fit result = fit(stage);
  auto fresh = Mlp({1, 8, 1});
  fresh.initialise(3);
  auto moved = Mlp({3, 8, 1});
  moved.initialise(3);
  for (const auto& [name, value] : result.artifact.tensors) {
    if (name.rfind("critic/", 0) == 0)
      EXPECT_TRUE(torch::equal(value, fresh.named_parameters()[name.substr(7)])) << name;
    else
      EXPECT_FALSE(torch::equal(value, moved.named_parameters()[name.substr(10)])) << name;
  }
}

TEST(Adversaries, LearnersMustBeDisjoint) {
  TrainStage stage = adversaries();
  stage.learners[1].params = {"critic", "generator.layer0"};
  EXPECT_THROW(fit(stage), Error);
}

}  // namespace
}  // namespace etude::probe
