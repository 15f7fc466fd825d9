// B batch, T time, V vocabulary.

#include "etude/train/next_token.h"

#include <gtest/gtest.h>

#include "etude/train/testing.h"

namespace etude::next_token_test {
namespace {

using namespace etude::test;

/// Logits of the next token by the current one alone: a table in double.
class Bigram : public LanguageModel {
 public:
  explicit Bigram(int64_t vocabulary)
      : table_VV_(register_parameter("table", torch::zeros({vocabulary, vocabulary}, torch::kFloat64))) {}
  void initialise(uint64_t seed) override {
    torch::NoGradGuard no_grad;
    std::vector<double> values(static_cast<size_t>(table_VV_.numel()));
    Rng(Key{seed, Purpose::init}).fill_normal(values);
    table_VV_.copy_(torch::tensor(values, torch::kFloat64).view(table_VV_.sizes()));
  }
  Tensor logits(const Tensor& ids_BT, const Tensor&, const Tensor&, Ctx&) override {
    return table_VV_.index_select(0, ids_BT.reshape({-1})).view({ids_BT.size(0), ids_BT.size(1), -1});
  }
  double flops(const Batch& batch) const override { return static_cast<double>(batch.at("ids_BT").numel()); }
  int64_t vocabulary() const override { return table_VV_.size(0); }
  int64_t longest() const override { return 1 << 20; }

 private:
  Tensor table_VV_;
};

/// Two rows of four tokens, with five labels in all: one in the first row, four in the second.
class Rows : public Source {
 public:
  Kind kind() const override { return Kind::pure; }
  Batch next(Step&, int64_t) override { return batch(); }
  static Batch batch() {
    Batch b;
    b.id_B = torch::tensor({7, 9}, torch::kInt64);
    b.x["ids_BT"] = torch::tensor({{0, 1, 2, 0}, {2, 2, 1, 0}}, torch::kInt64);
    b.x["labels_BT"] = torch::tensor({{-1, 2, -1, -1}, {2, 1, 0, 1}}, torch::kInt64);
    return b;
  }
};

TrainStage bigrams() {
  TrainStage stage;
  stage.seed = 4;
  stage.nets = {{"model", [] { return std::make_shared<Bigram>(3); }}};
  stage.learners = {learner("model", {"model"}, "sgd", 0.5)};
  stage.sources = {{"train", std::make_shared<Rows>()}};
  stage.passes = {{.objective = std::make_shared<NextToken>(NextTokenOptions{})}};
  stage.evaluations = {
      {.objective = stage.passes[0].objective, .batch = [](int64_t) { return Rows::batch(); }, .rows = true}};
  stage.stop = Count{1, Unit::steps};
  return stage;
}

Tensor start() {
  Bigram net(3);
  net.initialise(initial_seed(4, "model"));
  return net.parameters()[0].detach();
}

/// -log softmax(table[id])[label], without LibTorch's.
double surprise(const Tensor& table_VV, int64_t id, int64_t label) {
  double sum = 0;
  for (int64_t v = 0; v < 3; ++v) sum += std::exp(table_VV[id][v].item<double>());
  return std::log(sum) - table_VV[id][label].item<double>();
}

const std::vector<std::vector<std::pair<int64_t, int64_t>>> kPairs = {{{1, 2}}, {{2, 2}, {2, 1}, {1, 0}, {0, 1}}};

TEST(NextToken, IsTheMeanOverTokensByHandAndByLibTorch) {
  const Fit result = fit(bigrams());
  double sum = 0;
  for (const auto& row : kPairs)
    for (const auto& [id, label] : row) sum += surprise(start(), id, label);
  EXPECT_NEAR(result.values.at("train/loss"), sum / 5, 1e-14);

  Tensor table = start().clone().requires_grad_(true);
  const Batch batch = Rows::batch();
  const Tensor mean = at::cross_entropy_loss(table.index_select(0, batch.at("ids_BT").reshape({-1})),
                                             batch.at("labels_BT").reshape({-1}), {}, at::Reduction::Mean, -1);
  EXPECT_NEAR(result.values.at("train/loss"), mean.item<double>(), 1e-14);
  mean.backward();
  EXPECT_TRUE(torch::allclose(result.artifact.tensors[0].second, (table - 0.5 * table.grad()).detach(), 1e-14, 1e-14));
}

TEST(NextToken, CutsBetweenRowsOfUnequalCountsChangeNothing) {
  TrainStage cut = bigrams();
  cut.accumulate = 2;
  EXPECT_TRUE(
      torch::allclose(fit(bigrams()).artifact.tensors[0].second, fit(cut).artifact.tensors[0].second, 1e-15, 1e-15));
}

TEST(NextToken, RowsAreMeansOverTheirTokens) {
  const Fit result = fit(bigrams());
  const Tensor table = result.artifact.tensors[0].second;
  ASSERT_EQ(result.rows.at("valid").size(), 2U);
  double all = 0;
  for (size_t r = 0; r < 2; ++r) {
    double sum = 0;
    for (const auto& [id, label] : kPairs[r]) sum += surprise(table, id, label);
    all += sum;
    const Row& row = result.rows.at("valid")[r];
    EXPECT_EQ(row.id, r == 0 ? 7 : 9);
    EXPECT_EQ(row.weight, static_cast<double>(kPairs[r].size()));
    EXPECT_NEAR(row.value, sum / row.weight, 1e-14);
  }
  EXPECT_NEAR(result.values.at("valid/loss"), all / 5, 1e-14);
  EXPECT_NEAR(result.values.at("valid/perplexity"), std::exp(all / 5), 1e-13);
  EXPECT_EQ(result.counters[Unit::tokens], 8);
}

/// The model is frozen and its logits are scaled by a learnt number.
TEST(NextToken, CountsAForwardAndTheGradientOfActivationsThroughAFrozenNet) {
  EXPECT_EQ(fit(bigrams()).counters[Unit::flops], 3 * 8);
  class Scaled : public NextToken {
   public:
    Scaled() : NextToken(NextTokenOptions{}) {}
    Terms loss(Step& step, const Batch& batch, Ctx& ctx) override {
      Terms terms = NextToken::loss(step, batch, ctx);
      terms[0].item = terms[0].item * step.net<Mlp>("scale").forward(torch::ones({1, 1}, torch::kFloat64)).squeeze();
      return terms;
    }
  };
  TrainStage stage = bigrams();
  stage.nets[0].role = "frozen";
  stage.nets.push_back(mlp("scale", {1, 1}));
  stage.learners = {learner("model", {"scale"}, "sgd", 0.5)};
  stage.passes[0].objective = std::make_shared<Scaled>();
  EXPECT_EQ(fit(stage).counters[Unit::flops], 2 * 8 + 3 * 2 * 2) << "the scale's one product for each of 2 rows";
}

}  // namespace
}  // namespace etude::next_token_test
