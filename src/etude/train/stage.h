#pragma once
// A training stage as C++ sees it: what a recipe's tables, or a program, put together.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "etude/base/counters.h"
#include "etude/data/source.h"
#include "etude/data/tokenizer.h"
#include "etude/train/hooks.h"
#include "etude/train/step.h"

namespace etude {

/// Where batches come from, as a pass sees it.
class Source {
 public:
  enum class Kind {
    pure,      ///< batch i is a function of (data, seed, i): resume in O(1), prefetch, elastic
    stateful,  ///< keeps a memory in the run state
    on_policy  ///< draws on the nets being trained
  };
  virtual ~Source() = default;
  virtual Kind kind() const = 0;
  /// The batch of this replica. May be empty. `rows`: how many samples a plan's owner asks for; -1: as configured.
  virtual Batch next(Step& step, int64_t rows) = 0;
  /// Called once after all replicas have taken their step.
  virtual void advance(Step& step) { (void)step; }
  /// How often the data has been gone through, all replicas together; 0 where that means nothing. The counter
  /// `epochs` is that of the stage's first source.
  virtual double epochs(Step& step) const {
    (void)step;
    return 0;
  }
  virtual double waited_seconds() const { return 0; }
  /// Of the data set behind it, if it is one.
  virtual std::optional<DataCard> card() const { return std::nullopt; }
};

/// "Minimise this objective on this source for these learners."
struct Pass {
  std::string name = "train";
  std::shared_ptr<Objective> objective = {};
  std::string source = "train";
  std::vector<std::string> learners = {"model"};
  int times = 1;       ///< repetitions within a step, each with a batch of its own (unless reuse)
  int every = 1;       ///< in every n-th step
  bool reuse = false;  ///< takes the batch that an earlier pass of this step drew from the same source
};

/// A module with a role. Trained nets have one copy per replica; frozen ones are shared.
struct NetSpec {
  std::string name = "model";
  std::function<std::shared_ptr<Net>()> make;
  std::string role = "trained";  ///< trained | frozen | follows
  /// Of the stored weights that it begins from, if it does. A run goes on with the same only.
  std::function<DataCard()> card = {};
};

/// Evaluates an objective on a fixed part of a source.
struct EvalSpec {
  std::string name = "valid";  ///< metrics are called "valid/loss"
  std::shared_ptr<Objective> objective = {};
  std::function<Batch(int64_t i)> batch = {};  ///< batch i of `batches`
  int64_t batches = 1;
  bool rows = false;  ///< keep per-sample values of the last evaluation
};

struct CheckpointSpec {
  Count every{0, Unit::steps};    ///< 0: only at the end and when interrupted
  int64_t keep = 2;               ///< newest ones kept besides milestones
  std::vector<Count> milestones;  ///< kept for ever and published as NAME@PLACE
};

/// Moves weights in: "model" <- "pretrain/model", strict unless told otherwise.
struct InitSpec {
  std::string from = {};  ///< artifact "stage" or "stage@50%"
  std::string net = "model", to = "model";
  std::vector<std::pair<std::string, std::string>> rename = {};  ///< prefix -> prefix, first match
  std::vector<std::string> drop = {};                            ///< prefixes of the artifact not wanted
  std::vector<std::string> fresh = {};  ///< prefixes of the net that keep their own initial values
};

struct TrainStage {
  std::string name = "train";
  uint64_t seed = 0;
  std::vector<NetSpec> nets;
  std::vector<LearnerSpec> learners;
  std::vector<std::pair<std::string, std::shared_ptr<Source>>> sources;
  std::shared_ptr<const Tokenizer> tokenizer;  ///< of its texts, if they are texts: a run keeps a copy of its files
  std::vector<Pass> passes;
  std::vector<std::shared_ptr<Technique>> with;
  std::vector<EvalSpec> evaluations;
  std::vector<InitSpec> init;
  int replicas = 1;
  int accumulate = 1;          ///< micro-batches per batch
  std::string device = "cpu";  ///< where nets, their state and batches are: see etude/train/device.h
  bool recompute = false;      ///< residual blocks compute their inside again in the backward: Ctx::recompute
  Count stop{100, Unit::steps};
  Count evaluate{0, Unit::steps};  ///< cadence; 0: at the end only
  Count log{1, Unit::steps};       ///< cadence of training metrics
  CheckpointSpec checkpoint;
};

}  // namespace etude
