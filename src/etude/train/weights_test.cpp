#include "etude/train/weights.h"

#include <gtest/gtest.h>

#include "etude/train/testing.h"

namespace etude::weights_test {
namespace {

using namespace etude::test;

/// A net of two layers under other names, with a head of another width.
Artifact pretrained() {
  Artifact made;
  int64_t next = 0;
  for (const auto& [name, sizes] :
       std::vector<std::pair<std::string, std::vector<int64_t>>>{{"model/body.weight", {6, 3}},
                                                                 {"model/body.bias", {6}},
                                                                 {"model/head.weight", {9, 6}},
                                                                 {"model/head.bias", {9}},
                                                                 {"other/layer0.weight", {6, 3}}}) {
    const int64_t n = c10::multiply_integers(sizes);
    made.tensors.emplace_back(name, torch::arange(next, next + n, torch::kFloat64).view(sizes));
    next += n;
  }
  return made;
}

InitSpec fitting() { return {.from = "base", .rename = {{"body", "layer0"}}, .drop = {"head"}, .fresh = {"layer1"}}; }

void expect_refused(const InitSpec& init, const std::string& message) {
  const auto net = initial_mlp("model", {3, 6, 1}, 1);
  try {
    move_weights(init, pretrained(), *net, "stage tune, init");
    ADD_FAILURE() << "nothing was refused; expected: " << message;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::config);
    EXPECT_NE(error.message().find(message), std::string::npos) << error.message();
    EXPECT_EQ(error.where(), "stage tune, init");
    EXPECT_FALSE(error.hint().empty());
  }
}

TEST(Weights, MoveRenamedDroppedAndFreshWithAReport) {
  const auto net = initial_mlp("model", {3, 6, 1}, 1), start = initial_mlp("model", {3, 6, 1}, 1);
  const WeightMove report = move_weights(fitting(), pretrained(), *net, "here");
  const auto now = net->named_parameters();
  EXPECT_TRUE(torch::equal(now["layer0.weight"], torch::arange(18, torch::kFloat64).view({6, 3})));
  EXPECT_TRUE(torch::equal(now["layer0.bias"], torch::arange(18, 24, torch::kFloat64)));
  EXPECT_TRUE(torch::equal(now["layer1.weight"], start->named_parameters()["layer1.weight"]));
  EXPECT_EQ(report.moved, (std::vector<std::string>{"layer0.weight", "layer0.bias"}));
  EXPECT_EQ(report.fresh, (std::vector<std::string>{"layer1.weight", "layer1.bias"}));
  EXPECT_EQ(report.dropped, (std::vector<std::string>{"head.weight", "head.bias"}));
  EXPECT_EQ(report.text(), "2 tensors moved, 2 fresh (layer1.weight, ...), 2 dropped (head.weight, ...)");
}

TEST(Weights, NothingIsLeftBehindOrStartedAnewByAccident) {
  InitSpec init = fitting();
  init.fresh.clear();
  expect_refused(init, "'layer1.weight' is not in the artifact");
  init = fitting();
  init.drop.clear();
  expect_refused(init, "'head.bias' of the artifact has no place");
  init = fitting();
  init.rename.clear();
  expect_refused(init, "'layer0.");
  init = fitting();
  init.net = "modle";
  expect_refused(init, "no net 'modle'");
  init = fitting();
  init.drop.push_back("haed");
  expect_refused(init, "drop 'haed' meets no tensor");
  init = fitting();
  init.fresh.push_back("layer");
  expect_refused(init, "fresh 'layer' meets no tensor");
  init = fitting();
  init.rename.emplace_back("bod", "layer1");
  expect_refused(init, "rename 'bod' meets no tensor");
  init = fitting();
  init.drop.clear();
  init.fresh.clear();
  init.rename.emplace_back("head", "layer1");
  expect_refused(init, "has another shape");
}

TEST(Weights, APrefixEndsAtADot) {
  EXPECT_TRUE(covers("model.layers.1", "model.layers.1.weight"));
  EXPECT_TRUE(covers("model.layers.1", "model.layers.1"));
  EXPECT_TRUE(covers("model.layers.", "model.layers.10.weight"));
  EXPECT_TRUE(covers("", "anything"));
  EXPECT_FALSE(covers("model.layers.1", "model.layers.10.weight"));
}

TEST(Weights, AStageTakesThemInOnEveryReplicaAndReports) {
  TrainStage stage = regression();
  stage.replicas = 2;
  stage.learners = {learner("model", {"model.layer1"}, "sgd", 0.05)};
  stage.init = {fitting()};
  const Fit result = fit(stage, {.artifact = [](const std::string& ref) {
                           EXPECT_EQ(ref, "base");
                           return pretrained();
                         }});
  int found = 0;
  for (const auto& [name, value] : result.artifact.tensors)
    if (name.ends_with("model/layer0.bias")) {
      ++found;
      EXPECT_TRUE(torch::equal(value, torch::arange(18, 24, torch::kFloat64))) << name;
    }
  EXPECT_EQ(found, 2);
  ASSERT_EQ(result.weight_moves.size(), 1U);
  EXPECT_NE(result.weight_moves[0].find("init of model from base: 2 tensors moved"), std::string::npos)
      << result.weight_moves[0];
}

}  // namespace
}  // namespace etude::weights_test
