// Probe (d): map -> train (two seeds share one base) -> forked evaluation with a nested fit and an estimator that
// needs no gradient.

#include "etude/train/graph.h"
#include "etude/train/weights.h"
#include "tests/frame/probe.h"

namespace etude::probe {
namespace {

TrainStage named(const std::string& name, uint64_t seed) {
  TrainStage stage = regression(std::make_shared<Regression>(), 5);
  stage.name = name;
  stage.seed = seed;
  return stage;
}

Tensor features(Mlp& net, const Batch& batch) { return torch::tanh(net.layer(0, batch.at("x"))); }

/// An estimator without gradients: ridge regression in closed form on what the net's first layer shows.
double ridge_error(Mlp& net, const Batch& batch) {
  torch::NoGradGuard no_grad;
  const Tensor f = features(net, batch);
  const Tensor w =
      torch::linalg_solve(f.t().mm(f) + 0.1 * torch::eye(f.size(1), torch::kFloat64), f.t().mm(batch.at("y")));
  return (f.mm(w) - batch.at("y")).pow(2).mean().item<double>();
}

/// A new head on the frozen features of a net.
class Head : public Objective {
 public:
  Terms loss(Step& step, const Batch& batch, Ctx&) override {
    const Tensor answer = step.net<Mlp>("head").forward(features(step.net<Mlp>("model"), batch));
    return {{"squared", (answer - batch.at("y")).pow(2), {}, step.norm("items"), 1.0}};
  }
};

/// The nested fit: the same loop with nothing written, in the middle of a stage.
double head_error(const Artifact& of, uint64_t seed) {
  TrainStage stage = named("head", seed);
  stage.nets = {mlp("model", {3, 6, 1}, "frozen"), mlp("head", {6, 1})};
  stage.learners = {learner("head", {"head"})};
  stage.passes = {{.objective = std::make_shared<Head>(), .learners = {"head"}}};
  stage.init = {{.from = "it"}};
  return fit(stage, {.artifact = [&](const std::string&) { return of; }}).values.at("train/loss");
}

std::shared_ptr<Mlp> net_of(const Artifact& artifact) {
  auto net = std::make_shared<Mlp>(std::vector<int64_t>{3, 6, 1});
  move_weights({}, artifact, *net, "probe");
  return net;
}

Graph experiment(ArtifactStore& store, uint64_t seed, const std::string& directory) {
  Graph graph(store, seed, directory);
  graph.add({.kind = GraphStage::Kind::map, .name = "data", .seeded = false, .make = [](const Inputs&) {
               Artifact made;
               made.tensors.emplace_back("ids", torch::arange(20));
               return made;
             }});
  graph.add(
      {.kind = GraphStage::Kind::train, .name = "base", .in = {"data"}, .seeded = false, .train = [](const Inputs&) {
         TrainStage stage = named("base", 0);
         stage.checkpoint.milestones = {Count::parse("50%")};
         return stage;
       }});
  graph.add({.kind = GraphStage::Kind::train, .name = "tune", .in = {"base"}, .train = [seed](const Inputs&) {
               TrainStage stage = named("tune", seed);
               stage.init = {{.from = "base", .drop = {"layer1"}, .fresh = {"layer1"}}};
               return stage;
             }});
  graph.foreach ("probe", {"base", "base@50%", "tune"}, [seed](const std::string& of) {
    return GraphStage{
        .kind = GraphStage::Kind::eval, .in = {of, "data"}, .make = [of, seed](const Inputs& inputs) {
          const auto net = net_of(inputs.at(of));
          Artifact result;
          result.values["ridge"] = ridge_error(*net, samples({100, 101, 102, 103, 104, 105, 106, 107, 108, 109}, 3));
          result.values["head"] = head_error(inputs.at(of), seed);
          return result;
        }};
  });
  return graph;
}

TEST(GraphProbe, TwoSeedsShareOneBase) {
  const TestFolder folder;
  ArtifactStore store(folder.at("store"));
  std::map<uint64_t, std::vector<std::string>> ran;
  for (uint64_t seed : {1, 2}) {
    Graph graph = experiment(store, seed, folder.at("run" + std::to_string(seed)));
    for (const char* fork : {"probe[base]", "probe[base@50%]", "probe[tune]"})
      EXPECT_TRUE(graph.get(fork).values.contains("ridge"));
    ran[seed] = graph.ran();
    for (const char* result : {"ridge", "head"})
      EXPECT_NE(graph.get("probe[base]").values[result], graph.get("probe[base@50%]").values[result]) << result;
  }
  auto count = [&](uint64_t seed, const std::string& name) {
    return std::count(ran[seed].begin(), ran[seed].end(), name);
  };
  EXPECT_EQ(count(1, "base"), 1);
  EXPECT_EQ(count(2, "base"), 0);
  EXPECT_EQ(count(2, "tune"), 1);
}

TEST(GraphProbe, ResumeAtEveryStep) {
  const TestFolder folder;
  ArtifactStore whole(folder.at("whole"));
  Graph straight = experiment(whole, 1, folder.at("straight"));
  const Artifact expected = straight.get("tune");
  for (int stop = 1; stop < 16; ++stop) {
    ArtifactStore store(folder.at("store" + std::to_string(stop)));
    const std::string directory = folder.at("run" + std::to_string(stop));
    int polled = 0;
    bool interrupted = false;
    try {
      Graph graph = experiment(store, 1, directory);
      graph.interrupted = [&] { return ++polled == stop; };
      graph.get("tune");
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::interrupted);
      interrupted = true;
    }
    EXPECT_EQ(interrupted, stop != 8) << "the poll after a stage's last step stops nothing";
    Graph again = experiment(store, 1, directory);
    const Artifact result = again.get("tune");
    ASSERT_EQ(result.tensors.size(), expected.tensors.size());
    for (size_t i = 0; i < expected.tensors.size(); ++i)
      EXPECT_TRUE(torch::equal(result.tensors[i].second, expected.tensors[i].second)) << stop;
  }
}

TEST(GraphProbe, WeightsMoveStrictly) {
  ArtifactStore store;
  Graph graph(store, 0);
  graph.add({.kind = GraphStage::Kind::train, .name = "base", .train = [](const Inputs&) { return named("base", 0); }});
  graph.add({.kind = GraphStage::Kind::train, .name = "tune", .in = {"base"}, .train = [](const Inputs&) {
               TrainStage stage = named("tune", 1);
               stage.init = {{.from = "base", .drop = {"layer1"}}};
               return stage;
             }});
  try {
    graph.get("tune");
    FAIL() << "a parameter without a value must be refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::config);
    EXPECT_NE(error.message().find("layer1"), std::string::npos);
  }
}

TEST(GraphProbe, RepeatChains) {
  ArtifactStore store;
  Graph graph(store, 0);
  graph.repeat("double", 4, [](int turn, const std::string& previous) {
    return GraphStage{.make = [turn, previous](const Inputs& inputs) {
      Artifact made;
      made.values["x"] = turn == 0 ? 1 : 2 * inputs.at(previous).values.at("x").get<int>();
      return made;
    }};
  });
  EXPECT_EQ(graph.get("double#3").values["x"], 8);
  EXPECT_EQ(graph.ran().size(), 4U);
}

}  // namespace
}  // namespace etude::probe
