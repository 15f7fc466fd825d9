// B batch, T time, K places of a row, V vocabulary.

#include "etude/train/masked_token.h"

#include <gtest/gtest.h>

#include <cmath>

#include "etude/base/file.h"
#include "etude/base/testing.h"
#include "etude/nn/encoder.h"
#include "etude/train/run.h"
#include "etude/train/testing.h"

namespace etude::masked_token_test {
namespace {

using namespace etude::test;

EncoderOptions small_encoder() {
  EncoderOptions o;
  o.vocab = 20, o.dim = 8, o.layers = 1, o.length = 12;
  return o;
}

/// Four rows of twelve tokens 0 .. 18, of which the last rows have some padding.
Batch token_rows() {
  Batch batch;
  batch.id_B = torch::tensor({3, 8, 21, 4}, torch::kInt64);
  batch.x["ids_BT"] = (at::arange(48) * 5).remainder(19).view({4, 12});
  batch.x["length_B"] = torch::tensor({12, 12, 9, 2}, torch::kInt64);
  return batch;
}

class TokenRows : public Source {
 public:
  Kind kind() const override { return Kind::pure; }
  Batch next(Step&, int64_t) override { return token_rows(); }
};

TrainStage masked_stage(const MaskedTokenOptions& options = {}) {
  TrainStage stage;
  stage.seed = 6;
  stage.nets = {{"model", [] { return std::make_shared<Encoder>(small_encoder()); }}};
  stage.learners = {learner("model", {"model"}, "sgd", 0.5)};
  stage.sources = {{"train", std::make_shared<TokenRows>()}};
  stage.passes = {{.objective = std::make_shared<MaskedToken>(options)}};
  stage.evaluations = {
      {.objective = stage.passes[0].objective, .batch = [](int64_t) { return token_rows(); }, .rows = true}};
  stage.stop = Count{1, Unit::steps};
  return stage;
}

/// The mean over predicted tokens, from all logits.
double mean_surprise(Encoder& net, const std::function<Rng(int64_t)>& stream) {
  const torch::NoGradGuard no_grad;
  const Batch batch = token_rows();
  Masking masking;
  masking.mask_id = 19;
  masking.ordinary_O = at::arange(19);
  const MaskedRows gaps = mask_rows(batch.at("ids_BT"), batch.at("length_B"), batch.id_B, masking, stream);
  Ctx ctx;
  const EncoderRows rows{.ids_BT = gaps.ids_BT, .length_B = batch.at("length_B")};
  const Tensor log_BTV = at::log_softmax(net.logits(rows, ctx), -1);
  double sum = 0, count = 0;
  for (int64_t b = 0; b < 4; ++b)
    for (int64_t k = 0; k < gaps.place_BK.size(1); ++k) {
      const int64_t label = gaps.labels_BK[b][k].item<int64_t>();
      if (label < 0) continue;
      sum -= log_BTV[b][gaps.place_BK[b][k].item<int64_t>()][label].item<double>();
      ++count;
    }
  EXPECT_EQ(count, 2 + 2 + 1 + 1);
  return sum / count;
}

Encoder encoder_at_start() {
  Encoder net(small_encoder());
  net.initialise(initial_seed(6, "model"));
  return net;
}

TEST(MaskedToken, IsTheMeanOverPredictedTokens) {
  TrainStage stage = masked_stage();
  stage.learners[0].optimizer.config.set("lr", Config(0.0));
  const Fit result = fit(stage);
  Encoder net = encoder_at_start();
  const auto training = [](int64_t sample) { return Rng(Key{6, Purpose::mask, 0, sample}).fork("masked_token"); };
  EXPECT_NEAR(result.values.at("train/loss"), mean_surprise(net, training), 1e-5);
  const auto judging = [](int64_t sample) {
    return Rng(Key{0, Purpose::mask, 0, sample}).fork("masked_token, evaluation");
  };
  const double loss = mean_surprise(net, judging);
  EXPECT_NEAR(result.values.at("valid/loss"), loss, 1e-5);
  EXPECT_NEAR(result.values.at("valid/masked_perplexity"), std::exp(loss), 1e-3);
  double mean = 0, weight = 0;
  for (const Row& row : result.rows.at("valid")) {
    mean += row.value * row.weight;
    weight += row.weight;
  }
  EXPECT_EQ(weight, 6);
  EXPECT_NEAR(mean / weight, loss, 1e-5);
}

TEST(MaskedToken, OtherStepsHideOtherTokensAndEvaluationTheSame) {
  TrainStage stage = masked_stage();
  stage.learners[0].optimizer.config.set("lr", Config(0.0));
  stage.stop = Count{3, Unit::steps};
  stage.evaluate = Count{1, Unit::steps};
  std::vector<double> training, judging;
  Surroundings around;
  around.metric = [&](const MetricLine& line) {
    (line.kind == "train" ? training : judging)
        .push_back(line.values.at(line.kind == "train" ? "train/loss" : "valid/loss"));
  };
  fit(stage, around);
  ASSERT_EQ(training.size(), 3U);
  EXPECT_NE(training[0], training[1]);
  EXPECT_NE(training[1], training[2]);
  ASSERT_EQ(judging.size(), 3U);
  EXPECT_EQ(judging[0], judging[1]);
  EXPECT_EQ(judging[0], judging[2]);
}

TEST(MaskedToken, CutsBetweenRowsOfUnequalCountsChangeNothing) {
  const Fit whole = fit(masked_stage());
  for (const int parts : {2, 3, 4}) {
    TrainStage stage = masked_stage();
    stage.accumulate = parts;
    const Fit cut = fit(stage);
    EXPECT_NEAR(cut.values.at("train/loss"), whole.values.at("train/loss"), 1e-6);
    for (size_t i = 0; i < whole.artifact.tensors.size(); ++i)
      EXPECT_TRUE(at::allclose(cut.artifact.tensors[i].second, whole.artifact.tensors[i].second, 1e-5, 1e-6))
          << whole.artifact.tensors[i].first;
  }
}

TEST(MaskedToken, CountsTheHeadAtPredictedPlacesOnly) {
  const Encoder net(small_encoder());
  const Batch batch = token_rows();
  EXPECT_EQ(fit(masked_stage()).counters[Unit::flops], 3 * (net.flops(batch) + 4 * 2 * net.head_flops()));
  EXPECT_EQ(fit(masked_stage()).counters[Unit::tokens], 48);
}

TEST(MaskedToken, AMaskNeedsAnIdOfItsOwn) {
  const auto trained = [](MaskedTokenOptions options, std::shared_ptr<const Tokenizer> tokenizer) {
    return [=] {
      TrainStage stage = masked_stage(options);
      stage.tokenizer = tokenizer;
      stage.nets[0].make = [] {
        EncoderOptions o = small_encoder();
        o.vocab = 257;
        return std::make_shared<Encoder>(o);
      };
      fit(stage);
    };
  };
  expect_error(trained({}, byte_tokenizer()), Code::config, "no id is left for a mask", "masked_token, mask_id",
               "set vocab of the net to 258");
  expect_error(trained({.mask_id = 300}, nullptr), Code::config, "300 is outside the vocabulary of net 'model', 257",
               "masked_token, mask_id", "301");
  EXPECT_NO_THROW(trained({.mask_id = 0}, byte_tokenizer())());
  EXPECT_NO_THROW(trained({}, nullptr)());
  expect_error([] { MaskedToken made({.masked = 0.9, .random = 0.2}); }, Code::config, "more than all",
               "objective masked_token", "0.8");
  TrainStage other = masked_stage();
  other.nets = {mlp("model", {3, 1})};
  expect_error([&] { fit(other); }, Code::config, "is not of the kind that is needed here", "net.model");
}

/// A recipe as users write it, on lines of one letter each: what is masked stands beside.
class MaskedRuns : public testing::Test {
 protected:
  MaskedRuns() {
    register_frame(registry_);
    std::string text;
    for (int i = 0; i < 60; ++i) text += std::string(100, static_cast<char>('a' + i * 7 % 10)) + "\n";
    folder_.write("text.txt", text);
    settings_.out = folder_.at("runs");
  }
  Recipe recipe(const std::vector<std::string>& overrides = {}) const {
    const std::string text = R"(
stop = "100 steps"
data = { kind = "text", length = 32 }
net.model = { kind = "encoder", dim = 32, layers = 1, heads = 4, length = 32, init_std = 0.1 }
source = { batch = 16 }
evaluate = { batches = 4, batch = 4 }
checkpoint = { every = "2 steps" }
[[learner]]
optimizer = { kind = "adamw" }
[[pass]]
objective = { kind = "masked_token" }
)";
    std::vector<std::string> all{"data.path=" + to_toml_value(Config(folder_.at("text.txt"))),
                                 "learner.0.optimizer.lr=\"warmup(20, 0.005)\""};
    all.insert(all.end(), overrides.begin(), overrides.end());
    Recipe made = read_recipe(text, "mine.toml", {}, "", all, registry_);
    made.method = "own";
    made.arm = "masked";
    return made;
  }

  TestFolder folder_;
  Registry registry_;
  RunSettings settings_;
};

TEST_F(MaskedRuns, LearnToLookAtNeighbours) {
  const double before = run_recipe(recipe({"stop=1 steps"}), registry_, settings_).values.at("valid/loss");
  const auto after = run_recipe(recipe({"stop=150 steps", "checkpoint.every=0 steps"}), registry_, settings_).values;
  EXPECT_GT(before, 4.5) << "not far from ln 258";
  EXPECT_LT(after.at("valid/loss"), 0.5) << "who knows no neighbours is left with ln 10";
  EXPECT_NEAR(after.at("valid/masked_perplexity"), std::exp(after.at("valid/loss")), 1e-9);
}

TEST_F(MaskedRuns, GoOnBitForBit) {
  const Outcome whole = run_recipe(recipe({"stop=5 steps"}), registry_, settings_);
  const auto expected = trained_weights(whole.directory);
  file::remove_all(whole.directory);
  RunSettings stopped = settings_;
  stopped.interrupted = [done = 0]() mutable { return ++done == 3; };
  EXPECT_FALSE(run_recipe(recipe({"stop=5 steps"}), registry_, stopped).finished);
  const Outcome resumed = run_recipe(recipe({"stop=5 steps"}), registry_, settings_);
  EXPECT_TRUE(resumed.finished);
  const auto now = trained_weights(resumed.directory);
  ASSERT_EQ(now.size(), expected.size());
  for (size_t i = 0; i < now.size(); ++i) EXPECT_TRUE(at::equal(now[i].second, expected[i].second)) << now[i].first;
}

}  // namespace
}  // namespace etude::masked_token_test
