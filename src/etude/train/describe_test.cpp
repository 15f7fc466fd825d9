#include <gtest/gtest.h>

#include "etude/train/testing.h"

namespace etude::describe_test {
namespace {

using namespace etude::test;

struct Declared : Technique {
  explicit Declared(Contract contract) : declared(std::move(contract)) {}
  Contract contract() const override { return declared; }
  Contract declared;
};

struct Coupled : Regression {
  Needs needs() const override { return {Coupling::batch, {}}; }
};

/// Expects that the stage is refused before step one with a message that has these parts.
void expect_refused(const TrainStage& stage, const std::vector<std::string>& parts) {
  try {
    fit(stage);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::config) << error.what();
    EXPECT_NE(error.where().find("stage train"), std::string::npos) << error.where();
    EXPECT_FALSE(error.hint().empty()) << error.what();
    for (const std::string& part : parts)
      EXPECT_NE((error.message() + error.hint()).find(part), std::string::npos) << part << " in: " << error.what();
    return;
  }
  ADD_FAILURE() << "nothing was refused; expected " << parts.front();
}

TEST(Describe, TwoOwnersOfASlotAreRefusedWithBothNames) {
  for (Slot slot : {Slot::plan, Slot::executor, Slot::sync, Slot::optimizer, Slot::precision}) {
    TrainStage stage = regression();
    for (const char* name : {"one", "other"})
      stage.with.push_back(std::make_shared<Declared>(Contract{.name = name, .owns = {slot}}));
    expect_refused(stage, {"'one'", "'other'", std::string(slot_name(slot))});
  }
}

TEST(Describe, TraitsThatAreMissingOrRefusedSayWhy) {
  TrainStage stage = regression();
  stage.with = {
      std::make_shared<Declared>(Contract{.name = "meets", .requires_ = {"replicas"}, .why = "set replicas"})};
  expect_refused(stage, {"'meets' needs", "replicas", "set replicas"});
  stage.replicas = 2;
  EXPECT_TRUE(fit(stage).finished);

  stage.with = {std::make_shared<Declared>(Contract{.name = "whole", .refuses = {"accumulate"}, .why = "no cuts"})};
  EXPECT_TRUE(fit(stage).finished);
  stage.accumulate = 2;
  expect_refused(stage, {"'whole' refuses", "accumulate", "no cuts"});

  stage.accumulate = 1;
  stage.passes[0].objective = std::make_shared<Coupled>();
  stage.with = {
      std::make_shared<Declared>(Contract{.name = "each", .requires_ = {"item_coupled"}, .why = "sample by sample"})};
  expect_refused(stage, {"'each' needs", "item_coupled"});
  stage.with = {
      std::make_shared<Declared>(Contract{.name = "each", .refuses = {"batch_coupled"}, .why = "sample by sample"})};
  expect_refused(stage, {"'each' refuses", "batch_coupled"});
}

TEST(Describe, LearnersAreDisjointKnownAndTrained) {
  TrainStage stage = regression();
  stage.learners = {learner("a", {"model"}), learner("b", {"model.layer1"})};
  stage.passes[0].learners = {"a"};
  expect_refused(stage, {"'a' and 'b'", "model.layer1"});
  stage.learners = {learner("model", {"modle"})};
  stage.passes[0].learners = {"model"};
  expect_refused(stage, {"no net 'modle'", "'model'"});
  stage.learners = {learner("model", {"model.layer7"})};
  expect_refused(stage, {"'model' holds no parameter"});
  stage.learners = {learner("model", {"model"})};
  stage.nets[0].role = "frozen";
  expect_refused(stage, {"whose role is 'frozen'"});
}

TEST(Describe, NamesAndNumbersThatCannotBe) {
  const auto refused = [](const std::function<void(TrainStage&)>& change, const std::vector<std::string>& parts) {
    TrainStage stage = regression();
    change(stage);
    expect_refused(stage, parts);
  };
  refused([](auto& s) { s.passes.clear(); }, {"needs a pass"});
  refused([](auto& s) { s.passes[0].learners.clear(); }, {"moves nobody"});
  refused([](auto& s) { s.passes[0].learners = {"model", "model"}; }, {"two learners of a pass"});
  refused([](auto& s) { s.passes[0].learners = {"modell"}; }, {"no learner 'modell'", "'model'"});
  refused([](auto& s) { s.passes[0].source = "trian"; }, {"no source 'trian'", "'train'"});
  refused([](auto& s) { s.passes.push_back(s.passes[0]); }, {"two passes are called 'train'"});
  refused([](auto& s) { s.nets.push_back(s.nets[0]); }, {"two nets are called 'model'"});
  refused([](auto& s) { s.nets.push_back(mlp("a.b", {1, 1})); }, {"'a.b'"});
  refused([](auto& s) { s.replicas = 0; }, {"replicas = 0"});
  refused([](auto& s) { s.accumulate = 0; }, {"accumulate = 0"});
  refused([](auto& s) { s.stop = Count::parse("50%"); }, {"50%"});
  refused([](auto& s) { s.evaluations.push_back({.batches = 0}); }, {"no batches"});
  refused(
      [](auto& s) {
        s.passes[0].objective = std::make_shared<Coupled>();
        s.accumulate = 2;
      },
      {"accumulate = 2", "pass 'train'"});
}

TEST(Describe, ThePlanNamesOwnersAndOrder) {
  TrainStage stage = regression();
  stage.learners[0].clip = 1.0;
  stage.with = {std::make_shared<Declared>(
                    Contract{.name = "private", .owns = {Slot::plan}, .acts = {Event::privatise, Event::begin}}),
                std::make_shared<Declared>(Contract{.name = "ema", .acts = {Event::follow}}),
                std::make_shared<Declared>(Contract{.name = "bounded", .acts = {Event::project_parameters}})};
  const std::string plan = describe(stage);
  for (const char* part : {"1 replica, until 8 steps", "pass train on train moves model", "plan = private",
                           "optimizer, precision = the frame"})
    EXPECT_NE(plan.find(part), std::string::npos) << part << " in:\n" << plan;
  size_t before = 0;
  for (const char* part : {"begin (private)", "backward", "privatise (private)", "clip (model)", "update",
                           "project_parameters (bounded)", "follow (ema)"}) {
    const size_t at = plan.find(part);
    ASSERT_NE(at, std::string::npos) << part << " in:\n" << plan;
    EXPECT_GT(at, before) << part << " in:\n" << plan;
    before = at;
  }
}

}  // namespace
}  // namespace etude::describe_test
