// Probe (e): layer-local passes with inner repeats around a black box that throws in backward.

#include "tests/frame/probe.h"

namespace etude::probe {
namespace {

/// A piece of hardware: its forward is known by measuring it, its backward does not exist.
struct BlackBox : torch::autograd::Function<BlackBox> {
  static Tensor forward(torch::autograd::AutogradContext*, const Tensor& x) { return torch::sin(3 * x) + 0.1 * x; }
  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext*, torch::autograd::tensor_list) {
    throw std::runtime_error("nobody may differentiate the black box");
  }
};

/// Layer i is trained on its own output. The black boxes before it are part of the graph, but a backward into the
/// pass's learners only never reaches them.
class Local : public Objective {
 public:
  explicit Local(size_t layer) : layer_(layer) {}
  Terms loss(Step& step, const Batch& batch, Ctx&) override {
    auto& net = step.net<Mlp>("model");
    Tensor x = batch.at("x");
    for (size_t i = 0; i < layer_; ++i) x = BlackBox::apply(net.layer(i, x));
    const Tensor out = net.layer(layer_, x);
    return {{"goodness", at::softplus(-(out * batch.at("y")).sum(1)), {}, step.norm("items"), 1.0}};
  }

 private:
  size_t layer_;
};

TrainStage layerwise() {
  TrainStage stage;
  stage.nets = {mlp("model", {3, 4, 4, 2})};
  stage.sources = {{"train", std::make_shared<Samples>(3, 6)}};
  for (size_t i = 0; i < 3; ++i) {
    const std::string name = "layer" + std::to_string(i);
    stage.learners.push_back(learner(name, {"model." + name}, "sgd", 0.05));
    stage.passes.push_back(
        {.name = name, .objective = std::make_shared<Local>(i), .learners = {name}, .times = 3, .reuse = true});
  }
  stage.stop = Count{8, Unit::steps};
  return stage;
}

TEST(Layerwise, ResumeAtEveryStep) {
  const Fit result = same_wherever_stopped(layerwise);
  EXPECT_EQ(result.counters[Unit::samples], 8 * 6) << "one batch serves all passes and repeats";
}

TEST(Layerwise, RepeatsGoOnFromEachOther) {
  TrainStage once = layerwise(), thrice = layerwise();
  for (Pass& pass : once.passes) pass.times = 1;
  once.stop = thrice.stop = Count{1, Unit::steps};
  EXPECT_LT(fit(thrice).values.at("layer0/loss"), fit(once).values.at("layer0/loss"))
      << "the mean loss of three repeats is below that of the first";
}

TEST(Layerwise, TrainedEndToEndTheBlackBoxThrows) {
  TrainStage stage = layerwise();
  stage.learners = {learner("all", {"model"})};
  stage.passes = {{.objective = std::make_shared<Local>(2), .learners = {"all"}}};
  EXPECT_THROW(fit(stage), std::runtime_error);
}

}  // namespace
}  // namespace etude::probe
