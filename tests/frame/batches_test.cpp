// Probe (f): batch sizes that change, Poisson batches with an empty one, a batch-coupled loss, accumulation 1x8 = 4x2,
// and four replicas.

#include "etude/comm/group_mean.h"
#include "tests/frame/probe.h"

namespace etude::probe {
namespace {

/// Owns the plan: the size of each batch is drawn anew, and may be 0.
class PoissonBatches : public Technique {
 public:
  Contract contract() const override { return {.name = "poisson", .owns = {Slot::plan}}; }
  static int64_t draw(Rng rng) {
    int64_t n = 0;
    for (double t = rng.exponential(); t < 1.2; t += rng.exponential()) ++n;
    return n;
  }
  int64_t batch_size(Step& step) override { return draw(step.rng(Purpose::sample, step.replica())); }
};

/// All replicas average their weights after each step: with plain SGD that is one replica with all their samples.
class AverageWeights : public Technique {
 public:
  Contract contract() const override { return {.name = "average", .requires_ = {"replicas"}, .why = "set replicas"}; }
  int rounds(Step& step) override { return GroupMean::rounds(step.replicas()); }
  void post(Peers& peers, Step& step, int round) override {
    sides_[step.replica()].post(peers, all(step), own(step), round);
  }
  void collect(Peers& peers, Step& step, int round) override {
    const auto mean = sides_[step.replica()].collect(peers, all(step), own(step), round);
    for (size_t i = 0; i < mean.size(); ++i) own(step)[i].copy_(mean[i]);
  }

 private:
  static std::vector<int> all(const Step& step) {
    std::vector<int> group(static_cast<size_t>(step.replicas()));
    std::iota(group.begin(), group.end(), 0);
    return group;
  }
  static std::vector<Tensor> own(const Step& step) {
    std::vector<Tensor> values;
    for (const Parameter& p : step.all_parameters()) values.push_back(p.value);
    return values;
  }
  std::map<int, GroupMean> sides_;  ///< by replica; empty between exchanges
};

/// InfoNCE between x and a shifted view: every item is every other's negative.
class Contrast : public Objective {
 public:
  Needs needs() const override { return {Coupling::batch, {"x"}}; }
  Terms loss(Step& step, const Batch& batch, Ctx&) override {
    auto& net = step.net<Mlp>("model");
    const Tensor scores_BB = net.forward(batch.at("x")).mm(net.forward(batch.at("x") + 0.1).t());
    return {{"nce", torch::logsumexp(scores_BB, 1) - scores_BB.diagonal(), {}, step.norm("items"), 1.0}};
  }
};

TrainStage batches(int64_t batch, int accumulate, int replicas) {
  TrainStage stage = regression(std::make_shared<Regression>(), batch);
  stage.accumulate = accumulate;
  stage.replicas = replicas;
  if (replicas > 1) stage.with = {std::make_shared<AverageWeights>()};
  return stage;
}

TEST(Batches, PoissonResumesAtEveryStepAndMeetsAnEmptyOne) {
  same_wherever_stopped([] {
    TrainStage stage = batches(4, 2, 4);
    stage.with.push_back(std::make_shared<PoissonBatches>());
    return stage;
  });
  std::set<int64_t> sizes;
  for (int64_t step = 0; step < 8; ++step)
    for (int64_t replica = 0; replica < 4; ++replica)
      sizes.insert(PoissonBatches::draw(Rng(Key{11, Purpose::sample, step, replica})));
  EXPECT_TRUE(sizes.count(0)) << "the probe must meet an empty batch";
  EXPECT_GT(sizes.size(), 3U);
}

TEST(Batches, AccumulationAndReplicasGiveTheSameWeights) {
  const auto whole = fit(batches(8, 1, 1)).artifact.tensors;
  for (const auto& [batch, accumulate, replicas] : {std::tuple{8, 4, 1}, {8, 8, 1}, {2, 1, 4}, {2, 2, 4}}) {
    const auto cut = fit(batches(batch, accumulate, replicas)).artifact.tensors;
    for (size_t i = 0; i < whole.size(); ++i)
      EXPECT_TRUE(torch::allclose(whole[i].second, cut[i].second, 1e-12, 1e-13))
          << whole[i].first << ", accumulate " << accumulate << ", replicas " << replicas;
  }
}

TEST(Batches, CoupledLossTrainsWholeAndRefusesToBeCut) {
  const auto coupled = [](int accumulate) {
    TrainStage stage = batches(8, accumulate, 4);
    stage.passes.front().objective = std::make_shared<Contrast>();
    return stage;
  };
  same_wherever_stopped([&] { return coupled(1); });
  try {
    fit(coupled(2));
    FAIL() << "a coupled batch must not be cut";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::config);
    EXPECT_FALSE(error.hint().empty());
  }
}

}  // namespace
}  // namespace etude::probe
