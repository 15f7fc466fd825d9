#include "etude/train/stream_source.h"

#include <gtest/gtest.h>

#include "etude/train/testing.h"
#include "tests/support/resume.h"

namespace etude::stream_source_test {
namespace {

using namespace etude::test;

class Numbers : public Dataset {
 public:
  explicit Numbers(int64_t size) : size_(size) {}
  DataCard card() const override { return {"numbers", "", "", "", 0, size_}; }
  int64_t size() const override { return size_; }
  Batch get(const std::vector<int64_t>& ids, const Rng&) const override { return samples(ids, 3); }

 private:
  int64_t size_;
};

using Seen = std::map<std::string, std::vector<int64_t>>;  ///< ids by pass, in the order of drawing

class Watches : public Regression {
 public:
  explicit Watches(Seen& seen) : seen_(seen) {}
  void on(Event event, Step& step) override {
    if (event != Event::batch) return;
    for (int64_t b = 0; b < step.batch.size(); ++b) seen_[step.pass()].push_back(step.batch.id_B[b].item<int64_t>());
  }

 private:
  Seen& seen_;
};

TrainStage streaming(Seen& seen, int replicas = 1) {
  TrainStage stage = regression(std::make_shared<Watches>(seen));
  SourceOptions options;
  options.batch = 3;
  stage.sources = {{"train", stream_source("train", std::make_shared<Numbers>(48), options, 1)}};
  stage.replicas = replicas;
  return stage;
}

std::vector<int64_t> sorted(std::vector<int64_t> ids) {
  std::sort(ids.begin(), ids.end());
  return ids;
}

std::vector<int64_t> all_of(int64_t records, int64_t times) {
  std::vector<int64_t> ids;
  for (int64_t id = 0; id < records; ++id) ids.insert(ids.end(), static_cast<size_t>(times), id);
  return ids;
}

TEST(StreamSource, EverySampleOnceAnEpochForAnyReplicasAndPasses) {
  for (const int replicas : {1, 2, 4}) {
    Seen seen;
    TrainStage stage = streaming(seen, replicas);
    stage.stop = Count{2, Unit::epochs};
    const Fit result = fit(stage);
    EXPECT_EQ(sorted(seen["train"]), all_of(48, 2)) << replicas;
    EXPECT_EQ(result.counters.step(), 2 * 48 / (3 * replicas));
  }
  Seen seen;
  TrainStage stage = streaming(seen);
  stage.passes.push_back({.name = "more", .objective = stage.passes[0].objective, .times = 3});
  stage.stop = Count{1, Unit::epochs};
  EXPECT_EQ(fit(stage).counters.step(), 4);
  std::vector<int64_t> both = seen["train"];
  both.insert(both.end(), seen["more"].begin(), seen["more"].end());
  EXPECT_EQ(sorted(both), all_of(48, 1));
}

TEST(StreamSource, TwoSourcesKeepTheirOwnPlaces) {
  const auto make = [](Seen& seen, int64_t other_batch) {
    TrainStage stage = streaming(seen);
    SourceOptions options;
    options.batch = other_batch;
    stage.sources.emplace_back("other", stream_source("other", std::make_shared<Numbers>(40), options, 2));
    stage.passes.push_back({.name = "other", .objective = stage.passes[0].objective, .source = "other"});
    return stage;
  };
  Seen alone, both;
  fit(streaming(alone));
  fit(make(both, 5));
  EXPECT_EQ(both["train"], alone["train"]);
  EXPECT_EQ(sorted(both["other"]), all_of(40, 1));
  const TestFolder folder;
  Seen ignored;
  EXPECT_EQ(wherever_stopped([&] { return make(ignored, 5); }, folder), Problems{});
}

TEST(StreamSource, ReplicasThatDrawDifferentlyAreRefused) {
  class Uneven : public Technique {
   public:
    Contract contract() const override { return {.name = "uneven", .owns = {Slot::plan}}; }
    int64_t batch_size(Step& step) override { return 2 + step.replica(); }
  };
  Seen seen;
  TrainStage stage = streaming(seen, 2);
  stage.with = {std::make_shared<Uneven>()};
  try {
    fit(stage);
    FAIL() << "samples would be left out";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::config);
    EXPECT_NE(error.message().find("replica 1 drew 3"), std::string::npos) << error.message();
  }
}

TEST(StreamSource, ABatchSizeThatChangesLeavesNothingOut) {
  class Growing : public Technique {
   public:
    Contract contract() const override { return {.name = "growing", .owns = {Slot::plan}}; }
    int64_t batch_size(Step& step) override { return step.number() + 1; }
  };
  Seen seen;
  TrainStage stage = streaming(seen, 2);
  stage.sources[0].second = stream_source("train", std::make_shared<Numbers>(72), {}, 1);  // 2 (1 + ... + 8)
  stage.with = {std::make_shared<Growing>()};
  fit(stage);
  EXPECT_EQ(sorted(seen["train"]), all_of(72, 1));
}

}  // namespace
}  // namespace etude::stream_source_test
