#include "etude/train/loop.h"

#include <gtest/gtest.h>

#include "etude/train/data_parallel.h"
#include "etude/train/testing.h"
#include "tests/support/resume.h"

namespace etude::loop_test {
namespace {

using namespace etude::test;

const std::set<Event> kAllEvents = {
    Event::begin,  Event::batch,    Event::follow_before, Event::unscale, Event::privatise,
    Event::sync,   Event::project,  Event::clip,          Event::guard,   Event::project_parameters,
    Event::follow, Event::quantise, Event::step_end,      Event::end};

/// Calls a function at each event.
class At : public Technique {
 public:
  explicit At(std::function<void(Event, Step&)> call, std::set<Event> acts = kAllEvents)
      : call_(std::move(call)), acts_(std::move(acts)) {}
  Contract contract() const override { return {.name = "at", .acts = acts_}; }
  void on(Event event, Step& step) override { call_(event, step); }

 private:
  std::function<void(Event, Step&)> call_;
  std::set<Event> acts_;
};

using Book = std::vector<std::string>;

class RecordedObjective : public Regression {
 public:
  explicit RecordedObjective(Book& book) : book_(book) {}
  void on(Event event, Step& step) override {
    book_.push_back("objective " + std::string(event_name(event)) + " " + std::to_string(step.replica()));
  }
  Terms loss(Step& step, const Batch& batch, Ctx& ctx) override {
    if (ctx.train) book_.push_back("loss " + std::to_string(step.replica()));
    return Regression::loss(step, batch, ctx);
  }

 private:
  Book& book_;
};

class RecordedTechnique : public Technique {
 public:
  explicit RecordedTechnique(Book& book) : book_(book) {}
  Contract contract() const override {
    return {.name = "recorded", .owns = {Slot::optimizer}, .acts = {Event::batch, Event::clip, Event::follow}};
  }
  void on(Event event, Step& step) override { write(std::string(event_name(event)), step); }
  void update(Step& step) override { write("update", step); }
  int rounds(Step&) override { return 2; }
  void post(Peers&, Step& step, int round) override { write("post" + std::to_string(round), step); }
  void collect(Peers&, Step& step, int round) override { write("collect" + std::to_string(round), step); }
  void evaluate(Evaluation&) override { book_.push_back("evaluate"); }

 private:
  void write(const std::string& what, const Step& step) {
    book_.push_back(what + " " + std::to_string(step.replica()));
  }
  Book& book_;
};

TEST(Loop, EventsComeInTheOrderOfThePicture) {
  Book book;
  const auto objective = std::make_shared<RecordedObjective>(book);
  TrainStage stage = regression(objective);
  stage.with = {std::make_shared<RecordedTechnique>(book)};
  stage.passes.push_back({.name = "again", .objective = objective, .every = 2});  // not due in step 2
  stage.replicas = 2;
  stage.stop = Count{2, Unit::steps};
  fit(stage);
  Book expected = {"objective begin 0", "objective begin 1"};
  const auto each = [&](const std::vector<std::string>& events) {
    for (const char* r : {" 0", " 1"})
      for (const std::string& what : events) expected.push_back(what + r);
  };
  for (const int passes : {2, 1}) {
    for (int i = 0; i < passes; ++i) {
      each({"objective batch", "batch", "objective follow_before"});
      each({"loss"});
      each({"objective unscale", "objective privatise", "objective sync", "objective project", "objective clip", "clip",
            "objective guard", "update", "objective project_parameters", "objective follow", "follow",
            "objective quantise"});
    }
    each({"objective step_end"});
    for (const char* what :
         {"post0 0", "post0 1", "collect0 0", "collect0 1", "post1 0", "post1 1", "collect1 0", "collect1 1"})
      expected.push_back(what);
  }
  for (const char* what : {"evaluate", "objective end 0", "objective end 1"}) expected.push_back(what);
  EXPECT_EQ(book, expected);
}

TEST(Loop, OnlyBatchesAndGradientsAreRecordedForAutograd) {
  std::map<Event, bool> recording;
  TrainStage stage = regression();
  stage.with = {std::make_shared<At>([&](Event event, Step&) { recording[event] = torch::GradMode::is_enabled(); })};
  stage.stop = Count{1, Unit::steps};
  fit(stage);
  ASSERT_EQ(recording.size(), kAllEvents.size());
  for (const auto& [event, on] : recording)
    EXPECT_EQ(on, event == Event::batch || (event >= Event::unscale && event <= Event::guard)) << event_name(event);
}

/// The weights after eight steps.
std::map<std::string, Tensor> trained(const TrainStage& stage) {
  const Fit result = fit(stage);
  return {result.artifact.tensors.begin(), result.artifact.tensors.end()};
}

void expect_close(const std::map<std::string, Tensor>& a, const std::map<std::string, Tensor>& b,
                  const std::string& what) {
  for (const auto& [name, value] : a)
    EXPECT_LT((value - b.at(name)).abs().max().item<double>(), 1e-13) << what << ": " << name;
}

/// Weighs samples by whether their id is a multiple of three: micro-batches count differently.
class Counted : public Regression {
 public:
  Norms norms(const Batch& batch) const override {
    return {{"counted", batch.id_B.remainder(3).eq(0).sum().item<double>()}};
  }
  Terms loss(Step& step, const Batch& batch, Ctx&) override {
    const Tensor error = step.net<Mlp>("model").forward(batch.at("x")) - batch.at("y");
    const Tensor weight = batch.id_B.remainder(3).eq(0).to(torch::kFloat64);
    return {{"counted", error.pow(2).sum(1), weight, step.norm("counted"), 1.0}};
  }
};

/// A layer's own term: its mean output, as a router's balance would be.
class WithLayerTerm : public Regression {
 public:
  Terms loss(Step& step, const Batch& batch, Ctx& ctx) override {
    ctx.aux->push_back({"balance", step.net<Mlp>("model").forward(batch.at("x")).mean(), {}, 1.0, 0.3});
    return Regression::loss(step, batch, ctx);
  }
};

TEST(Loop, AnyNumberOfMicroBatchesGivesTheSameWeights) {
  const auto of = [](std::shared_ptr<Objective> objective, int accumulate) {
    TrainStage stage = regression(std::move(objective), 8);
    stage.accumulate = accumulate;
    return trained(stage);
  };
  const std::shared_ptr<Objective> plain = std::make_shared<Regression>(), counted = std::make_shared<Counted>(),
                                   layered = std::make_shared<WithLayerTerm>();
  for (const auto& objective : {plain, counted, layered})
    for (int accumulate : {2, 3, 4, 8, 100})
      expect_close(of(objective, 1), of(objective, accumulate), "accumulate " + std::to_string(accumulate));
  EXPECT_GT(
      (of(plain, 1).at("model/layer0.weight") - of(counted, 1).at("model/layer0.weight")).abs().max().item<double>(),
      1e-4);
  EXPECT_GT(
      (of(plain, 1).at("model/layer0.weight") - of(layered, 1).at("model/layer0.weight")).abs().max().item<double>(),
      1e-4);
}

/// y = w x + b on one sample: all gradients by hand.
TEST(Loop, ClipsToTheLimitByHand) {
  class Point : public Source {
   public:
    Kind kind() const override { return Kind::pure; }
    Batch next(Step&, int64_t) override {
      Batch batch;
      batch.id_B = torch::zeros({1}, torch::kInt64);
      batch.x["x"] = torch::full({1, 1}, 3.0, torch::kFloat64);
      batch.x["y"] = torch::full({1, 1}, -5.0, torch::kFloat64);
      return batch;
    }
  };
  for (const double limit : {0.0, 0.5, 1e6}) {
    TrainStage stage = regression();
    stage.nets = {mlp("model", {1, 1})};
    stage.sources = {{"train", std::make_shared<Point>()}};
    stage.learners = {learner("model", {"model"}, "sgd", 0.1)};
    stage.learners[0].clip = limit;
    stage.stop = Count{1, Unit::steps};
    const auto start = initial_mlp("model", {1, 1}, stage.seed);
    const double w = start->named_parameters()["layer0.weight"].item<double>();
    const double b = start->named_parameters()["layer0.bias"].item<double>();
    const double error = w * 3 + b + 5, dw = 2 * error * 3, db = 2 * error, norm = std::hypot(dw, db);
    const double scale = limit > 0 && norm > limit ? limit / norm : 1.0;
    const Fit result = fit(stage);
    const std::map<std::string, Tensor> now(result.artifact.tensors.begin(), result.artifact.tensors.end());
    EXPECT_NEAR(now.at("model/layer0.weight").item<double>(), w - 0.1 * scale * dw, 1e-12) << limit;
    EXPECT_NEAR(now.at("model/layer0.bias").item<double>(), b - 0.1 * scale * db, 1e-12) << limit;
    EXPECT_NEAR(result.values.at("train/grad_norm"), norm, 1e-12) << limit;
    EXPECT_NEAR(result.values.at("train/loss"), error * error, 1e-12) << limit;
  }
}

/// A regression that says that on() does nothing, so that its gradients may be clipped as the update reads them.
class Quiet : public Regression {
 public:
  std::set<Event> acts() const override { return {}; }
};

TEST(Loop, ClippingWithinTheUpdateIsClippingBeforeIt) {
  for (const char* kind : {"sgd", "adam", "adamw"}) {
    const auto with = [&](std::shared_ptr<Objective> objective, std::set<Event> acts) {
      double before = 0, after = 0;  // norms of the last step's gradients at `clip` and when it ends
      TrainStage stage = regression(std::move(objective));
      stage.learners = {learner("model", {"model"}, kind, 0.05)};
      stage.learners[0].clip = 0.1;
      acts.insert({Event::clip, Event::step_end});
      stage.with = {std::make_shared<At>(
          [&](Event event, Step& step) {
            std::vector<Tensor> gradients;
            for (const Parameter& p : step.all_parameters()) gradients.push_back(p.value.grad());
            if (event == Event::clip) before = global_norm(gradients);
            EXPECT_TRUE(event != Event::guard || global_norm(gradients) < 0.1 + 1e-12) << "clipped at guard";
            if (event == Event::step_end) after = global_norm(gradients);
          },
          acts)};
      const auto weights = trained(stage);
      EXPECT_GT(before, 0.1) << "there is something to clip";
      return std::pair(weights, after == before);
    };
    const auto [folded, untouched] = with(std::make_shared<Quiet>(), {});
    EXPECT_TRUE(untouched) << "no pass over gradients of its own";
    for (const auto& [weights, left] :
         {with(std::make_shared<Quiet>(), {Event::guard}), with(std::make_shared<Regression>(), {})}) {
      EXPECT_FALSE(left) << "who may look at guard sees them clipped";
      for (const auto& [name, value] : weights)
        EXPECT_TRUE(torch::equal(value, folded.at(name))) << kind << ' ' << name;
    }
  }
}

TEST(Loop, BackwardReachesThePassesLearnersOnly) {
  TrainStage stage = regression();
  stage.learners = {learner("first", {"model.layer0"}), learner("second", {"model.layer1"})};
  stage.passes[0].learners = {"second"};
  std::map<std::string, bool> has_gradient;
  stage.with = {std::make_shared<At>(
      [&](Event, Step& step) {
        for (const Parameter& p : step.all_parameters()) has_gradient[p.name] = p.value.grad().defined();
      },
      std::set<Event>{Event::guard})};
  const auto now = trained(stage);
  EXPECT_EQ(has_gradient, (std::map<std::string, bool>{{"model.layer0.weight", false},
                                                       {"model.layer0.bias", false},
                                                       {"model.layer1.weight", true},
                                                       {"model.layer1.bias", true}}));
  const auto start = initial_mlp("model", {3, 6, 1}, stage.seed)->named_parameters();
  EXPECT_TRUE(torch::equal(now.at("model/layer0.weight"), start["layer0.weight"]));
  EXPECT_FALSE(torch::equal(now.at("model/layer1.weight"), start["layer1.weight"]));
}

TEST(Loop, TwoNetsOfOneShapeAreNoTwins) {
  EXPECT_FALSE(
      torch::equal(initial_mlp("a", {3, 6, 1}, 1)->parameters()[0], initial_mlp("b", {3, 6, 1}, 1)->parameters()[0]));
  EXPECT_TRUE(
      torch::equal(initial_mlp("a", {3, 6, 1}, 1)->parameters()[0], initial_mlp("a", {3, 6, 1}, 1)->parameters()[0]));
}

TEST(Loop, AnInputThatIsNotThereIsNamed) {
  class Wants : public Regression {
   public:
    Needs needs() const override { return {Coupling::item, {"x", "labels"}}; }
  };
  try {
    fit(regression(std::make_shared<Wants>()));
    FAIL() << "nothing was refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::config);
    EXPECT_NE(error.message().find("'labels'"), std::string::npos) << error.message();
    EXPECT_NE(error.where().find("source train"), std::string::npos) << error.where();
  }
  TrainStage helped = regression(std::make_shared<Wants>());
  helped.with = {std::make_shared<At>([](Event, Step& step) { step.batch.x["labels"] = step.batch.at("y"); },
                                      std::set<Event>{Event::batch})};
  EXPECT_TRUE(fit(helped).finished) << "what a technique adds at `batch` counts";
}

/// Divides by zero in step 2, in the loss or in its gradient only.
class Breaks : public Regression {
 public:
  explicit Breaks(bool in_gradient) : in_gradient_(in_gradient) {}
  Terms loss(Step& step, const Batch& batch, Ctx& ctx) override {
    Terms terms = Regression::loss(step, batch, ctx);
    if (step.number() == 2) terms[0].item = in_gradient_ ? (terms[0].item * 0).sqrt() : terms[0].item / 0.0;
    return terms;
  }

 private:
  bool in_gradient_;
};

TEST(Loop, WhatIsNotFiniteStopsBeforeTheUpdateAndIsNamed) {
  for (const bool in_gradient : {false, true}) {
    const TestFolder folder;
    TrainStage stage = regression(std::make_shared<Breaks>(in_gradient));
    stage.checkpoint.every = Count{1, Unit::steps};
    try {
      fit(stage, {.directory = folder.at("run")});
      FAIL() << "a value that is not finite must stop the run";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::numeric);
      EXPECT_NE(error.message().find("step 3, replica 0"), std::string::npos) << error.message();
      EXPECT_NE(error.where().find(in_gradient ? "model.layer0.weight" : "term squared"), std::string::npos)
          << error.where();
    }
    EXPECT_EQ(Checkpoints(folder.at("run")).load_latest()->step, 2);
  }
}

TEST(Loop, ASkippedStepMovesNoLearnerOfThePass) {
  for (const bool in_gradient : {false, true}) {
    TrainStage stage = regression(std::make_shared<Breaks>(in_gradient));
    stage.learners = {learner("first", {"model.layer0"}), learner("second", {"model.layer1"})};
    for (LearnerSpec& l : stage.learners) l.on_nonfinite = "skip_step";
    stage.passes[0].learners = {"first", "second"};
    std::vector<std::pair<bool, Tensor>> seen;  // whether skipped, and all weights after each step
    stage.with = {std::make_shared<At>(
        [&](Event event, Step& step) {
          std::vector<Tensor> all;
          for (const Parameter& p : step.parameters()) {
            all.push_back(p.value.detach().reshape({-1}).clone());
            const bool skipped = event == Event::unscale && step.skip_update;
            EXPECT_TRUE(!skipped || p.value.grad().eq(0).all().item<bool>());
          }
          if (event == Event::follow) seen.emplace_back(step.skip_update, torch::cat(all));
        },
        std::set<Event>{Event::unscale, Event::follow})};
    const Fit result = fit(stage);
    ASSERT_EQ(seen.size(), 8U);
    for (size_t i = 1; i < seen.size(); ++i) {
      EXPECT_EQ(seen[i].first, i == 2);
      EXPECT_EQ(torch::equal(seen[i].second, seen[i - 1].second), i == 2) << "step " << i + 1;
      EXPECT_TRUE(torch::isfinite(seen[i].second).all().item<bool>());
    }
    EXPECT_EQ(result.values.at("train/skipped"), 0);
    EXPECT_TRUE(result.values.count("train/grad_norm/first") && result.values.count("train/grad_norm/second"));
  }
}

TEST(Loop, OneLearnerThatStopsDecidesForThePass) {
  TrainStage stage = regression(std::make_shared<Breaks>(false));
  stage.learners = {learner("first", {"model.layer0"}), learner("second", {"model.layer1"})};
  stage.learners[0].on_nonfinite = "skip_step";
  stage.passes[0].learners = {"first", "second"};
  EXPECT_THROW(fit(stage), Error);
}

TEST(Loop, AnExceptionInAHookLeavesTheLastCheckpointIntact) {
  const TestFolder folder;
  const auto make = [](bool breaks) {
    TrainStage stage = regression();
    stage.checkpoint.every = Count{2, Unit::steps};
    stage.with = {std::make_shared<At>(
        [breaks](Event, Step& step) {
          step.store().number("calls") += 1;
          if (breaks && step.number() == 4) throw std::runtime_error("a hook gave up");
        },
        std::set<Event>{Event::follow})};
    return stage;
  };
  const auto whole = fit(make(false), {.directory = folder.at("whole")});
  EXPECT_THROW(fit(make(true), {.directory = folder.at("broken")}), std::runtime_error);
  EXPECT_EQ(Checkpoints(folder.at("broken")).load_latest()->step, 4);
  const auto rest = fit(make(false), {.directory = folder.at("broken")});
  EXPECT_EQ(difference(print(whole, folder.at("whole")), print(rest, folder.at("broken"))), Problems{});
}

/// Keeps its count where no checkpoint sees it: the check of every probe must notice.
TEST(Loop, AnObjectiveThatForgetsIsFoundOut) {
  class Forgetful : public Regression {
   public:
    Terms loss(Step& step, const Batch& batch, Ctx& ctx) override {
      Terms terms = Regression::loss(step, batch, ctx);
      terms[0].scale = 1.0 / ++calls_;
      return terms;
    }

   private:
    int calls_ = 0;
  };
  const TestFolder folder;
  EXPECT_FALSE(wherever_stopped([] { return regression(std::make_shared<Forgetful>()); }, folder).empty());
}

TEST(Loop, CountsThreeForwardsOfTrainedNetsAndWhatObjectivesAdd) {
  const double forward = 2 * (3 * 6 + 6 * 1) * 4;
  EXPECT_EQ(fit(regression()).counters[Unit::flops], 8 * 3 * forward);
  class Distil : public Regression {
   public:
    double flops(Step& step, const Batch& batch) const override {
      return Regression::flops(step, batch) + step.net("teacher").flops(batch);
    }
  };
  TrainStage stage = regression(std::make_shared<Distil>());
  stage.nets.push_back(mlp("teacher", {3, 6, 1}, "frozen"));
  EXPECT_EQ(fit(stage).counters[Unit::flops], 8 * (3 + 1) * forward);
}

TEST(Loop, DataParallelCountsARingOfAllGradients) {
  TrainStage stage = regression();
  DataParallelOptions options;
  options.ranks = 5;
  stage.with = {std::make_shared<DataParallel>(options)};
  const Counters counters = fit(stage).counters;
  const double bytes = 8.0 * (3 * 6 + 6 + 6 * 1 + 1);  // of one rank's gradients, in double
  // Each of 5 ranks sends 2 * 4 chunks of a fifth, in every one of 8 steps.
  EXPECT_EQ(counters[Unit::bytes], 8 * 5 * 2 * 4 * bytes / 5);
  EXPECT_EQ(counters[Unit::messages], 8 * 5 * 2 * 4);
  EXPECT_EQ(counters[Unit::rounds], 8 * 2 * 4);
}

TEST(Loop, MilestonesInAnyUnitAreKeptAndPublished) {
  const TestFolder folder;
  TrainStage stage = regression();
  stage.checkpoint = {Count{1, Unit::steps}, 1, {Count::parse("0"), Count::parse("25%"), Count::parse("15 samples")}};
  std::vector<std::string> places;
  fit(stage, {.directory = folder.at("run"),
              .milestone = [&](const std::string& place, const Artifact&) { places.push_back(place); }});
  EXPECT_EQ(places, (std::vector<std::string>{"0 steps", "25%", "15 samples"}));
  EXPECT_EQ(Checkpoints(folder.at("run")).steps(), (std::vector<int64_t>{0, 2, 4, 8}));
}

TEST(Loop, AStopRuleThatNothingCountsIsFoundOut) {
  TrainStage stage = regression();
  stage.log = Count{0, Unit::steps};
  stage.stop = Count{5, Unit::env_steps};
  try {
    fit(stage);
    FAIL() << "it would never end";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::config);
    EXPECT_NE(error.message().find("env_steps"), std::string::npos);
  }
}

TEST(Loop, DropoutDependsOnTheSampleAndNotOnReplicasOrMicroBatches) {
  class Masked : public Regression {
   public:
    explicit Masked(std::map<int64_t, Tensor>& masks) : masks_(masks) {}
    Terms loss(Step& step, const Batch& batch, Ctx& ctx) override {
      if (step.number() == 0) {
        const Tensor mask = dropout(torch::ones({batch.size(), 20}, torch::kFloat64), 0.5, ctx, "site");
        for (int64_t b = 0; b < batch.size(); ++b) masks_[batch.id_B[b].item<int64_t>()] = mask[b].clone();
      }
      return Regression::loss(step, batch, ctx);
    }

   private:
    std::map<int64_t, Tensor>& masks_;
  };
  const auto masks_of = [](int64_t batch, int accumulate, int replicas) {
    std::map<int64_t, Tensor> masks;
    TrainStage stage = regression(std::make_shared<Masked>(masks), batch);
    stage.accumulate = accumulate;
    stage.replicas = replicas;
    stage.stop = Count{1, Unit::steps};
    fit(stage);
    return masks;
  };
  const auto whole = masks_of(8, 1, 1);
  ASSERT_EQ(whole.size(), 8U);
  EXPECT_FALSE(torch::equal(whole.at(0), whole.at(1)));
  for (const auto& other : {masks_of(8, 4, 1), masks_of(2, 1, 4)})
    for (const auto& [id, mask] : whole) EXPECT_TRUE(torch::equal(mask, other.at(id))) << id;
}

}  // namespace
}  // namespace etude::loop_test
