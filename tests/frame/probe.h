#pragma once
// What the frame probes share: a small net, a small source, and the check that every one of them must pass:
// stopped after any step and gone on with from its checkpoint by fresh objects, a run ends in the same bits.

#include "etude/base/torch_pch.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "etude/base/file.h"
#include "etude/train/trainer.h"

namespace etude::probe {

/// A folder that goes away with the test.
class Folder {
 public:
  Folder() {
    char name[] = "/tmp/etude-probe-XXXXXX";
    path_ = mkdtemp(name);
  }
  ~Folder() { file::remove_all(path_); }
  std::string at(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

/// Linear layers with tanh between them, in double: layer0.weight, layer0.bias, ...
class Mlp : public Net {
 public:
  explicit Mlp(const std::vector<int64_t>& widths) {
    for (size_t i = 0; i + 1 < widths.size(); ++i) {
      const std::string name = "layer" + std::to_string(i);
      auto layer = register_module(name, std::make_shared<torch::nn::Module>());
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
  torch::Tensor layer(size_t i, const torch::Tensor& x) { return at::linear(x, weights_[i], biases_[i]); }
  torch::Tensor forward(torch::Tensor x) {
    for (size_t i = 0; i < weights_.size(); ++i) x = i + 1 < weights_.size() ? torch::tanh(layer(i, x)) : layer(i, x);
    return x;
  }

 private:
  std::vector<torch::Tensor> weights_, biases_;
};

inline NetSpec mlp(const std::string& name, std::vector<int64_t> widths, const std::string& role = "trained") {
  return {name, [widths] { return std::make_shared<Mlp>(widths); }, role};
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

/// The pure source over `samples`: batch i of replica r.
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

 private:
  int64_t width_, batch_, records_;
};

/// Squared error of net(x) against y.
class Regression : public Objective {
 public:
  explicit Regression(std::string net = "model") : net_(std::move(net)) {}
  Terms loss(Step& step, const Batch& batch, Ctx&) override {
    const auto error = step.net<Mlp>(net_).forward(batch.at("x")) - batch.at("y");
    return {{"squared", error.pow(2).sum(1), {}, step.norm("items"), 1.0}};
  }

 private:
  std::string net_;
};

/// Everything of a fit that must not change: tensors to the bit, counters but seconds, metric lines.
struct Print {
  std::vector<std::pair<std::string, torch::Tensor>> tensors;
  std::string lines;
};

inline std::string without_seconds(std::string line) {
  const size_t begin = line.find("\"seconds\":");
  return begin == std::string::npos ? line : line.erase(begin, line.find(',', begin) - begin);
}

inline Print print(const Fit& fit, const std::string& directory) {
  Print p;
  for (const auto& [name, value] : fit.artifact.tensors) p.tensors.emplace_back(name, value.clone());
  const auto checkpoint = Checkpoints(directory).load_latest();
  if (checkpoint)
    for (const auto& [name, value] : checkpoint->tensors) p.tensors.emplace_back("state/" + name, value);
  std::ifstream in(directory + "/metrics.jsonl");
  for (std::string line; std::getline(in, line);) p.lines += without_seconds(line) + "\n";
  return p;
}

inline void expect_same(const Print& a, const Print& b, const std::string& what) {
  EXPECT_EQ(a.lines, b.lines) << what;
  ASSERT_EQ(a.tensors.size(), b.tensors.size()) << what;
  for (size_t i = 0; i < a.tensors.size(); ++i) {
    EXPECT_EQ(a.tensors[i].first, b.tensors[i].first) << what;
    EXPECT_TRUE(torch::equal(a.tensors[i].second, b.tensors[i].second)) << what << ": " << a.tensors[i].first;
  }
}

/// Runs the stage straight, then once for each k stopped after k steps and gone on with by fresh objects.
inline Fit same_wherever_stopped(const std::function<TrainStage()>& make) {
  const Folder folder;
  Surroundings straight;
  straight.directory = folder.at("straight");
  const TrainStage stage = make();
  Fit whole = fit(stage, straight);
  const Print expected = print(whole, straight.directory);
  const int64_t steps = whole.counters.step();
  EXPECT_GE(steps, 4);
  for (int64_t k = 1; k < steps; ++k) {
    Surroundings stopped;
    stopped.directory = folder.at("stop" + std::to_string(k));
    int64_t done = 0;
    stopped.interrupted = [&] { return ++done == k; };
    {
      const TrainStage first = make();
      EXPECT_FALSE(fit(first, stopped).finished);
    }
    stopped.interrupted = nullptr;
    const TrainStage second = make();
    const Fit rest = fit(second, stopped);
    EXPECT_TRUE(rest.finished);
    EXPECT_EQ(rest.counters.step(), steps);
    expect_same(expected, print(rest, stopped.directory), "stopped after step " + std::to_string(k));
  }
  return whole;
}

}  // namespace etude::probe
