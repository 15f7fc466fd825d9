#pragma once
// A run on disk: where it lives, what it leaves, and what "the same command" means.
//
//   runs/<method>-<arm>/<hash of the resolved recipe>-s<seed>/
//     recipe.toml      resolved: every default written out
//     metrics.jsonl    a line per measurement
//     checkpoints/     the newest states
//     rows/<eval>.jsonl   a line per sample of the last evaluation
//     model.safetensors   the nets of replica 0
//     result.json      written last: the run is finished
//     lock

#include <functional>
#include <string>

#include "etude/train/recipe.h"
#include "etude/train/trainer.h"

namespace etude {

struct RunSettings {
  std::string out = "runs";
  bool fresh = false;                                   ///< removes what is there first
  std::function<bool()> interrupted;
  std::function<void(const Progress&)> progress;
};

struct Outcome {
  std::string directory;
  bool finished = false;
  bool was_finished = false;   ///< nothing was trained
  std::map<std::string, double> values;
  Cost cost;
};

/// Trains a recipe, goes on with it, or finds it finished. Errors: see fit().
Outcome run_recipe(const Recipe& recipe, const Registry& registry, const RunSettings& settings);
/// The directory of a recipe's run.
std::string run_directory(const Recipe& recipe, const std::string& out);
/// Whether that directory holds a finished run.
bool is_finished(const std::string& directory);
/// "Intel(R) Xeon(R) ...", from the kernel.
std::string processor_name();
/// Cores this process may use.
int available_cores();

}  // namespace etude
