#pragma once
// A run on disk: where it lives, what it leaves, and what "the same command" means.
//
//   runs/<method>-<arm>/<hash of the resolved recipe>-s<seed>/
//     recipe.toml         resolved: every default written out
//     data.json           the cards of its data sets; a run goes on with the same data only
//     tokenizer/          what reads its texts, unless that is bytes
//     metrics.jsonl       a line per measurement
//     events.out.tfevents.<n>   the same for TensorBoard, a file per process that wrote them
//     checkpoints/        the newest states
//     rows/<eval>.jsonl   a line per sample of the last evaluation
//     model.safetensors   the nets of replica 0
//     result.json         written last: the run is finished
//     log.txt             all messages, of every process that worked on it (of ranks: the leading one)
//     ranks/<r>.txt       messages of rank r of the last start over several ranks (--nproc)
//     lock
//
// The same recipe and seed have the same directory, so the same command goes on with a run, or finds it finished.

#include <functional>
#include <string>

#include "etude/train/recipe.h"
#include "etude/train/trainer.h"

namespace etude {

inline constexpr const char* kTokenizerFolder = "tokenizer";

struct RunSettings {
  std::string out = "runs";
  bool fresh = false;                 ///< removes what is there first
  std::function<bool()> interrupted;  ///< polled after each step: save and leave
  std::function<void(const Progress&)> progress;
  Links* links = nullptr;  ///< the other ranks that train it, each with the same settings; null: there are none
};

struct Outcome {
  std::string directory;
  bool finished = false;
  bool was_finished = false;  ///< nothing was trained
  bool led = true;            ///< this rank wrote; the values of others are incomplete
  std::map<std::string, double> values;
  Cost cost;
};

/// Trains a recipe, goes on with it, or finds it finished. Tells what differs from earlier runs of the same arm
/// and seed. Errors: Code::checkpoint if another process works on it; Code::io where nothing can be written; see fit().
Outcome run_recipe(const Recipe& recipe, const Registry& registry, const RunSettings& settings);
/// The directory of a recipe's run.
std::string run_directory(const Recipe& recipe, const std::string& out);
/// Whether that directory holds a finished run.
bool is_finished(const std::string& directory);
/// The weights of a run's nets, as "net/parameter": of a finished run, else those of its newest checkpoint. Averages
/// that a technique kept are nets of their own, "model@ema/...": see etude/train/variants.h. Errors: Code::checkpoint
/// when there is neither.
NamedTensors trained_weights(const std::string& directory);
/// The mean of the nets of replica 0, as "net/parameter" and without averages that a technique kept, over checkpoints
/// of a run: the `last` ones, or those of these steps; each with the same weight, summed in double. Errors:
/// Code::checkpoint when one isn't there or is damaged.
NamedTensors averaged_weights(const std::string& directory, int64_t last);
NamedTensors average_of_steps(const std::string& directory, const std::vector<int64_t>& steps);
/// "Intel(R) Xeon(R) ...", from the kernel.
std::string processor_name();
/// Cores this process may use.
int available_cores();
/// The commit of the checkout that the program lies in; "" if it lies in none.
std::string source_commit();

}  // namespace etude
