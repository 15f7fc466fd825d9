#include <gtest/gtest.h>

#include "etude/train/testing.h"

namespace etude::evaluate_test {
namespace {

using namespace etude::test;

/// Three values a sample, each weighing as its place: sum_bk w_k (e_b + k)^2 / sum_bk w_k; perplexity as for text.
class Weighted : public Regression {
 public:
  Norms norms(const Batch& batch) const override { return {{"weight", 6.0 * static_cast<double>(batch.size())}}; }
  Terms loss(Step& step, const Batch& batch, Ctx&) override {
    const Tensor error_B1 = step.net<Mlp>("model").forward(batch.at("x")) - batch.at("y");
    const Tensor place_K = torch::arange(1, 4, torch::kFloat64);
    return {{"weighted", (error_B1 + place_K).pow(2), place_K.expand({batch.size(), 3}), step.norm("weight"), 1.0},
            {"small", error_B1.squeeze(1).pow(2), {}, step.norm("weight"), 0.5}};
  }
  void measure(std::map<std::string, double>& values) const override {
    values["perplexity"] = std::exp(values.at("loss"));
  }
};

/// The same in plain loops.
double by_hand(Mlp& net, const std::vector<int64_t>& ids, std::map<int64_t, double>* rows = nullptr) {
  torch::NoGradGuard no_grad;
  double total = 0;
  for (int64_t id : ids) {
    const Batch one = samples({id}, 3);
    const double e = (net.forward(one.at("x")) - one.at("y")).item<double>();
    double value = 0.5 * e * e;
    for (int k = 1; k <= 3; ++k) value += k * (e + k) * (e + k);
    total += value;
    if (rows) (*rows)[id] += value / 6;
  }
  return total / (6.0 * static_cast<double>(ids.size()));
}

const std::vector<int64_t> kIds = {100, 103, 106, 109, 112};

TrainStage evaluated(int replicas, int64_t* made = nullptr) {
  TrainStage stage = regression(std::make_shared<Weighted>());
  stage.replicas = replicas;
  stage.evaluate = Count{2, Unit::steps};
  stage.evaluations = {{.objective = stage.passes[0].objective,
                        .batch =
                            [made](int64_t i) {
                              if (made) ++*made;
                              return i == 0 ? samples({kIds[0], kIds[1], kIds[2]}, 3) : samples({kIds[3], kIds[4]}, 3);
                            },
                        .batches = 2,
                        .rows = true}};
  return stage;
}

std::shared_ptr<Mlp> net_of(const Fit& result, const std::string& prefix) {
  auto net = std::make_shared<Mlp>(std::vector<int64_t>{3, 6, 1});
  torch::NoGradGuard no_grad;
  for (const auto& [name, value] : result.artifact.tensors)
    if (name.starts_with(prefix)) net->named_parameters()[name.substr(prefix.size())].copy_(value);
  return net;
}

TEST(Evaluate, TheMeanOverReplicasAndPerplexityOfTheMean) {
  const Fit result = fit(evaluated(3));
  double mean = 0;
  std::map<int64_t, double> rows;
  for (const char* prefix : {"model/", "replica-1/model/", "replica-2/model/"})
    mean += by_hand(*net_of(result, prefix), kIds, &rows) / 3;
  EXPECT_NEAR(result.values.at("valid/loss"), mean, 1e-12 * mean);
  EXPECT_NEAR(result.values.at("valid/perplexity"), std::exp(mean), 1e-9 * std::exp(mean));
  ASSERT_EQ(result.rows.at("valid").size(), kIds.size());
  for (const Row& row : result.rows.at("valid")) {
    EXPECT_NEAR(row.value, rows.at(row.id) / 3, 1e-12 * row.value) << row.id;
    EXPECT_EQ(row.weight, 6) << row.id;
  }
  EXPECT_EQ(result.lines.size(), 4U);
}

TEST(Evaluate, RowsArePairedByIdAndTheirMeanIsTheLoss) {
  const Fit one = fit(evaluated(1)), other = fit(evaluated(2));
  for (const Fit* result : {&one, &other}) {
    double sum = 0, weight = 0;
    for (const Row& row : result->rows.at("valid")) {
      sum += row.weight * row.value;
      weight += row.weight;
    }
    EXPECT_NEAR(sum / weight, result->values.at("valid/loss"), 1e-12);
  }
  for (size_t i = 0; i < kIds.size(); ++i) {
    EXPECT_EQ(one.rows.at("valid")[i].id, kIds[i]);
    EXPECT_EQ(other.rows.at("valid")[i].id, kIds[i]);
  }
}

TEST(Evaluate, DoesNotChangeTraining) {
  TrainStage never = evaluated(1);
  never.evaluations.clear();
  const Fit with = fit(evaluated(1)), without = fit(never);
  for (size_t i = 0; i < with.artifact.tensors.size(); ++i)
    EXPECT_TRUE(torch::equal(with.artifact.tensors[i].second, without.artifact.tensors[i].second));
}

TEST(Evaluate, BatchesAreMadeOnceAsLongAsTheyFit) {
  int64_t made = 0;
  fit(evaluated(3, &made));
  EXPECT_EQ(made, 2);

  made = 0;
  TrainStage stage = evaluated(3);
  stage.evaluations[0].batches = 3;
  stage.evaluations[0].batch = [&](int64_t i) {
    ++made;
    Batch batch = samples({i}, 3);
    batch.x["ballast"] = torch::zeros({1, 1}, torch::kFloat64).expand({1, 5 << 20});  // 40 MiB, were it written out
    return batch;
  };
  fit(stage);
  EXPECT_EQ(made, 3 + 4 * 3 * 2) << "one is kept; two are made anew for 3 replicas in 4 evaluations";
}

TEST(Evaluate, MeasuresOtherWeightsAndPutsTheOwnBack) {
  class Zeros : public Technique {
   public:
    Contract contract() const override { return {.name = "zeros", .gathers = true}; }
    void evaluate(Evaluation& evaluation) override {
      std::vector<Tensor> zeros, before;
      for (const Parameter& p : evaluation.parameters(0)) {
        zeros.push_back(torch::zeros_like(p.value));
        before.push_back(p.value.detach().clone());
      }
      evaluation.log("zeros/loss", evaluation.measure_with(zeros).at("valid/loss"));
      const auto after = evaluation.parameters(0);
      for (size_t i = 0; i < after.size(); ++i) EXPECT_TRUE(torch::equal(after[i].value, before[i]));
    }
  };
  TrainStage stage = evaluated(2);
  stage.with = {std::make_shared<Zeros>()};
  Mlp zero({3, 6, 1});
  EXPECT_NEAR(fit(stage).values.at("zeros/loss"), by_hand(zero, kIds), 1e-12);
}

}  // namespace
}  // namespace etude::evaluate_test
