// B batch, T time, K masked places of a row.

#include "cli/bench_side.h"

#include <fstream>
#include <iostream>

#include "cli/bench_roof.h"
#include "cli/bench_task.h"
#include "etude/base/error.h"
#include "etude/base/log.h"
#include "etude/nn/masked_language_model.h"
#include "etude/tensor/paths.h"
#include "etude/tensor/safetensors.h"
#include "etude/train/next_token.h"
#include "etude/train/precision.h"
#include "etude/train/trainer.h"

namespace etude::cli {
namespace {

using Json = nlohmann::json;

void answer(const Json& what) { std::cout << what.dump() << std::endl; }

/// The next request; nothing at the end of the input.
std::optional<Json> next_request() {
  std::string line;
  if (!std::getline(std::cin, line)) return std::nullopt;
  Json request = Json::parse(line, nullptr, false);
  if (!request.is_object())
    throw Error(Code::usage, "this is no request: " + line, "standard input", "etude bench starts this command itself");
  return request;
}

/// VmRSS or VmHWM of this process, in bytes.
double status_bytes(const std::string& key) {
  std::ifstream in("/proc/self/status");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with(key + ":")) return std::stod(line.substr(key.size() + 1)) * 1024;
  return 0;
}

/// VmHWM counts from here on, where the kernel allows that.
void forget_peak() { std::ofstream("/proc/self/clear_refs") << "5" << std::flush; }

/// The mean cross-entropy of the tokens that were masked when the batch was made.
class GivenMask : public Objective {
 public:
  Needs needs() const override { return {Coupling::item, {"ids_BT", "place_BK", "labels_BK"}}; }
  std::set<Event> acts() const override { return {}; }
  Norms norms(const Batch& batch) const override {
    return {{"tokens", static_cast<double>(batch.at("labels_BK").numel())}};
  }
  Terms loss(Step& step, const Batch& batch, Ctx& ctx) override {
    auto& net = step.net<MaskedLanguageModel>("model");
    return {Term{.name = "masked",
                 .item = net.place_losses(encoder_rows(batch), batch.at("place_BK"), batch.at("labels_BK"), ctx),
                 .norm = step.norm("tokens")}};
  }
};

/// Gives the task's batches in turn. Between the steps it listens: the trainer waits for its next batch as long as
/// nobody asks for steps, so a measure holds whole steps of the trainer and nothing else.
class ListeningSource : public Source {
 public:
  ListeningSource(std::vector<Batch> batches, double idle_bytes)
      : batches_(std::move(batches)), idle_bytes_(idle_bytes) {}

  Kind kind() const override { return Kind::pure; }
  Batch next(Step& step, int64_t) override {
    if (left_ == 0) {
      step.number() == 0 ? begin(step) : end();
      listen();
    }
    --left_;
    return batches_[static_cast<size_t>(step.number()) % batches_.size()];
  }
  void took(double loss) { losses_.push_back(loss); }
  bool ended() const { return ended_; }

 private:
  void begin(Step& step) const {
    int64_t parameters = 0;
    for (const Parameter& p : step.all_parameters()) parameters += p.value.numel();
    answer({{"ready", true}, {"parameters", parameters}, {"idle_bytes", idle_bytes_}, {"version", TORCH_VERSION}});
  }

  void end() {
    if (explains_) {
      answer({{"paths", paths_taken()}});
      watch_paths(false);
    } else {
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun_;
      answer({{"seconds", took.count()}, {"losses", losses_}, {"peak_bytes", status_bytes("VmHWM")}});
    }
  }

  /// At the end of the input one step more is taken, after which the trainer asks ended().
  void listen() {
    const std::optional<Json> request = next_request();
    ended_ = !request;
    explains_ = request && request->value("explain", false);
    left_ = request ? std::max<int64_t>(1, request->value("steps", int64_t{1})) : 1;
    losses_.clear();
    forget_peak();
    if (explains_) watch_paths(true);
    begun_ = std::chrono::steady_clock::now();
  }

  std::vector<Batch> batches_;
  double idle_bytes_;
  int64_t left_ = 0;
  bool ended_ = false, explains_ = false;
  std::vector<double> losses_;
  std::chrono::steady_clock::time_point begun_;
};

/// The task as a stage, which fit() trains as it trains everybody's.
TrainStage stage_of(const Json& task, const std::shared_ptr<ListeningSource>& source) {
  const std::string kind = task.at("net");
  TrainStage stage;
  stage.nets.push_back(
      {.name = "model", .make = [kind, options = task.at("options")] { return make_net(kind, options); }});
  LearnerSpec learner;
  learner.clip = task.at("clip").get<double>();
  learner.optimizer.config.set("kind", "adamw");
  for (const char* key : {"lr", "beta1", "beta2", "eps", "weight_decay"})
    learner.optimizer.config.set(key, task.at(key).get<double>());
  stage.learners.push_back(std::move(learner));
  stage.sources.emplace_back("train", source);
  Pass pass;
  if (kind == "encoder")
    pass.objective = std::make_shared<GivenMask>();
  else
    pass.objective = std::make_shared<NextToken>(NextTokenOptions());
  stage.passes.push_back(std::move(pass));
  stage.init.push_back({.from = "weights"});
  if (task.at("format") == "bf16") stage.with.push_back(std::make_shared<Bf16>(Bf16Options()));
  stage.stop = Count{1e12, Unit::steps};
  return stage;
}

void train(const Json& task) {
  at::set_num_threads(task.at("threads").get<int>());
  const double idle_bytes = status_bytes("VmRSS");
  const auto source =
      std::make_shared<ListeningSource>(read_batches(task.at("batches").get<std::string>()), idle_bytes);
  Surroundings around;
  around.artifact = [&](const std::string&) {
    Artifact initial;
    for (auto& [name, value] : read_safetensors(task.at("weights").get<std::string>()).tensors)
      initial.tensors.emplace_back("model/" + name, value);
    return initial;
  };
  around.metric = [&](const MetricLine& line) {
    if (const auto loss = line.values.find("train/loss"); loss != line.values.end()) source->took(loss->second);
  };
  around.interrupted = [&] { return source->ended(); };
  fit(stage_of(task, source), around);
}

}  // namespace

void serve_bench() {
  set_log({.verbosity = Verbosity::quiet});
  const std::optional<Json> first = next_request();
  if (!first) return;
  if (!first->contains("roof")) return train(*first);
  at::set_num_threads(first->at("threads").get<int>());
  for (std::optional<Json> request = first; request; request = next_request())
    answer(measure_roof(request->at("roof")));
}

}  // namespace etude::cli
