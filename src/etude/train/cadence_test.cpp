// Any counter is a stop rule and a cadence; what is on disk about it.

#include <gtest/gtest.h>

#include <fstream>

#include "etude/train/testing.h"
#include "tests/support/resume.h"

namespace etude::cadence_test {
namespace {

using namespace etude::test;

/// Rows of five tokens.
class Tokens : public Samples {
 public:
  using Samples::Samples;
  Batch next(Step& step, int64_t rows) override {
    Batch batch = Samples::next(step, rows);
    batch.x["ids_BT"] = torch::zeros({batch.size(), 5}, torch::kInt64);
    step.count(Unit::env_steps, 7);
    return batch;
  }
};

/// A message of ten bytes a step.
class Sends : public Technique {
 public:
  Contract contract() const override { return {.name = "sends", .acts = {Event::sync}}; }
  void on(Event, Step& step) override {
    step.count(Unit::bytes, 10);
    step.count(Unit::messages, 1);
  }
};

TrainStage counting() {
  TrainStage stage = regression();
  stage.sources = {{"train", std::make_shared<Tokens>(3, 4, 8)}};
  stage.with = {std::make_shared<Sends>()};
  stage.evaluations = {{.objective = std::make_shared<Regression>(), .batch = [](int64_t) {
                          return samples({1, 2}, 3);
                        }}};
  return stage;
}

TEST(Cadence, AnyCounterStopsEvaluatesLogsAndSaves) {
  // What a step adds to each counter, by hand: 4 samples of 8, 5 tokens each, 3 forwards of 24 multiply-adds.
  const std::map<Unit, double> per_step = {
      {Unit::steps, 1},  {Unit::samples, 4},  {Unit::tokens, 20},  {Unit::epochs, 0.5}, {Unit::flops, 3 * 2 * 24 * 4},
      {Unit::bytes, 10}, {Unit::messages, 1}, {Unit::env_steps, 7}};
  for (const auto& [unit, amount] : per_step) {
    const TestFolder folder;
    TrainStage stage = counting();
    stage.stop = Count{8 * amount, unit};
    stage.evaluate = Count{3 * amount, unit};
    stage.log = Count{4 * amount, unit};
    stage.checkpoint = {Count{2.5 * amount, unit}, 10, {}};
    std::vector<int64_t> evaluated, logged;
    const Fit result = fit(stage, {.directory = folder.at("run"), .metric = [&](const MetricLine& line) {
                                     (line.kind == "eval" ? evaluated : logged).push_back(line.counters.step());
                                   }});
    const std::string name(unit_name(unit));
    EXPECT_EQ(result.counters.step(), 8) << name;
    EXPECT_EQ(result.counters[unit], 8 * amount) << name;
    EXPECT_EQ(evaluated, (std::vector<int64_t>{3, 6, 8})) << name;
    EXPECT_EQ(logged, (std::vector<int64_t>{4, 8})) << name;
    EXPECT_EQ(Checkpoints(folder.at("run")).steps(), (std::vector<int64_t>{3, 5, 8})) << name;
  }
}

TEST(Cadence, SecondsStopToo) {
  TrainStage stage = counting();
  stage.stop = Count{0.02, Unit::seconds};
  const Fit result = fit(stage);
  EXPECT_TRUE(result.finished);
  EXPECT_GE(result.counters[Unit::seconds], 0.02);
  EXPECT_GE(result.counters.step(), 1);
}

TEST(Cadence, PercentagesAreOfTheStopRuleAndZeroIsNeverButAtTheEnd) {
  TrainStage stage = counting();
  stage.evaluate = Count::parse("50%");
  stage.log = Count{0, Unit::steps};
  std::vector<int64_t> evaluated, logged;
  fit(stage, {.metric = [&](const MetricLine& line) {
        (line.kind == "eval" ? evaluated : logged).push_back(line.counters.step());
      }});
  EXPECT_EQ(evaluated, (std::vector<int64_t>{4, 8}));
  EXPECT_EQ(logged, (std::vector<int64_t>{8}));
}

TEST(Cadence, SchedulesGoOnAtAResume) {
  const TestFolder folder;
  const auto make = [] {
    TrainStage stage = counting();
    stage.learners[0].optimizer.config.set("lr", Config("warmup(2, cosine(0.1 -> 0))"));
    return stage;
  };
  std::vector<double> rates;
  Surroundings around{.directory = folder.at("run"), .metric = [&](const MetricLine& line) {
                        if (line.kind == "train") rates.push_back(line.values.at("lr/model"));
                      }};
  int done = 0;
  around.interrupted = [&] { return ++done == 3; };
  EXPECT_FALSE(fit(make(), around).finished);
  around.interrupted = nullptr;
  EXPECT_TRUE(fit(make(), around).finished);
  // A line is written behind its step and says the rate of the next: k steps done, of which 2 warmed up, of 8.
  ASSERT_EQ(rates.size(), 8U);
  for (size_t i = 0; i < 8; ++i) {
    const double k = static_cast<double>(i + 1);
    const double expected = k < 2 ? 0.1 * (k + 1) / 2 : 0.1 * (1 + std::cos(M_PI * (k - 2) / 6)) / 2;
    EXPECT_NEAR(rates[i], expected, 1e-12) << "after step " << k;
  }
}

TEST(MetricLines, AreJsonWhateverTheValues) {
  MetricLine line{"train", "train", {}, {}};
  line.counters[Unit::steps] = 3;
  line.values = {{"nan", std::nan("")}, {"inf", HUGE_VAL}, {"third", 1.0 / 3}, {"bad \xff \"name\"\n", 1}};
  const std::string text = line.json();
  EXPECT_EQ(text.find('\n'), std::string::npos);
  const auto read = nlohmann::json::parse(text);
  EXPECT_TRUE(read.at("values").at("nan").is_null());
  EXPECT_TRUE(read.at("values").at("inf").is_null());
  EXPECT_EQ(read.at("values").at("third").get<double>(), 1.0 / 3);
  EXPECT_EQ(read.at("step"), 3);
  for (int u = 1; u < kUnits; ++u) EXPECT_TRUE(read.contains(unit_name(static_cast<Unit>(u)))) << u;
}

TEST(MetricLines, OfARunAreOneObjectALine) {
  class Logs : public Regression {
   public:
    void on(Event event, Step& step) override {
      if (event == Event::step_end) step.log("odd", step.number() == 1 ? std::nan("") : HUGE_VAL);
    }
  };
  const TestFolder folder;
  TrainStage stage = counting();
  stage.passes[0].objective = std::make_shared<Logs>();
  fit(stage, {.directory = folder.at("run")});
  std::ifstream in(folder.at("run") + "/metrics.jsonl");
  int lines = 0;
  for (std::string text; std::getline(in, text); ++lines) EXPECT_TRUE(nlohmann::json::accept(text)) << text;
  EXPECT_EQ(lines, 8 + 1);
}

}  // namespace
}  // namespace etude::cadence_test
