#pragma once
// What tests of training share: a small net in double, a small pure source, a regression.

#include "etude/base/torch_pch.h"

#include <memory>
#include <string>
#include <vector>

#include "etude/train/trainer.h"

namespace etude::test {

/// Linear layers with tanh between them, in double: layer0.weight, layer0.bias, ...
class Mlp : public Net {
 public:
  explicit Mlp(const std::vector<int64_t>& widths) {
    for (size_t i = 0; i + 1 < widths.size(); ++i) {
      auto layer = register_module("layer" + std::to_string(i), std::make_shared<torch::nn::Module>());
      weights_.push_back(
          layer->register_parameter("weight", torch::zeros({widths[i + 1], widths[i]}, torch::kFloat64)));
      biases_.push_back(layer->register_parameter("bias", torch::zeros({widths[i + 1]}, torch::kFloat64)));
    }
  }
  void initialise(uint64_t seed) override {
    torch::NoGradGuard no_grad;
    for (auto& p : named_parameters()) {
      std::vector<double> values(static_cast<size_t>(p.value().numel()));
      Rng(Key{seed, Purpose::init}).fork(p.key()).fill_normal(values);
      p.value().copy_(torch::tensor(values, torch::kFloat64).view(p.value().sizes()) * 0.5);
    }
  }
  double flops(const Batch& batch) const override {
    double products = 0;
    for (const Tensor& w : weights_) products += static_cast<double>(w.numel());
    return 2 * products * static_cast<double>(batch.size());
  }
  Tensor layer(size_t i, const Tensor& x) { return at::linear(x, weights_[i], biases_[i]); }
  Tensor forward(Tensor x) {
    for (size_t i = 0; i < weights_.size(); ++i) x = i + 1 < weights_.size() ? torch::tanh(layer(i, x)) : layer(i, x);
    return x;
  }

 private:
  std::vector<Tensor> weights_, biases_;
};

inline NetSpec mlp(const std::string& name, std::vector<int64_t> widths, const std::string& role = "trained") {
  return {name, [widths] { return std::make_shared<Mlp>(widths); }, role};
}

/// The net as a stage with this seed has it before step one.
inline std::shared_ptr<Mlp> initial_mlp(const std::string& name, const std::vector<int64_t>& widths, uint64_t seed) {
  auto net = std::make_shared<Mlp>(widths);
  net->initialise(initial_seed(seed, name));
  return net;
}

inline LearnerSpec learner(const std::string& name, std::vector<std::string> params, const std::string& kind = "adam",
                           double lr = 0.01) {
  LearnerSpec spec;
  spec.name = name;
  spec.params = std::move(params);
  spec.optimizer.config.set("kind", Config(kind));
  spec.optimizer.config.set("lr", Config(lr));
  return spec;
}

/// Rows of x and y = sin(sum of x) for ids, from keyed noise: pure.
inline Batch samples(const std::vector<int64_t>& ids, int64_t width, uint64_t seed = 7) {
  Batch batch;
  std::vector<double> x;
  for (int64_t id : ids) {
    std::vector<double> row(static_cast<size_t>(width));
    Rng(Key{seed, Purpose::test, 0, id}).fill_normal(row);
    x.insert(x.end(), row.begin(), row.end());
  }
  const auto rows = static_cast<int64_t>(ids.size());
  batch.id_B = torch::tensor(ids, torch::kInt64);
  batch.x["x"] = torch::tensor(x, torch::kFloat64).view({rows, width});
  batch.x["y"] = torch::sin(batch.x["x"].sum(1, true));
  return batch;
}

/// The pure source over `samples`: in every draw, replica after replica takes the ids that follow.
class Samples : public Source {
 public:
  Samples(int64_t width, int64_t batch, int64_t records = 37) : width_(width), batch_(batch), records_(records) {}
  Kind kind() const override { return Kind::pure; }
  Batch next(Step& step, int64_t rows) override {
    const int64_t n = rows >= 0 ? rows : batch_;
    int64_t& taken = step.store().integer("samples/taken");
    std::vector<int64_t> ids;
    for (int64_t k = 0; k < n; ++k) ids.push_back((taken * step.replicas() + step.replica() * n + k) % records_);
    taken += n;
    return samples(ids, width_);
  }
  double epochs(Step& step) const override {
    return static_cast<double>(step.store().integer("samples/taken") * step.replicas()) / static_cast<double>(records_);
  }

 private:
  int64_t width_, batch_, records_;
};

/// Squared error of net(x) against y.
class Regression : public Objective {
 public:
  explicit Regression(std::string net = "model") : net_(std::move(net)) {}
  Needs needs() const override { return {Coupling::item, {"x", "y"}}; }
  Terms loss(Step& step, const Batch& batch, Ctx&) override {
    const auto error = step.net<Mlp>(net_).forward(batch.at("x")) - batch.at("y");
    return {{"squared", error.pow(2).sum(1), {}, step.norm("items"), 1.0}};
  }

 private:
  std::string net_;
};

/// One net, one learner, one pass, eight steps.
inline TrainStage regression(std::shared_ptr<Objective> objective = std::make_shared<Regression>(), int64_t batch = 4) {
  TrainStage stage;
  stage.seed = 11;
  stage.nets = {mlp("model", {3, 6, 1})};
  stage.learners = {learner("model", {"model"}, "sgd", 0.05)};
  stage.sources = {{"train", std::make_shared<Samples>(3, batch)}};
  stage.passes = {{.objective = std::move(objective)}};
  stage.stop = Count{8, Unit::steps};
  return stage;
}

}  // namespace etude::test
