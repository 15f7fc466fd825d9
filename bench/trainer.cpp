// What the trainer costs beside the arithmetic: a step of NoLoCo's smallest headline arms inside of fit(), next to the
// same forward, backward, clipping and optimizer called by hand on nets of its own and the same batches, step by step
// in turn; the share of a step that waits for data; and resident memory over many steps.
//
//   ninja -C build/release bench && OMP_WAIT_POLICY=passive build/release/bench_trainer [PAIRS [STEPS]]
//
// On a machine that does other work too, the processor's time says more than the clock on the wall.

#include "etude/base/torch_pch.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>

#include "etude/base/log.h"
#include "etude/train/recipe.h"
#include "etude/train/trainer.h"

namespace etude {
namespace {

constexpr int64_t kWarmUp = 20;
constexpr double kMostOverhead = 0.02, kMostWaiting = 0.01, kMostGrowth = 0.02;

const Registry& everything() {
  static const Registry registry = [] {
    Registry made;
    register_frame(made);
    register_methods(made);
    return made;
  }();
  return registry;
}

TrainStage arm(const std::string& name, const std::string& profile, int64_t steps) {
  TrainStage stage = make_stage(builtin_recipe("noloco", name, profile, {}, everything()), everything());
  stage.stop = Count{static_cast<double>(steps), Unit::steps};
  stage.evaluate = stage.checkpoint.every = Count{};
  stage.evaluations.clear();
  return stage;
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<int64_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

/// Seconds of a clock: CLOCK_MONOTONIC, or CLOCK_THREAD_CPUTIME_ID for the time that this thread computed.
double seconds(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

/// What both loops took, a value a step.
class Laps {
 public:
  explicit Laps(clockid_t clock) : clock_(clock), last_(seconds(clock)) {}
  void end(std::vector<double>& into) {
    into.push_back(seconds(clock_) - last_);
    last_ = seconds(clock_);
  }
  double share() const { return median(inside) / median(by_hand) - 1; }
  std::vector<double> inside, by_hand;

 private:
  clockid_t clock_;
  double last_;
};

/// Remembers what each replica drew.
class Batches : public Technique {
 public:
  Contract contract() const override { return {.name = "batches", .acts = {Event::batch}}; }
  void on(Event, Step& step) override { drawn[step.replica()] = step.batch; }
  std::map<int, Batch> drawn;
};

/// A replica's training written out by hand.
class Bare {
 public:
  explicit Bare(const TrainStage& stage) : stop_(stage.stop), clip_(stage.learners.at(0).clip) {
    net_ = std::dynamic_pointer_cast<LanguageModel>(stage.nets.at(0).make());
    net_->initialise(initial_seed(stage.seed, stage.nets.at(0).name));
    Parameters parameters;
    for (const auto& p : net_->named_parameters())
      parameters.push_back({"model." + p.key(), p.value(), net_->tags(p.key())});
    optimizer_ = make_optimizer(stage.learners.at(0).optimizer, parameters);
  }

  void step(const Counters& counters, const Batch& batch) {
    Ctx ctx;
    ctx.train = true;
    ctx.id_B = batch.id_B;
    const auto optional = [&](const char* name) { return batch.x.count(name) ? batch.at(name) : Tensor(); };
    const Tensor logits = net_->logits(batch.at("ids_BT"), optional("position_BT"), optional("segment_BT"), ctx);
    const Tensor loss = at::cross_entropy_loss(logits.reshape({-1, logits.size(-1)}),
                                               batch.at("labels_BT").reshape({-1}), {}, at::Reduction::Mean, -1);
    for (const Parameter& p : optimizer_->parameters()) p.value.mutable_grad().reset();
    loss.backward();
    std::vector<Tensor> gradients;
    for (const Parameter& p : optimizer_->parameters()) gradients.push_back(p.value.grad());
    const Position position{counters, stop_};
    clip_global_norm(gradients, clip_.at(position));
    torch::NoGradGuard no_grad;
    optimizer_->step(position, gradients);
  }

 private:
  Count stop_;
  Schedule clip_;
  std::shared_ptr<LanguageModel> net_;
  std::unique_ptr<Optimizer> optimizer_;
};

bool told(const char* what, double value, double most) {
  std::printf("  %-46s %6.2f %%  (at most %.0f %%)%s\n", what, 100 * value, 100 * most, value < most ? "" : "  MISSED");
  return value < most;
}

/// Trainer and bare loop take turns; after each step of the trainer the bare loop takes the same one.
bool overhead(const std::string& name, int64_t pairs) {
  TrainStage stage = arm(name, "small", kWarmUp + pairs);
  const auto batches = std::make_shared<Batches>();
  stage.with.push_back(batches);
  std::vector<Bare> bare;
  for (int r = 0; r < stage.replicas; ++r) bare.emplace_back(stage);
  Laps wall(CLOCK_MONOTONIC), processor(CLOCK_THREAD_CPUTIME_ID);
  Counters counters;
  Surroundings around;
  around.interrupted = [&] {
    for (Laps* laps : {&wall, &processor}) laps->end(laps->inside);
    for (int r = 0; r < stage.replicas; ++r) bare[static_cast<size_t>(r)].step(counters, batches->drawn.at(r));
    for (Laps* laps : {&wall, &processor}) laps->end(laps->by_hand);
    counters[Unit::steps] += 1;
    if (counters.step() == kWarmUp)
      for (Laps* laps : {&wall, &processor}) laps->inside.clear(), laps->by_hand.clear();
    return false;
  };
  fit(stage, around);
  std::printf("%s, profile small: %.3f ms a step inside the trainer, %.3f ms by hand (medians of %zu)\n", name.c_str(),
              median(wall.inside) * 1e3, median(wall.by_hand) * 1e3, wall.inside.size());
  const bool good = told("the trainer's share, clock on the wall", wall.share(), kMostOverhead);
  told("the trainer's share, processor's time", processor.share(), kMostOverhead);
  const Cost cost = fit(arm(name, "small", pairs)).cost;
  return told("waiting for data", cost.wait_seconds / cost.step_seconds, kMostWaiting) && good;
}

/// VmRSS in bytes.
double resident() {
  std::ifstream in("/proc/self/status");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with("VmRSS:")) return std::stod(line.substr(6)) * 1024;
  return 0;
}

bool memory(int64_t late) {
  const int64_t early_step = late / 5;
  TrainStage stage = arm("noloco", "smoke", late);
  const TrainStage whole = make_stage(builtin_recipe("noloco", "noloco", "smoke", {}, everything()), everything());
  stage.evaluations = whole.evaluations;
  stage.evaluate = Count{500, Unit::steps};
  stage.checkpoint.every = Count{500, Unit::steps};
  std::string folder = (std::filesystem::temp_directory_path() / "etude-bench-XXXXXX").string();
  if (!mkdtemp(folder.data())) throw Error(Code::io, "no temporary folder can be made", folder);
  double early = 0;
  int64_t steps = 0;
  Surroundings around;
  around.directory = folder;
  around.interrupted = [&] {
    if (++steps == early_step) early = resident();
    return false;
  };
  fit(stage, around);
  const double at_end = resident();
  std::filesystem::remove_all(folder);
  std::printf("noloco, profile smoke: %.1f MB resident at %lld steps, %.1f MB at %lld\n", early / 1e6,
              static_cast<long long>(early_step), at_end / 1e6, static_cast<long long>(late));
  return told("growth", at_end / early - 1, kMostGrowth);
}

int run(int64_t pairs, int64_t steps) {
  set_log({.verbosity = Verbosity::quiet});
  at::set_num_threads(1);
  bool good = true;
  for (const char* name : {"none", "fsdp"}) good = overhead(name, pairs) && good;
  return memory(steps) && good ? 0 : 1;
}

}  // namespace
}  // namespace etude

int main(int count, char** words) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  try {
    return etude::run(count > 1 ? std::atoll(words[1]) : 300, count > 2 ? std::atoll(words[2]) : 10000);
  } catch (const etude::Error& error) {
    etude::report_error(error);
    return static_cast<int>(error.code());
  }
}
