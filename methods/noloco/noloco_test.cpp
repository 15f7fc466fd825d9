#include "methods/noloco/noloco.h"

#include "etude/base/torch_pch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "etude/train/recipe.h"
#include "tests/frame/probe.h"

namespace etude::noloco {
namespace {

using testing::HasSubstr;

Tensor vec(std::vector<double> values) { return torch::tensor(values, torch::kFloat64); }

Tensor normal(std::vector<int64_t> shape, uint64_t seed, int64_t step = 0) {
  const Tensor x = torch::empty(shape, torch::kFloat64);
  Rng(Key{seed, Purpose::test, step, 0})
      .fill_normal(std::span<double>(x.data_ptr<double>(), static_cast<size_t>(x.numel())));
  return x;
}

// ---- the formulas ----

TEST(NoLoCo, GoldenPairStep) {
  // gbar = (0.5 - 0.1) / 2 = 0.2, phibar = 1.5.
  const std::vector<Tensor> phi = {vec({1}), vec({2})}, theta = {vec({1.5}), vec({1.9})}, m = {vec({0.1}), vec({0})};
  const Tensor gbar = group_mean({theta[0] - phi[0], theta[1] - phi[1]}), phibar = group_mean(phi);
  EXPECT_NEAR(gbar.item<double>(), 0.2, 1e-15);
  EXPECT_NEAR(phibar.item<double>(), 1.5, 1e-15);
  for (size_t i = 0; i < 2; ++i)
    outer_step(theta[i], phi[i], m[i], gbar, phibar - phi[i], {.alpha = 0.5, .beta = 0.7, .gamma = 0.7});
  EXPECT_NEAR(m[0].item<double>(), 0.54, 1e-15);
  EXPECT_NEAR(m[1].item<double>(), -0.21, 1e-15);
  EXPECT_NEAR(phi[0].item<double>(), 1.54, 1e-15);
  EXPECT_NEAR(phi[1].item<double>(), 1.79, 1e-15);
  EXPECT_EQ(theta[0].item<double>(), phi[0].item<double>());
  EXPECT_EQ(theta[1].item<double>(), phi[1].item<double>());
}

TEST(NoLoCo, NesterovLooksAhead) {
  // m = 0.5 * 0.1 + 0.7 * 0.2 + 0.3 * 0.5 = 0.34; phi = 1 + 0.5 * 0.34 + 0.29 = 1.46.
  const Tensor theta = vec({1.5}), phi = vec({1}), m = vec({0.1});
  outer_step(theta, phi, m, vec({0.2}), vec({0.5}), {.alpha = 0.5, .beta = 0.7, .gamma = 0.3, .nesterov = true});
  EXPECT_NEAR(m.item<double>(), 0.34, 1e-15);
  EXPECT_NEAR(phi.item<double>(), 1.46, 1e-15);
  EXPECT_EQ(theta.item<double>(), phi.item<double>());
}

TEST(NoLoCo, OneTensorEqualsTwoWhereGammaIsBeta) {
  for (bool nesterov : {false, true}) {
    const Outer o{.alpha = 0.5, .beta = 0.7, .gamma = 0.7, .nesterov = nesterov};
    const std::vector<Tensor> theta = {normal({50}, 1), normal({50}, 2)}, phi = {normal({50}, 3), normal({50}, 4)};
    for (size_t i = 0; i < 2; ++i) {
      const Tensor m = normal({50}, 5 + i);
      const Tensor theta1 = theta[i].clone(), phi1 = phi[i].clone(), m1 = m.clone(), theta2 = theta[i].clone(),
                   phi2 = phi[i].clone(), m2 = m.clone();
      outer_step_one(theta1, phi1, m1, group_mean(theta), o);
      outer_step(theta2, phi2, m2, group_mean({theta[0] - phi[0], theta[1] - phi[1]}), group_mean(phi) - phi[i], o);
      EXPECT_TRUE(torch::allclose(phi1, phi2, 0, 1e-12));
      EXPECT_TRUE(torch::allclose(m1, m2, 0, 1e-12));
      EXPECT_TRUE(torch::equal(theta1, phi1));
    }
  }
  EXPECT_THROW(outer_step_one(vec({1}), vec({1}), vec({0}), vec({1}), {.alpha = 0.5, .beta = 0.7, .gamma = 0.6}),
               Error);
}

TEST(NoLoCo, ThePullMovesNoGroupMean) {
  // mean(phi') = mean(phi) + alpha mean(m) + beta gbar, whatever gamma is.
  for (double gamma : {0.0, 0.3, 0.7, 3.0}) {
    std::vector<Tensor> theta, phi, m, g;
    for (uint64_t r = 0; r < 5; ++r) {
      theta.push_back(normal({20}, 10 + r));
      phi.push_back(normal({20}, 20 + r));
      m.push_back(normal({20}, 30 + r));
      g.push_back(theta.back() - phi.back());
    }
    const Tensor expected = torch::stack(phi).mean(0) + 0.4 * torch::stack(m).mean(0) + 0.7 * torch::stack(g).mean(0);
    const Tensor gbar = group_mean(g), phibar = group_mean(phi);
    for (size_t r = 0; r < 5; ++r)
      outer_step(theta[r], phi[r], m[r], gbar, phibar - phi[r], {.alpha = 0.4, .beta = 0.7, .gamma = gamma});
    EXPECT_TRUE(torch::allclose(torch::stack(phi).mean(0), expected, 0, 1e-12)) << gamma;
  }
}

TEST(NoLoCo, PairingPutsEachReplicaIntoOneGroup) {
  for (auto [N, n, groups] : {std::tuple{8, 2, 4}, {8, 8, 1}, {8, 1, 8}, {7, 2, 4}, {11, 3, 5}, {2, 2, 1}})
    for (int64_t t : {1, 20, 40}) {
      const auto partition = pairing(5, N, n, t);
      EXPECT_EQ(static_cast<int>(partition.size()), groups);
      std::vector<int> seen;
      for (const auto& group : partition) {
        EXPECT_TRUE(static_cast<int>(group.size()) == n || group.size() == 1u);
        EXPECT_TRUE(std::is_sorted(group.begin(), group.end()));
        seen.insert(seen.end(), group.begin(), group.end());
      }
      std::sort(seen.begin(), seen.end());
      for (int r = 0; r < N; ++r) EXPECT_EQ(seen.at(static_cast<size_t>(r)), r);
      EXPECT_EQ(partition, pairing(5, N, n, t)) << "every rank must compute the same";
    }
  EXPECT_NE(pairing(5, 64, 2, 20), pairing(5, 64, 2, 40));
  EXPECT_NE(pairing(5, 64, 2, 20), pairing(6, 64, 2, 20));
}

TEST(NoLoCo, EveryPairIsEquallyFrequent) {
  // 5 % are two standard deviations of a pair's frequency in 10000 draws, and six in 100000.
  const int N = 8, draws = 100000;
  std::map<std::pair<int, int>, int> met;
  for (int64_t t = 0; t < draws; ++t)
    for (const auto& group : pairing(1, N, 2, t)) met[{group[0], group[1]}] += 1;
  EXPECT_EQ(met.size(), 28u);
  for (const auto& [pair, times] : met) EXPECT_NEAR(times * 7.0 / draws, 1, 0.05) << pair.first << ", " << pair.second;
}

TEST(NoLoCo, WeightSpreadIsTheStandardDeviationOverReplicas) {
  // Two replicas of three values around (2, 3, 3): squares 1 + 1 + 0 and the same, over N P = 6.
  const double spread = weight_spread({{vec({1, 2}), vec({3})}, {vec({3, 4}), vec({3})}});
  EXPECT_NEAR(spread, std::sqrt(4.0 / 6.0), 1e-15);
  EXPECT_EQ(weight_spread({{vec({0.1, 7})}, {vec({0.1, 7})}, {vec({0.1, 7})}}), 0.0);
}

// ---- the spread of many replicas, from the formulas alone ----

struct Spreads {
  std::vector<double> variance;
};

/// N replicas in random pairs; `progress(phi, t)` gives theta. Rows are replicas.
template <class F>
Spreads simulate(int64_t N, int64_t D, int steps, const Outer& o, uint64_t seed, F progress) {
  const Tensor phi = torch::zeros({N, D}, torch::kFloat64), m = torch::zeros_like(phi);
  Spreads spreads;
  for (int t = 0; t < steps; ++t) {
    std::vector<int64_t> partner(static_cast<size_t>(N));
    for (const auto& pair : pairing(seed, static_cast<int>(N), 2, t)) {
      partner[static_cast<size_t>(pair[0])] = pair[1];
      partner[static_cast<size_t>(pair[1])] = pair[0];
    }
    const Tensor other = torch::tensor(partner);
    const Tensor theta = progress(phi, t), g = theta - phi;
    outer_step(theta, phi, m, (g + g.index_select(0, other)) / 2, (phi.index_select(0, other) - phi) / 2, o);
    spreads.variance.push_back((phi - phi.mean(0, true)).square().mean().template item<double>());
  }
  return spreads;
}

Spreads pure_noise(const Outer& o, int steps, double s = 1, int64_t D = 32) {
  return simulate(128, D, steps, o, 3, [&](const Tensor& phi, int t) {
    return phi + s * normal({phi.size(0), phi.size(1)}, 11, t);
  });
}

double mean(const std::vector<double>& x, size_t from, size_t to) {
  double sum = 0;
  for (size_t i = from; i < to; ++i) sum += x[i];
  return sum / static_cast<double>(to - from);
}

TEST(NoLoCo, SpreadOfPureNoiseSettlesAtItsTheory) {
  const double s = 0.3;
  const auto v = pure_noise({.alpha = 0.5, .beta = 0.7, .gamma = 0.7}, 600, s).variance;
  EXPECT_NEAR(mean(v, 100, 600) / (s * s), 1.3125, 0.06 * 1.3125);
}

TEST(NoLoCo, SpreadWithoutThePullGrowsLinearly) {
  // Far from the start each outer step adds (beta / (1 - alpha))^2 s^2 / 2, less 2/N for the mean: 0.965 s^2.
  const auto v = pure_noise({.alpha = 0.5, .beta = 0.7, .gamma = 0}, 800, 1, 64).variance;
  EXPECT_NEAR((mean(v, 700, 800) - mean(v, 100, 200)) / 600, 0.965, 0.12);
  EXPECT_NEAR((mean(v, 700, 800) - mean(v, 400, 500)) / (mean(v, 400, 500) - mean(v, 100, 200)), 1, 0.2);
}

TEST(NoLoCo, StabilityHasTheBoundThatIsWarnedOf) {
  EXPECT_NEAR(stable_bound(0.9), 0.38, 1e-12);
  EXPECT_NEAR(stable_bound(0.5), 1.5, 1e-12);
  const auto beyond = pure_noise({.alpha = 0.9, .beta = 0.7, .gamma = 0.7}, 300, 1, 8).variance;
  const auto below = pure_noise({.alpha = 0.9, .beta = 0.7, .gamma = 0.3}, 1200, 1, 8).variance;
  EXPECT_GT(mean(beyond, 280, 300), 100 * mean(beyond, 180, 200));
  EXPECT_LT(mean(below, 900, 1200), 1.5 * mean(below, 300, 600));
}

TEST(NoLoCo, VarianceOnAQuadraticGoesWithTheSquareOfTheNoise) {
  // Five steps of SGD on |theta|^2 / 2 with noisy gradients between outer steps.
  const auto spread = [](double noise, uint64_t seed) {
    const auto v = simulate(64, 32, 400, {}, seed, [&](const Tensor& phi, int t) {
                     Tensor theta = phi.clone();
                     for (int k = 0; k < 5; ++k)
                       theta = theta - 0.1 * (theta + noise * normal({64, 32}, seed, 5 * t + k));
                     return theta;
                   }).variance;
    return mean(v, 50, 400);
  };
  EXPECT_NEAR(spread(0.2, 1) / spread(0.1, 2), 4, 0.4);
}

// ---- through the loop ----

Part part(const std::string& toml) { return Part{parse_toml(toml, "test.toml")}; }

std::shared_ptr<Technique> technique(const std::string& toml) {
  Registry registry;
  register_noloco(registry);
  return registry.technique(part(toml)).make(part(toml));
}

TrainStage stage(const std::string& with, int replicas = 4, int64_t batch = 3, const std::string& optimizer = "adam") {
  TrainStage s;
  s.seed = 1;
  s.replicas = replicas;
  s.nets = {probe::mlp("model", {4, 6, 1})};
  s.learners = {probe::learner("model", {"model"}, optimizer, 0.05)};
  s.sources = {{"train", std::make_shared<probe::Samples>(4, batch)}};
  auto objective = std::make_shared<probe::Regression>();
  s.passes = {{.objective = objective}};
  if (!with.empty()) s.with = {technique(with)};
  EvalSpec valid;
  valid.objective = objective;
  valid.batch = [](int64_t) { return probe::samples({100, 101, 102, 103, 104, 105}, 4); };
  s.evaluations = {valid};
  s.stop = {8, Unit::steps};
  s.evaluate = {2, Unit::steps};
  return s;
}

Tensor tensor_of(const Fit& fit, const std::string& name) {
  for (const auto& [key, value] : fit.artifact.tensors)
    if (key == name) return value;
  ADD_FAILURE() << "the run has no tensor " << name;
  return {};
}

int64_t parameters() { return 4 * 6 + 6 + 6 + 1; }

void expect_same(const Fit& a, const Fit& b, const std::string& what) {
  ASSERT_EQ(a.artifact.tensors.size(), b.artifact.tensors.size());
  auto other = b.artifact.tensors.begin();
  for (const auto& [name, value] : a.artifact.tensors) {
    EXPECT_EQ(name, other->first);
    EXPECT_TRUE(torch::equal(value, other->second)) << what << ": " << name;
    ++other;
  }
}

TEST(NoLoCo, AGroupOfAllIsDiLoCoToTheBit) {
  for (const std::string outer : {"heavyball", "nesterov"}) {
    const Fit diloco = fit(stage("kind = 'diloco'\nevery = 2\nalpha = 0.3\nouter = '" + outer + "'"));
    for (const std::string path : {"auto", "two"})
      for (const std::string gamma : {"", "gamma = 0.2"})
        expect_same(fit(stage("kind = 'noloco'\ngroup = 4\nevery = 2\nalpha = 0.3\n" + gamma + "\nouter = '" + outer +
                              "'\npath = '" + path + "'")),
                    diloco, outer + path + gamma);
    const Fit pairs = fit(stage("kind = 'noloco'\ngroup = 2\nevery = 2\nalpha = 0.3"));
    EXPECT_NE(pairs.values.at("valid/loss"), diloco.values.at("valid/loss")) << "the comparison must be able to fail";
  }
}

TEST(NoLoCo, DiLoCoIsItsFormulaAndLeavesNoSpread) {
  // Independent: progress of the replicas, trained alone for H steps from the same weights; one outer step.
  TrainStage alone = stage("");
  alone.stop = {2, Unit::steps};
  TrainStage once = stage("kind = 'diloco'\nevery = 2\nalpha = 0.3\nbeta = 0.6");
  once.stop = {2, Unit::steps};
  const Fit local = fit(alone), met = fit(once);
  auto initial = std::make_shared<probe::Mlp>(std::vector<int64_t>{4, 6, 1});
  initial->initialise(initial_seed(1, "model"));
  std::map<std::string, Tensor> phi;
  for (const auto& p : initial->named_parameters()) phi["model/" + p.key()] = p.value().detach();
  int compared = 0;
  std::map<std::string, std::vector<Tensor>> theta;
  for (const auto& [name, value] : local.artifact.tensors) {
    const std::string key = name.rfind("replica-", 0) == 0 ? name.substr(name.find('/') + 1) : name;
    if (phi.count(key)) theta[key].push_back(value);
  }
  for (const auto& [name, value] : met.artifact.tensors) {
    const std::string key = name.rfind("replica-", 0) == 0 ? name.substr(name.find('/') + 1) : name;
    if (!phi.count(key)) continue;
    ASSERT_EQ(theta.at(key).size(), 4u);
    const Tensor expected = phi[key] + 0.6 * (torch::stack(theta.at(key)).mean(0) - phi[key]);
    EXPECT_TRUE(torch::allclose(value, expected, 0, 1e-12)) << name;
    ++compared;
  }
  EXPECT_EQ(compared, 4 * 4);
  EXPECT_EQ(met.values.at("noloco/weight_std"), 0.0);
  EXPECT_GT(local.values.at("valid/loss"), 0);
}

TEST(NoLoCo, BothPathsTrainAlikeThroughTheLoop) {
  const Fit one = fit(stage("kind = 'noloco'\nevery = 2\npath = 'one'"));
  const Fit two = fit(stage("kind = 'noloco'\nevery = 2\npath = 'two'"));
  for (const auto& [name, value] : one.artifact.tensors)
    EXPECT_TRUE(torch::allclose(value, tensor_of(two, name), 0, 1e-6)) << name;
  EXPECT_EQ(two.counters[Unit::bytes], 2 * one.counters[Unit::bytes]);
  expect_same(one, fit(stage("kind = 'noloco'\nevery = 2\ngamma = 0.7")), "auto takes one tensor for gamma = beta");
}

TEST(NoLoCo, OneStepOfSgdWithAllIsGradientAveraging) {
  const Fit averaged = fit(stage("", 1, 12, "sgd"));
  for (const std::string path : {"one", "two"}) {
    const Fit met =
        fit(stage("kind = 'noloco'\ngroup = 4\nevery = 1\nalpha = 0\nbeta = 1\npath = '" + path + "'", 4, 3, "sgd"));
    for (const auto& [name, value] : averaged.artifact.tensors)
      EXPECT_TRUE(torch::allclose(tensor_of(met, name), value, 0, 1e-12)) << name;
  }
}

TEST(NoLoCo, OnlyPartnersSpeak) {
  // 8 steps, H = 2: 4 outer steps. A pair: one message of all parameters (in double) each, in one round.
  const Fit pairs = fit(stage("kind = 'noloco'\nevery = 2"));
  EXPECT_EQ(pairs.counters[Unit::messages], 4 * 4);
  EXPECT_EQ(pairs.counters[Unit::rounds], 4);
  EXPECT_EQ(pairs.counters[Unit::bytes], 4 * 4 * parameters() * 8);
  // Without a pull theta - phi is all that is needed; the other path gives the same bits for twice the bytes.
  const Fit unpulled = fit(stage("kind = 'noloco'\nevery = 2\ngamma = 0"));
  const Fit both = fit(stage("kind = 'noloco'\nevery = 2\ngamma = 0\npath = 'two'"));
  EXPECT_EQ(unpulled.counters[Unit::bytes], pairs.counters[Unit::bytes]);
  EXPECT_EQ(both.counters[Unit::bytes], 2 * pairs.counters[Unit::bytes]);
  expect_same(unpulled, both, "gamma = 0");
  expect_same(unpulled, fit(stage("kind = 'noloco'\nevery = 2\ngamma = 0\npath = 'one'")), "gamma = 0, path one");
  // Five replicas: one of them is alone each time.
  const Fit odd = fit(stage("kind = 'noloco'\nevery = 2", 5));
  EXPECT_EQ(odd.counters[Unit::messages], 4 * 4);
  // All of four: 2 (N - 1) messages and 2 (N - 1) / N of all parameters each, in two rounds.
  const Fit all = fit(stage("kind = 'diloco'\nevery = 2"));
  EXPECT_EQ(all.counters[Unit::messages], 4 * 4 * 6);
  EXPECT_EQ(all.counters[Unit::rounds], 4 * 2);
  EXPECT_EQ(all.counters[Unit::bytes], 4 * 4 * 2 * 3 * parameters() * 8 / 4);
  EXPECT_EQ(fit(stage("kind = 'spread'")).counters[Unit::messages], 0);
  TrainStage early = stage("kind = 'noloco'\nevery = 9");
  EXPECT_EQ(fit(early).counters[Unit::messages], 0) << "no outer step before H inner ones";
}

TEST(NoLoCo, SpreadAndAverageAreMeasured) {
  const Fit none = fit(stage("kind = 'spread'")), met = fit(stage("kind = 'noloco'\nevery = 2")),
            gossip = fit(stage("kind = 'pairavg'\nevery = 1\ngroup = 4"));
  EXPECT_GT(none.values.at("noloco/weight_std"), met.values.at("noloco/weight_std"));
  EXPECT_GT(met.values.at("noloco/weight_std"), 0);
  // Where all are equal, the average is each of them.
  EXPECT_EQ(gossip.values.at("noloco/weight_std"), 0);
  EXPECT_NEAR(gossip.values.at("averaged/loss"), gossip.values.at("valid/loss"), 1e-12);
  EXPECT_NE(none.values.at("averaged/loss"), none.values.at("valid/loss"));
  expect_same(none, fit(stage("")), "measuring changes nothing");
}

TEST(NoLoCo, EpidemicTakesOneAdamStepTowardsTheMean) {
  // Adam's first step moves each value by lr, against the sign of theta - mean (where that is not tiny).
  TrainStage alone = stage("", 2);
  alone.stop = {2, Unit::steps};
  TrainStage once = stage("kind = 'epidemic'\nevery = 2\nlr = 1e-3", 2);
  once.stop = {2, Unit::steps};
  const Fit before = fit(alone), after = fit(once);
  const Tensor a = tensor_of(before, "model/layer0.weight"), b = tensor_of(before, "replica-1/model/layer0.weight");
  const Tensor expected = a - 1e-3 * torch::sign(a - b);
  EXPECT_TRUE(torch::allclose(tensor_of(after, "model/layer0.weight"), expected, 0, 2e-6));
}

TEST(NoLoCo, GoesOnFromEveryStep) {
  for (const std::string with : {"kind = 'noloco'\nevery = 3", "kind = 'noloco'\nevery = 3\ngamma = 0.2",
                                 "kind = 'diloco'\nevery = 3", "kind = 'epidemic'\nevery = 2\ngroup = 3"})
    probe::same_wherever_stopped([&] { return stage(with); });
}

// ---- bad input ----

template <class F>
Error error_of(F f) {
  try {
    f();
  } catch (const Error& e) {
    return e;
  }
  ADD_FAILURE() << "nothing was thrown";
  return Error(Code::internal, "");
}

TEST(NoLoCo, RefusesWhatCannotBe) {
  for (const std::string bad :
       {"kind = 'noloco'\ngroup = 0", "kind = 'noloco'\nevery = 0", "kind = 'noloco'\ngamma = -0.1",
        "kind = 'noloco'\nalpha = 1", "kind = 'noloco'\npath = 'three'", "kind = 'diloco'\nevery = 0",
        "kind = 'diloco'\ngroup = 2", "kind = 'noloco'\nbeta = nan"}) {
    const Error e = error_of([&] { technique(bad); });
    EXPECT_EQ(e.code(), Code::config) << bad;
    EXPECT_THAT(e.where(), HasSubstr("test.toml:2")) << bad;
  }
  const Error path = error_of([] { technique("kind = 'noloco'\npath = 'one'\ngamma = 0.2"); });
  EXPECT_THAT(path.what(), HasSubstr("gamma = 0.2"));
  EXPECT_FALSE(path.hint().empty());
  const Error few = error_of([] { fit(stage("kind = 'noloco'\ngroup = 5")); });
  EXPECT_EQ(few.code(), Code::config);
  EXPECT_THAT(few.what(), HasSubstr("group = 5, but there are 4 replicas"));
  const Error lonely = error_of([] { fit(stage("kind = 'noloco'", 1)); });
  EXPECT_EQ(lonely.code(), Code::config);
  EXPECT_THAT(lonely.what(), HasSubstr("replicas"));
}

TEST(NoLoCo, WarnsOfAnUnstablePairWithTheBound) {
  const auto said = [](const std::string& with) {
    testing::internal::CaptureStderr();
    TrainStage s = stage(with);
    s.stop = {1, Unit::steps};
    fit(s);
    return testing::internal::GetCapturedStderr();
  };
  EXPECT_THAT(said("kind = 'noloco'\nalpha = 0.9"), HasSubstr("gamma < 2 (1 - alpha^2) = 0.38"));
  EXPECT_EQ(said("kind = 'noloco'\nalpha = 0.9\ngamma = 0.3"), "");
  EXPECT_EQ(said("kind = 'noloco'"), "");
  EXPECT_EQ(said("kind = 'noloco'\nalpha = 0.9\ngroup = 4"), "") << "a group of all has no spread";
}

// ---- recipes ----

TEST(NoLoCo, ArmsAreRecipes) {
  Registry registry;
  register_frame(registry);
  register_noloco(registry);
  const std::vector<std::string> expected = {"diloco",        "diloco-nesterov", "epidemic",        "fsdp", "noloco",
                                             "noloco-gamma0", "noloco-routed",   "noloco-straight", "none", "pairavg"};
  EXPECT_EQ(arms("noloco"), expected);
  for (const std::string& arm : expected)
    for (const std::string profile : {"", "smoke", "small", "full", "paper"}) {
      const Recipe recipe = builtin_recipe("noloco", arm, profile, {}, registry);
      const std::string what = arm + " " + profile;
      EXPECT_FALSE(recipe.options.about.empty()) << what;
      // Every arm sees as many samples in a step.
      const Recipe reference = builtin_recipe("noloco", "noloco", profile, {}, registry);
      EXPECT_EQ(recipe.options.replicas * recipe.options.source.batch,
                reference.options.replicas * reference.options.source.batch)
          << what;
      const bool staged = arm == "noloco-routed" || arm == "noloco-straight";
      ASSERT_EQ(recipe.options.with.size(), staged ? 2u : 1u) << what;
      const Config* every = recipe.options.with[0].config.find("every");
      if (profile == "smoke" && every) {
        EXPECT_EQ(every->as_int(), 2) << what;
      }
      for (const Part& with : recipe.options.with) EXPECT_NO_THROW(registry.technique(with).make(with)) << what;
    }
}

}  // namespace
}  // namespace etude::noloco
