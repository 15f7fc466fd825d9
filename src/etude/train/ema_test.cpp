#include "etude/train/ema.h"

#include <gtest/gtest.h>

#include <cmath>

#include "etude/base/testing.h"
#include "etude/comm/testing.h"
#include "etude/train/data_parallel.h"
#include "etude/train/run.h"
#include "etude/train/testing.h"
#include "etude/train/variants.h"
#include "tests/support/resume.h"

namespace etude::ema_test {
namespace {

using namespace etude::test;

/// The sum of all parameters of a net: every gradient is 1, so that weights at rate 0.5 are the initial ones less t / 2
/// after t updates.
class Sum : public Objective {
 public:
  explicit Sum(std::string net = "model") : net_(std::move(net)) {}
  Terms loss(Step& step, const Batch&, Ctx&) override {
    Tensor all;
    for (const Tensor& p : step.net(net_).parameters()) all = all.defined() ? all + p.sum() : p.sum();
    return {{"sum", all, {}, 1.0, 1.0}};
  }

 private:
  std::string net_;
};

TrainStage descent(const EmaOptions& options) {
  TrainStage stage = regression(std::make_shared<Sum>());
  stage.learners = {learner("model", {"model"}, "sgd", 0.5)};
  stage.with = {std::make_shared<Ema>(options)};
  return stage;
}

Tensor named(const NamedTensors& in, const std::string& name) {
  for (const auto& [key, value] : in)
    if (key == name) return value;
  ADD_FAILURE() << "no tensor " << name;
  return torch::zeros({1});
}

/// How far the average of all of a net lies below the initial weights; all parameters must agree.
double distance_below(const Fit& result, const std::string& net = "model",
                      const std::vector<int64_t>& widths = {3, 6, 1}) {
  const auto initial = initial_mlp(net, widths, 11);
  double distance = std::nan("");
  for (const auto& p : initial->named_parameters()) {
    const Tensor below = p.value() - named(result.artifact.tensors, net + "@ema/" + p.key());
    if (std::isnan(distance)) distance = below.flatten()[0].item<double>();
    EXPECT_TRUE(torch::allclose(below, torch::full_like(below, distance), 0, 1e-12)) << p.key() << below;
  }
  return distance;
}

TEST(Ema, IsTheClosedFormOfASteadyDescent) {
  // a_n = w_0 - n/2 + (d / 2) (1 - d^n) / (1 - d) for w_t = w_0 - t/2
  const double d = 0.75;
  const Fit result = fit(descent({.decay = d, .warmup = false}));
  const double lag = d * (1 - std::pow(d, 8)) / (1 - d) / 2;
  EXPECT_NEAR(distance_below(result), 4 - lag, 1e-12);
}

TEST(Ema, WarmUpForgetsTheBeginning) {
  // The share that is left of a_0 after eight averagings is 1/10 2/11 3/12 4/13 5/14 6/15 7/16 8/17; of the k-th
  // weights (1 - d_k) times the later ones.
  double distance = 0, later = 1;
  for (int k = 8; k >= 1; --k) {
    const double share = static_cast<double>(k) / (k + 9);
    distance += (1 - share) * later * 0.5 * k;
    later *= share;
  }
  EXPECT_NEAR(later, 8.0 / 17 * 7 / 16 * 6 / 15 * 5 / 14 * 4 / 13 * 3 / 12 * 2 / 11 / 10, 1e-15);
  EXPECT_NEAR(distance_below(fit(descent({}))), distance, 1e-12);
  // At most the decay: with 1/10 it is the same from the first averaging on.
  EXPECT_NEAR(distance_below(fit(descent({.decay = 0.1}))),
              distance_below(fit(descent({.decay = 0.1, .warmup = false}))), 1e-12);
}

TEST(Ema, AveragesAfterEveryNthUpdate) {
  // After updates 3 and 6 of 8: ((w_0 + w_3) / 2 + w_6) / 2
  EXPECT_NEAR(distance_below(fit(descent({.decay = 0.5, .warmup = false, .every = 3}))), (1.5 / 2 + 3) / 2, 1e-12);
  // With warm-up the first averaging counts as the first: d is 1/10, then 2/11.
  EXPECT_NEAR(distance_below(fit(descent({.every = 3}))), 2.0 / 11 * 0.9 * 1.5 + 9.0 / 11 * 3, 1e-12);
}

TEST(Ema, DecayMayBeASchedule) {
  // 0 for four steps - the newest weights - then 1/2: w_4 + halves of w_5 .. w_8
  const Fit result = fit(descent({.decay = Schedule::parse("steps(0: 0, 50%: 0.5)"), .warmup = false}));
  EXPECT_NEAR(distance_below(result), 2.0 / 16 + 2.5 / 16 + 3.0 / 8 + 3.5 / 4 + 4.0 / 2, 1e-12);
}

TEST(Ema, EachLearnerCountsItsOwnUpdates) {
  TrainStage stage = descent({.decay = 0.5, .warmup = false, .every = 2});
  stage.nets.push_back(mlp("other", {2, 2}));
  stage.learners.push_back(learner("other", {"other"}, "sgd", 0.5));
  stage.passes = {{.name = "twice", .objective = std::make_shared<Sum>(), .times = 2},
                  {.name = "seldom", .objective = std::make_shared<Sum>("other"), .learners = {"other"}, .every = 4}};
  stage.stop = Count{2, Unit::steps};
  const Fit two = fit(stage);
  EXPECT_NEAR(distance_below(two), (1.0 / 2 + 2) / 2, 1e-12);   // updates 2 and 4
  EXPECT_NEAR(distance_below(two, "other", {2, 2}), 0, 1e-12);  // one update, none averaged
  stage.with = {std::make_shared<Ema>(EmaOptions{.decay = 0.5, .warmup = false, .every = 2})};
  stage.stop = Count{5, Unit::steps};
  EXPECT_NEAR(distance_below(fit(stage), "other", {2, 2}), 1.0 / 2, 1e-12);  // two updates, the second averaged
}

// ---- what is shown and kept -------------------------------------------------------------------------

const std::vector<int64_t> kIds = {100, 103, 106, 109, 112};

/// Adam on a regression, evaluated after every second step.
TrainStage trained(int replicas = 1, bool averages = true) {
  TrainStage stage = regression();
  stage.learners = {learner("model", {"model"}, "adam", 0.05)};
  stage.replicas = replicas;
  stage.evaluate = Count{2, Unit::steps};
  stage.evaluations = {{.objective = stage.passes[0].objective,
                        .batch =
                            [](int64_t i) {
                              return samples({kIds.begin() + i, kIds.begin() + i + 1}, 3);
                            },
                        .batches = static_cast<int64_t>(kIds.size()),
                        .rows = true}};
  if (averages) stage.with = {std::make_shared<Ema>(EmaOptions{.decay = 0.7, .warmup = false})};
  return stage;
}

/// Mean squared error of a published net over kIds; the batches of one sample have a norm of their own each.
double loss_of(const NamedTensors& nets, const std::string& prefix) {
  torch::NoGradGuard no_grad;
  Mlp net({3, 6, 1});
  for (const auto& p : net.named_parameters()) p.value().copy_(named(nets, prefix + p.key()));
  const Batch all = samples(kIds, 3);
  return (net.forward(all.at("x")) - all.at("y")).pow(2).mean().item<double>();
}

TEST(Ema, IsEvaluatedBesideTheWeights) {
  for (const int replicas : {1, 3}) {
    const Fit with = fit(trained(replicas)), without = fit(trained(replicas, false));
    double own = 0, average = 0;
    for (int r = 0; r < replicas; ++r) {
      const std::string prefix = r == 0 ? "" : "replica-" + std::to_string(r) + "/";
      own += loss_of(with.artifact.tensors, prefix + "model/") / replicas;
      average += loss_of(with.artifact.tensors, prefix + "model@ema/") / replicas;
    }
    EXPECT_NEAR(with.values.at("valid/loss"), own, 1e-12);
    EXPECT_NEAR(with.values.at("ema/valid/loss"), average, 1e-12);
    EXPECT_GT(std::abs(own - average), 1e-4);
    EXPECT_EQ(without.values.count("ema/valid/loss"), 0U);
    // Nothing that is trained, nor what is measured of it, knows of the average.
    for (const auto& [name, value] : without.artifact.tensors)
      EXPECT_TRUE(torch::equal(named(with.artifact.tensors, name), value)) << name;
    EXPECT_EQ(with.artifact.tensors.size(), 2 * without.artifact.tensors.size());
    for (const auto& [name, value] : without.values) EXPECT_EQ(with.values.at(name), value) << name;
    for (size_t i = 0; i < kIds.size(); ++i)
      EXPECT_EQ(with.rows.at("valid")[i].value, without.rows.at("valid")[i].value);
  }
}

TEST(Ema, ResumesToTheSameBits) {
  const TestFolder folder;
  for (const std::string& problem : wherever_stopped([] { return trained(2); }, folder)) ADD_FAILURE() << problem;
}

TEST(Ema, HasTheSameBitsOverRanks) {
  const TestFolder folder;
  Surroundings alone;
  alone.directory = folder.at("alone");
  const Print expected = print(fit(trained(3), alone), alone.directory);
  for (const int ranks : {2, 3}) {
    std::optional<Print> found;
    on_ranks(ranks, [&](RankGroup& group) {
      Surroundings around;
      around.directory = folder.at(std::to_string(ranks));
      around.links = &group.links;
      const Fit result = fit(trained(3), around);
      if (group.index() == 0) found = print(result, around.directory);
    });
    for (const std::string& problem : difference(expected, *found)) ADD_FAILURE() << ranks << " ranks: " << problem;
  }
}

TEST(Ema, RanksThatShareAReplicaAgree) {
  const auto make = [](const std::optional<std::string>& shard) {
    TrainStage stage = trained();
    stage.with.push_back(std::make_shared<DataParallel>(DataParallelOptions{.bucket = 100, .shard = shard}));
    return stage;
  };
  const Fit alone = fit(make({}));
  for (const std::optional<std::string>& shard : {std::optional<std::string>(), {"optimizer"}, {"gradients"}}) {
    std::optional<Fit> found;
    on_ranks(3, [&](RankGroup& group) {
      Surroundings around;
      around.links = &group.links;
      Fit result = fit(make(shard), around);
      if (group.index() == 0) found = std::move(result);
    });
    EXPECT_NEAR(found->values.at("ema/valid/loss"), alone.values.at("ema/valid/loss"), 1e-9);
    ASSERT_EQ(found->artifact.tensors.size(), alone.artifact.tensors.size());
    for (const auto& [name, value] : alone.artifact.tensors)
      EXPECT_TRUE(torch::allclose(named(found->artifact.tensors, name), value, 1e-6, 1e-9)) << name;
  }
}

TEST(Ema, AnUnfinishedRunHasItToo) {
  const TestFolder folder;
  Surroundings around;
  around.directory = folder.at("run");
  around.interrupted = [done = 0]() mutable { return ++done == 5; };
  const Fit stopped = fit(trained(2), around);
  EXPECT_FALSE(stopped.finished);
  const NamedTensors weights = trained_weights(around.directory);
  EXPECT_EQ(weights.size(), 8U);
  for (const auto& [name, value] : weights) EXPECT_TRUE(torch::equal(value, named(stopped.artifact.tensors, name)));
}

TEST(Ema, AnotherStageMayBeginWithIt) {
  const Fit first = fit(trained());
  TrainStage stage = regression();
  stage.init = {{.from = "first", .net = "model@ema"}};
  stage.stop = Count{1, Unit::steps};
  stage.learners = {learner("model", {"model"}, "sgd", 1e-300)};
  Surroundings around;
  around.artifact = [&](const std::string&) { return first.artifact; };
  for (const auto& [name, value] : fit(stage, around).artifact.tensors)
    EXPECT_TRUE(torch::equal(value, named(first.artifact.tensors, "model@ema/" + name.substr(6)))) << name;
}

TEST(Ema, TwoOfThemAndNetsThatLookLikeOneAreRefused) {
  TrainStage twice = trained();
  twice.with.push_back(std::make_shared<Ema>(EmaOptions{}));
  expect_error([&] { describe(twice); }, Code::config, "'ema' and 'ema' both keep other weights called 'ema'", "stage");
  TrainStage named_so = regression();
  named_so.nets[0].name = "model@ema";
  named_so.learners[0].params = {"model@ema"};
  expect_error([&] { describe(named_so); }, Code::config, "a net can't be called 'model@ema'", "stage");
  EXPECT_NE(describe(trained()).find("begin (ema)"), std::string::npos) << describe(trained());
  EXPECT_NE(describe(trained()).find("follow (ema)"), std::string::npos);
}

TEST(Ema, OptionsHaveTheirRanges) {
  const auto read = [](const char* key, const Config& value) {
    Config table = Config::table();
    table.set(key, value);
    EmaOptions options;
    read_options(table, options, "technique ema");
    return options;
  };
  EXPECT_EQ(read("decay", Config("linear(0.9 -> 0.99)")).decay.text(), "linear(0.9 -> 0.99)");
  EXPECT_THROW(read("decay", Config(1.0)), Error);
  EXPECT_THROW(read("decay", Config(-0.1)), Error);
  EXPECT_THROW(read("every", Config(int64_t{0})), Error);
}

TEST(Variants, MakeWholeNets) {
  const auto value = [](double x, c10::ScalarType type = torch::kFloat32) { return torch::full({2}, x, type); };
  NamedTensors nets = {{"model/a.weight", value(1)},
                       {"model/narrow", value(2, torch::kBFloat16)},
                       {"model/a.mean", value(3)},
                       {"other/a.weight", value(4)},
                       {"model2/x", value(5)}};
  add_variants(nets, {{"variant/ema/model.a.weight", value(10)}, {"variant/ema/model.narrow", value(20)}});
  ASSERT_EQ(nets.size(), 8U);
  EXPECT_EQ(named(nets, "model@ema/a.weight")[0].item<double>(), 10);
  EXPECT_EQ(named(nets, "model@ema/narrow")[0].item<double>(), 20);
  EXPECT_EQ(named(nets, "model@ema/narrow").scalar_type(), torch::kBFloat16);
  EXPECT_EQ(named(nets, "model@ema/a.mean")[0].item<double>(), 3);
  EXPECT_EQ(named(nets, "model/a.weight")[0].item<double>(), 1);
}

}  // namespace
}  // namespace etude::ema_test
