#include "etude/train/graph.h"

#include "etude/base/torch_pch.h"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>

#include "etude/base/testing.h"
#include "etude/train/testing.h"

namespace etude::graph_test {
namespace {

GraphStage map_stage(const std::string& name, double value, std::vector<std::string> in = {}) {
  GraphStage stage;
  stage.name = name;
  stage.in = std::move(in);
  stage.spec.set("value", Config(value));
  stage.make = [value, in = stage.in](const Inputs& inputs) {
    Artifact made;
    double sum = value;
    for (const std::string& ref : in) sum += inputs.at(ref).values.at("x").get<double>();
    made.values["x"] = sum;
    return made;
  };
  return stage;
}

GraphStage train_stage(const std::string& name, const std::vector<std::string>& milestones = {}) {
  GraphStage stage;
  stage.kind = GraphStage::Kind::train;
  stage.name = name;
  stage.train = [name, milestones](const Inputs&) {
    TrainStage made = test::regression();
    made.name = name;
    for (const std::string& place : milestones) made.checkpoint.milestones.push_back(Count::parse(place));
    return made;
  };
  return stage;
}

bool same(const Artifact& a, const Artifact& b) {
  if (a.tensors.size() != b.tensors.size()) return false;
  for (size_t i = 0; i < a.tensors.size(); ++i) {
    if (!torch::equal(a.tensors[i].second, b.tensors[i].second)) return false;
  }
  return true;
}

std::string key_of(const GraphStage& stage, uint64_t seed, const std::string& ref = "b") {
  ArtifactStore store;
  Graph graph(store, seed);
  graph.add(map_stage("a", 1));
  graph.add(stage);
  return graph.key(ref);
}

TEST(Graph, TheKeyHashesWhatDecides) {
  const GraphStage b = map_stage("b", 2, {"a"});
  const std::string key = key_of(b, 1);
  EXPECT_EQ(key.size(), 64U);
  EXPECT_EQ(key_of(b, 1), key);
  EXPECT_NE(key_of(b, 2), key);
  EXPECT_NE(key_of(map_stage("b", 3, {"a"}), 1), key);
  EXPECT_NE(key_of(map_stage("b", 2), 1), key);
  GraphStage other = b;
  other.kind = GraphStage::Kind::eval;
  EXPECT_NE(key_of(other, 1), key);
  EXPECT_NE(key_of(b, 1, "b@50%"), key);
  EXPECT_EQ(key_of(b, 1, "b@50%"), key_of(b, 1, "b@50 %")) << "a place is what it means, not how it is written";
  EXPECT_NE(key_of(b, 1, "b@4 steps"), key_of(b, 1, "b@5 steps"));
}

TEST(Graph, WithoutASeedOneArtifactServesAll) {
  GraphStage base = map_stage("b", 2);
  base.seeded = false;
  EXPECT_EQ(key_of(base, 1), key_of(base, 2));
  // What stands on it has its own seed.
  ArtifactStore store;
  std::set<std::string> keys;
  for (const uint64_t seed : {1, 2}) {
    Graph graph(store, seed);
    graph.add(base);
    graph.add(map_stage("c", 1, {"b"}));
    keys.insert(graph.key("c"));
    EXPECT_EQ(graph.get("c").values["x"], 3);
    EXPECT_EQ(graph.ran().size(), seed == 1 ? 2U : 1U);
  }
  EXPECT_EQ(keys.size(), 2U);
}

TEST(Graph, AChangedInputChangesAllThatStandsOnIt) {
  ArtifactStore store;
  Graph one(store, 0), two(store, 0);
  for (Graph* graph : {&one, &two}) {
    graph->add(map_stage("a", graph == &one ? 1 : 5));
    graph->add(map_stage("b", 2, {"a"}));
    graph->add(map_stage("c", 3, {"b"}));
  }
  EXPECT_NE(one.key("c"), two.key("c"));
  EXPECT_EQ(one.get("c").values["x"], 6);
  EXPECT_EQ(two.get("c").values["x"], 10);
}

TEST(Graph, RefusesWhatIsNoGraph) {
  ArtifactStore store;
  Graph graph(store, 0);
  graph.add(map_stage("base", 1));
  expect_error([&] { graph.add(map_stage("base", 2)); }, Code::config, "two stages are called 'base'", "stage graph");
  expect_error([&] { graph.add(map_stage("next", 1, {"bse"})); }, Code::config, "'bse' is no earlier stage",
               "stage next", "did you mean 'base'?");
  expect_error([&] { graph.add(map_stage("self", 1, {"self"})); }, Code::config, "'self' is no earlier stage",
               "stage self");
  expect_error([&] { graph.get("bas"); }, Code::config, "there is no stage 'bas'", "stage graph",
               "did you mean 'base'?");
  GraphStage thief = map_stage("thief", 1);
  thief.make = [](const Inputs& inputs) { return inputs.at("base"); };
  graph.add(thief);
  try {
    graph.get("thief");
    ADD_FAILURE() << "an input that is not listed was given";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::internal);
  }
}

TEST(Graph, RepeatAndForeachNameTheirStages) {
  ArtifactStore store;
  Graph graph(store, 0);
  graph.repeat("turn", 3, [](int turn, const std::string& previous) {
    EXPECT_EQ(previous, turn == 0 ? "" : "turn#" + std::to_string(turn - 1));
    return previous.empty() ? map_stage("", 1) : map_stage("", 10, {previous});
  });
  graph.foreach ("of", {"turn#0", "turn#2"}, [](const std::string& ref) { return map_stage("", 0, {ref}); });
  EXPECT_EQ(graph.get("of[turn#2]").values["x"], 21);
  EXPECT_EQ(graph.ran(), (std::vector<std::string>{"turn#0", "turn#1", "turn#2", "of[turn#2]"}));
  EXPECT_EQ(graph.get("of[turn#0]").values["x"], 1);
}

TEST(Graph, MilestonesAreWhatTheNetWasThere) {
  const TestFolder folder;
  ArtifactStore store(folder.at("store"));
  Graph graph(store, 0, folder.at("run"));
  graph.add(train_stage("base", {"50%", "6 steps"}));
  const Artifact half = graph.get("base@50%"), end = graph.get("base");
  EXPECT_EQ(graph.ran(), std::vector<std::string>{"base"});
  TrainStage until = test::regression();
  until.stop = Count{4, Unit::steps};
  EXPECT_TRUE(same(half, fit(until).artifact));
  EXPECT_FALSE(same(half, end));
  EXPECT_FALSE(same(graph.get("base@6 steps"), half));
  expect_error([&] { graph.get("base@7 steps"); }, Code::config, "'base' keeps no milestone '7 steps'", "stage graph",
               "milestones");
}

TEST(Graph, ALostMilestoneIsMadeAgain) {
  const TestFolder folder;
  ArtifactStore store(folder.at("store"));
  Graph graph(store, 0, folder.at("run"));
  graph.add(train_stage("base", {"50%"}));
  const Artifact half = graph.get("base@50%");
  file::remove_all(folder.at("store/" + graph.key("base@50%")));
  EXPECT_TRUE(same(graph.get("base@50%"), half));
}

TEST(Graph, AMilestoneSurvivesADeathRightBehindIt) {
  const TestFolder folder;
  const auto graph_in = [&](ArtifactStore& store) {
    Graph graph(store, 0, folder.at("run"));
    graph.add(train_stage("base", {"50%"}));
    return graph;
  };
  ArtifactStore store(folder.at("store"));
  {
    // Stopped in the step of the milestone: saved, and published before that.
    Graph graph = graph_in(store);
    int steps = 0;
    graph.interrupted = [&] { return ++steps == 4; };
    expect_error([&] { graph.get("base"); }, Code::interrupted, "stage base was interrupted at step 4", "base");
    EXPECT_TRUE(store.has(graph.key("base@50%")));
    EXPECT_FALSE(store.has(graph.key("base")));
  }
  Graph again = graph_in(store);
  const Artifact end = again.get("base");
  EXPECT_TRUE(same(end, fit(test::regression()).artifact));
  EXPECT_NE(again.fit_of("base"), nullptr);
  EXPECT_EQ(again.fit_of("other"), nullptr);
}

TEST(Graph, AChangedStageDoesNotGoOnFromTheOldOne) {
  const TestFolder folder;
  ArtifactStore store(folder.at("store"));
  Artifact found[2];
  for (const int batch : {4, 5}) {
    Graph graph(store, 0, folder.at("run"));
    GraphStage stage = train_stage("base");
    stage.spec.set("batch", Config(batch));
    stage.train = [batch](const Inputs&) { return test::regression(std::make_shared<test::Regression>(), batch); };
    graph.add(stage);
    found[batch - 4] = graph.get("base");
    EXPECT_EQ(graph.ran().size(), 1U);
  }
  EXPECT_FALSE(same(found[0], found[1]));
  EXPECT_TRUE(same(found[1], fit(test::regression(std::make_shared<test::Regression>(), 5)).artifact));
}

TEST(Graph, TwoGraphsMakeAStageOnce) {
  const TestFolder folder;
  std::atomic<int> made = 0;
  const auto work = [&] {
    ArtifactStore store(folder.path());
    Graph graph(store, 0);
    GraphStage slow = map_stage("slow", 1);
    slow.make = [&](const Inputs&) {
      ++made;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      return Artifact();
    };
    graph.add(slow);
    graph.add(map_stage("next", 1));
    graph.get("slow");
  };
  std::thread other(work);
  work();
  other.join();
  EXPECT_EQ(made, 1);
}

TEST(Graph, ADamagedArtifactIsNamed) {
  const TestFolder folder;
  ArtifactStore store(folder.path());
  Graph graph(store, 0);
  graph.add(map_stage("a", 1));
  graph.get("a");
  const std::string path = graph.key("a") + "/values.json";
  folder.write(path, "{}");
  expect_error([&] { graph.get("a"); }, Code::checkpoint, "is damaged: values.json has 2 bytes", path, "remove ");
}

}  // namespace
}  // namespace etude::graph_test
