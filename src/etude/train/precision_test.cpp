#include "etude/train/precision.h"

#include "etude/base/torch_pch.h"

#include <gtest/gtest.h>

#include <cmath>

#include "etude/comm/testing.h"
#include "etude/tensor/processor.h"
#include "etude/train/recipe.h"
#include "etude/train/testing.h"
#include "tests/support/resume.h"

namespace etude::precision_test {
namespace {

using namespace etude::test;

const Registry& frame() {
  static const Registry registry = [] {
    Registry made;
    register_frame(made);
    return made;
  }();
  return registry;
}

Recipe decoder_recipe(const std::vector<std::string>& overrides) {
  return read_recipe(R"(
stop = "30 steps"
data = { kind = "text", length = 16 }
net.model = { kind = "decoder", vocab = 257, dim = 32, layers = 2, heads = 2, length = 16 }
source = { batch = 8 }
evaluate = { every = 0, batches = 2, batch = 8 }
[[learner]]
optimizer = { kind = "adamw", lr = 1e-2 }
clip = 1.0
[[pass]]
objective = { kind = "next_token" }
)",
                     "own.toml", {}, "", overrides, frame());
}

TrainStage decoder_stage(const std::vector<std::string>& overrides) {
  return make_stage(decoder_recipe(overrides), frame());
}

/// The last evaluation's loss.
double final_loss(const TrainStage& stage) {
  double loss = std::nan("");
  Surroundings around;
  around.metric = [&](const MetricLine& line) {
    if (const auto it = line.values.find("valid/loss"); it != line.values.end()) loss = it->second;
  };
  fit(stage, around);
  return loss;
}

/// Notes what the contexts of training and of evaluation say.
class AsksContext : public Regression {
 public:
  Terms loss(Step& step, const Batch& batch, Ctx& ctx) override {
    seen.emplace(ctx.train, ctx.format, ctx.recompute);
    return Regression::loss(step, batch, ctx);
  }
  std::set<std::tuple<bool, Format, bool>> seen;
};

TEST(Precision, IsInTheContextsOfTrainingAndEvaluation) {
  for (const bool bf16 : {false, true})
    for (const bool recompute : {false, true}) {
      const auto asks = std::make_shared<AsksContext>();
      TrainStage stage = regression(asks);
      stage.evaluations = {{.objective = asks, .batch = [](int64_t) { return samples({1, 2}, 3); }}};
      stage.recompute = recompute;
      if (bf16) stage.with = {std::make_shared<Bf16>(Bf16Options())};
      fit(stage);
      const Format format = bf16 ? Format::bfloat16 : Format::float32;
      EXPECT_EQ(asks->seen,
                (std::set<std::tuple<bool, Format, bool>>{{true, format, recompute}, {false, format, false}}))
          << "recomputation is for a backward";
    }
}

TEST(Precision, TheKeyAndTheTechniqueAreOne) {
  const Recipe key = decoder_recipe({"precision=bf16"}), technique = decoder_recipe({"with=[{kind = \"bf16\"}]"});
  EXPECT_EQ(key.hash(), technique.hash());
  EXPECT_EQ(to_toml(key.resolved), to_toml(technique.resolved));
  EXPECT_NE(key.hash(), decoder_recipe({}).hash());
  EXPECT_NE(decoder_recipe({"recompute=true"}).hash(), decoder_recipe({}).hash());
  for (const Recipe& recipe : {key, technique, read_recipe(to_toml(key.resolved), "again.toml", {}, "", {}, frame())}) {
    const TrainStage stage = make_stage(recipe, frame());
    ASSERT_EQ(stage.with.size(), 1U);
    EXPECT_EQ(stage.with[0]->format(), Format::bfloat16);
  }
  EXPECT_TRUE(decoder_stage({"precision=fp32"}).with.empty());
  const TrainStage both = decoder_stage({"precision=bf16", "with=[{kind = \"ema\"}, {kind = \"bf16\"}]"});
  ASSERT_EQ(both.with.size(), 2U) << "said twice is said once";
  EXPECT_EQ(both.with[0]->contract().name, "ema");
}

TEST(Precision, WhatIsNoPrecisionIsRefused) {
  expect_error([] { decoder_recipe({"precision=fp8"}); }, Code::config, "'bf16'", "command line", "precision");
  expect_error([] { decoder_recipe({"with=[{kind = \"bf16\", format = 1}]"}); }, Code::config, "format",
               "command line");
  expect_error([] { decoder_recipe({"recompute=2"}); }, Code::config, "recompute", "command line");
}

TEST(Precision, ThePlanNamesIt) {
  const std::string plain = describe(decoder_stage({})),
                    other = describe(decoder_stage({"precision=bf16", "recompute=true"}));
  EXPECT_EQ(plain.find("bf16"), std::string::npos) << plain;
  EXPECT_EQ(plain.find("recompute"), std::string::npos) << plain;
  for (const char* part : {"precision bf16", "recompute", "precision = bf16,"})
    EXPECT_NE(other.find(part), std::string::npos) << part << " in " << other;
}

TEST(Precision, WeightsGradientsAndMomentsStayFloat32) {
  class Types : public Technique {
   public:
    Contract contract() const override { return {.name = "types", .acts = {Event::guard}}; }
    void on(Event, Step& step) override {
      for (const Parameter& p : step.parameters()) {
        EXPECT_EQ(p.value.scalar_type(), torch::kFloat32) << p.name;
        EXPECT_EQ(p.value.grad().scalar_type(), torch::kFloat32) << p.name;
      }
      for (const auto& [name, value] : step.learners()[0]->optimizer->state())
        EXPECT_EQ(value.scalar_type(), torch::kFloat32) << name;
      ++steps;
    }
    int steps = 0;
  };
  for (const char* tied : {"net.model.tied=true", "net.model.tied=false"}) {
    TrainStage stage = decoder_stage({"precision=bf16", "stop=2 steps", tied});
    const auto types = std::make_shared<Types>();
    stage.with.push_back(types);
    fit(stage);
    EXPECT_EQ(types->steps, 2);
  }
}

TEST(Precision, TrainsAsFloat32Does) {
  const double wide = final_loss(decoder_stage({})), narrow = final_loss(decoder_stage({"precision=bf16"}));
  const double before = final_loss(decoder_stage({"stop=1 steps"}));
  EXPECT_LT(wide, before - 1);
  EXPECT_NEAR(narrow, wide, 2e-2);
  EXPECT_NE(narrow, wide) << "products were of bfloat16";
  EXPECT_EQ(final_loss(decoder_stage({"precision=bf16"})), narrow) << "same seed, same bits";
}

TEST(Precision, GoesAlongWithTheRest) {
  const double alone = final_loss(decoder_stage({"precision=bf16"}));
  for (const std::vector<std::string>& more : {std::vector<std::string>{"accumulate=3"},
                                               {"with=[{kind = \"ema\"}]"},
                                               {"with=[{kind = \"data_parallel\"}]"},
                                               {"recompute=true"},
                                               {"with=[{kind = \"data_parallel\", shard = \"optimizer\"}]"}}) {
    std::vector<std::string> all = {"precision=bf16"};
    all.insert(all.end(), more.begin(), more.end());
    EXPECT_NEAR(final_loss(decoder_stage(all)), alone, 2e-2) << more[0];
  }
  const double start = final_loss(decoder_stage({"precision=bf16", "stop=1 steps"}));
  EXPECT_LT(final_loss(decoder_stage({"precision=bf16", "replicas=2", "source.shards=2"})), start - 1);
  const std::string adapter = "net.model.adapter={rank = 4, targets = [\"q_proj\", \"down_proj\"]}";
  EXPECT_NEAR(final_loss(decoder_stage({"precision=bf16", adapter})), final_loss(decoder_stage({adapter})), 2e-2);
}

TEST(Precision, RanksTrainAsOneProcessDoes) {
  const std::vector<std::string> narrow = {"precision=bf16", "stop=10 steps"};
  const double alone = final_loss(decoder_stage(narrow));
  double together = std::nan("");
  on_ranks(2, [&](RankGroup& group) {
    Surroundings around;
    around.links = &group.links;
    if (group.index() == 0)
      around.metric = [&](const MetricLine& line) {
        if (const auto it = line.values.find("valid/loss"); it != line.values.end()) together = it->second;
      };
    fit(decoder_stage(narrow), around);
  });
  EXPECT_NEAR(together, alone, 1e-2);
}

TEST(Precision, AResumeGoesOnWithTheSameBits) {
  const TestFolder folder;
  const auto make = [] {
    return decoder_stage(
        {"precision=bf16", "recompute=true", "stop=5 steps", "net.model.dropout=0.1", "checkpoint.every=2 steps"});
  };
  for (const std::string& problem : wherever_stopped(make, folder)) ADD_FAILURE() << problem;
}

TEST(Precision, SaysWhatItCostsWhereTheProcessorHasNoInstructionsForIt) {
  const Isa before = isa();
  for (const Isa each : available_isas()) {
    force_isa(each);
    const auto cost = cost_of_bfloat16();
    EXPECT_EQ(cost.has_value(), each < Isa::avx512_bf16) << isa_name(each);
    if (!cost) continue;
    EXPECT_NE(cost->find(isa_name(each)), std::string::npos) << *cost;
    EXPECT_NE(cost->find("times as long"), std::string::npos) << *cost;
  }
  force_isa(before);
}

}  // namespace
}  // namespace etude::precision_test
