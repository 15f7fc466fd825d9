#pragma once
// Recipes: TOML files that say everything about a run, and how they become training stages.
//
//   extends = "_base"                        another recipe of the same folder, merged below this one
//   seed = 0
//   threads = 1
//   replicas = 8
//   accumulate = 1
//   device = "cpu"
//   precision = "fp32"                       "bf16" is short for [[with]] kind = "bf16"
//   recompute = false
//   stop = "400 steps"
//   [data]        kind = "text", path = "builtin:web", ...
//   [net.model]   kind = "decoder", dim = 64, ...
//   [source]      batch = 4 (per replica), shards = 8, shuffle = true
//   [[learner]]   name, params, optimizer = { kind = "adam", lr = "..." }, clip
//   [[pass]]      name, objective = { kind = "next_token" }, learners, times, every
//   [[with]]      kind = "noloco", ...       techniques, in order
//   [evaluate]    every, batches, batch, rows
//   [checkpoint]  every, keep, milestones
//   [profile.smoke] ... [profile.small] ...  overlays chosen by --profile

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "etude/base/options.h"
#include "etude/train/registry.h"
#include "etude/train/stage.h"
#include "etude/train/stream_source.h"

namespace etude {

struct PassOptions {
  std::string name = "train";
  Part objective;
  std::vector<std::string> learners = {"model"};
  int64_t times = 1, every = 1;
  template <class V>
  void fields(V& v) {
    v("name", name, "how the log calls it");
    v("objective", objective, "kind and options of what is minimised");
    v("learners", learners, "who moves");
    v("times", times, at_least(1), "repetitions within a step");
    v("every", every, at_least(1), "in every n-th step");
  }
};

struct EvaluateOptions {
  Count every{50, Unit::steps};
  int64_t batches = 8, batch = 16;
  bool rows = true;
  template <class V>
  void fields(V& v) {
    v("every", every, "cadence; 0: at the end only");
    v("batches", batches, at_least(1), "batches of the validation split");
    v("batch", batch, at_least(1), "samples in such a batch");
    v("rows", rows, "keep one value per sample of the last evaluation");
  }
};

struct CheckpointOptions {
  Count every{200, Unit::steps};
  int64_t keep = 2;
  std::vector<Count> milestones;
  template <class V>
  void fields(V& v) {
    v("every", every, "cadence; 0: at the end and when interrupted only");
    v("keep", keep, at_least(1), "newest checkpoints kept");
    v("milestones", milestones, "places whose checkpoint is kept for ever");
  }
};

struct RecipeOptions {
  int64_t seed = 0, threads = 1, replicas = 1, accumulate = 1;
  std::string device = "cpu";
  std::string precision = "fp32";
  bool recompute = false;
  Count stop{400, Unit::steps}, log{10, Unit::steps};
  std::string about;
  Part data;
  std::map<std::string, Part> net;  ///< [net.NAME]; read apart from the fields, as the names are the user's
  SourceOptions source;
  std::vector<LearnerSpec> learner;
  std::vector<PassOptions> pass;
  std::vector<Part> with;
  EvaluateOptions evaluate;
  CheckpointOptions checkpoint;
  template <class V>
  void fields(V& v) {
    v("about", about, "one line for tables");
    v("seed", seed, at_least(0), "of all randomness");
    v("threads", threads, within(1, 1024), "of arithmetic; part of the result");
    v("replicas", replicas, within(1, 4096), "copies of the model that train side by side");
    v("accumulate", accumulate, at_least(1), "micro-batches per batch");
    v("device", device, any(), "where nets and batches are: cpu, cuda, cuda:1, ...");
    v("precision", precision, one_of({"fp32", "bf16"}),
      "number format of the operands of products; weights, sums, norms and losses are fp32 in both");
    v("recompute", recompute, "less memory for more time: blocks compute their inside again in the backward");
    v("stop", stop, positive(), "when the run ends");
    v("log", log, "cadence of training metrics");
    v("data", data, "kind and options of the data set");
    v("source", source, "how batches are drawn");
    v("learner", learner, "sets of parameters with an optimizer");
    v("pass", pass, "what is minimised for whom");
    v("with", with, "techniques, in order");
    v("evaluate", evaluate, "evaluation on the validation split");
    v("checkpoint", checkpoint, "when the state is saved");
  }
};

/// A recipe that was read, with profile and overrides merged, checked, and every default written out.
struct Recipe {
  std::string method, arm;  ///< "noloco", "diloco"; method is "own" for a file of the user's
  std::string profile;
  std::vector<std::string> profiles;  ///< that it has to choose from
  RecipeOptions options;
  Config written;   ///< what was said, each value with its place; options left to their defaults are absent
  Config resolved;  ///< canonical; reading it again gives the same recipe
  /// First 12 hexadecimal digits of the SHA-256 of everything but the seed and the line about it.
  std::string hash() const;
  /// "<method>-<arm>/<hash>-s<seed>"
  std::string run_name() const;
};

/// Reads `text` (a recipe's TOML). `sibling` resolves `extends`. Errors: Code::config with places and hints.
Recipe read_recipe(const std::string& text, const std::string& file_name,
                   const std::function<std::string(const std::string&)>& sibling, const std::string& profile,
                   const std::vector<std::string>& overrides, const Registry& registry);
/// The arm of a method from the embedded assets "methods/<slug>/arms/<arm>.toml".
Recipe builtin_recipe(const std::string& method, const std::string& arm, const std::string& profile,
                      const std::vector<std::string>& overrides, const Registry& registry);
/// Arms of a method in alphabetical order (files that begin with "_" are no arms).
std::vector<std::string> arms(const std::string& method);

/// Opens data and makes the stage. Errors: Code::config, Code::data.
TrainStage make_stage(const Recipe& recipe, const Registry& registry);

/// Fixed validation batches, evenly spread over the split.
EvalSpec validation(std::shared_ptr<Dataset> data, std::shared_ptr<Objective> objective,
                    const EvaluateOptions& options);

}  // namespace etude
