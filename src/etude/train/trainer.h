#pragma once
// THE loop. Re-entrant: a probe or a nested fit is another call of fit() with a directory of its own, or none.

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "etude/comm/links.h"
#include "etude/train/artifact.h"
#include "etude/train/checkpoint.h"
#include "etude/train/stage.h"

namespace etude {

/// One line of metrics.jsonl: what was measured where.
struct MetricLine {
  std::string stage, kind;  ///< kind: "train" or "eval"
  Counters counters;
  std::map<std::string, double> values;
  std::string json() const;  ///< doubles survive to the bit
  static MetricLine from_json(const nlohmann::json& line);
};

/// A per-sample value of an evaluation.
struct Row {
  int64_t id;
  double value;
  double weight;
};

/// Costs of a stage. Seconds are of active training and do not take part in bit-exactness.
struct Cost {
  double seconds = 0, step_seconds = 0, wait_seconds = 0, evaluate_seconds = 0, checkpoint_seconds = 0;
  double peak_bytes = 0;
  double idle_seconds = 0;  ///< that a rank waited for others, median over ranks; part of step_seconds
  std::map<std::string, Traffic> traffic = {};  ///< between ranks, by operation; rounds: the most of a rank
  double flops = 0, bytes = 0, messages = 0, rounds = 0;
  int64_t parameters = 0;
};

/// What a stage is run in: where it writes, whom it tells, when it must stop.
struct Surroundings {
  std::string directory = {};  ///< the run's; empty: nothing is written and nothing can be resumed
  /// What decides the result, by its hash: a checkpoint of another is refused; empty: none is.
  std::string recipe = {};
  std::function<Artifact(const std::string& ref)> artifact = {};  ///< resolves "stage" or "stage@50%" of InitSpec
  std::function<void(const std::string& place, const Artifact&)> milestone = {};  ///< publishes a milestone
  std::function<bool()> interrupted = {};                    ///< polled after each step: save and leave
  std::function<void(const class Progress&)> progress = {};  ///< at most a few times a second
  std::function<void(const MetricLine&)> metric = {};        ///< besides metrics.jsonl
  /// The other ranks; null: there are none. All fit the same stage with the same surroundings; the lowest rank that is
  /// there leads: it alone writes, calls `lead` when it begins to (not the one that leads from the start), and calls
  /// `publish` with the whole result before any other rank returns.
  Links* links = nullptr;
  std::function<void()> lead = {};
  std::function<void(const struct Fit&)> publish = {};
};

/// For the live line.
class Progress {
 public:
  std::string stage;
  Counters counters;
  Count stop;
  double loss = 0, grad_norm = 0;  ///< of the first pass, means since the last line of metrics; NaN: none yet
  double learning_rate = 0;        ///< of its first learner
  double step_seconds = 0;         ///< of the newest steps
  double wait_fraction = 0;        ///< share of the steps' time in which they waited for data
  double seconds_left = 0;         ///< evaluations and checkpoints included; NaN: nothing to tell it from
  bool resumed = false;
  bool leads = true;  ///< of the ranks that are there this one is first in line: on a terminal they share, it is shown
};

struct Fit {
  bool finished = false;  ///< false: interrupted, and saved
  Counters counters;
  std::map<std::string, double> values;          ///< last value of every metric
  std::vector<MetricLine> lines;                 ///< all evaluations (those before a resume too)
  std::map<std::string, std::vector<Row>> rows;  ///< of the last evaluation, by its name
  std::vector<std::string> weight_moves;         ///< a line for each init of the stage; none after a resume
  Cost cost;
  bool led = true;    ///< what follows and the values are complete on the rank that led at the end
  /// Nets of the first replica that is there (0, unless it has died) as "net/parameter"; those of any other, r, under
  /// "replica-r/net/parameter".
  Artifact artifact;
};

/// What an evaluation shows to techniques: all replicas at once, as each is, but for those that have died.
class Evaluation {
 public:
  int replicas() const { return static_cast<int>(parameters_.size()); }
  /// Every trained parameter of a replica. Required: Contract::gathers.
  const std::vector<Parameter>& parameters(int replica) const;
  /// Metrics ("valid/loss") of a replica's nets with these values in place of its parameters, which are put back.
  std::map<std::string, double> measure_with(const std::vector<Tensor>& values) const;
  void log(const std::string& name, double value);
  std::map<std::string, double> values;

 private:
  friend class Trainer;
  explicit Evaluation(Trainer& trainer) : trainer_(trainer) {}
  Trainer& trainer_;
  std::vector<std::vector<Parameter>> parameters_;
};

/// Checks a stage without training it: names, disjoint learners, slot owners, traits. Errors: Code::config.
/// Returns the plan that is printed before step one: who owns which slot, what acts where, in order.
std::string describe(const TrainStage& stage);

/// A parameter of a stage's nets. Errors: Code::config for options that give no net.
struct ParameterShape {
  std::string name;  ///< "model.lm_head.weight"
  std::vector<int64_t> shape;
  std::string learner;  ///< who moves it; "" for nobody
};
std::vector<ParameterShape> parameter_shapes(const TrainStage& stage);

/// The seed that a net of that name is initialised with in a stage with this seed.
uint64_t initial_seed(uint64_t seed, const std::string& net);

/// Trains a stage to its end, or resumes it when the directory holds a checkpoint of it.
/// Errors: see etude/base/error.h; after an error the last checkpoint is as it was.
Fit fit(const TrainStage& stage, const Surroundings& surroundings = {});

}  // namespace etude
