// Weights of a run, for those that use what was trained.

#include "etude/base/file.h"
#include "etude/optim/averaging.h"
#include "etude/tensor/safetensors.h"
#include "etude/train/run.h"
#include "etude/train/variants.h"

namespace etude {
namespace {

/// The tensors whose names begin with `prefix`, without it.
NamedTensors behind_prefix(const NamedTensors& tensors, const std::string& prefix) {
  NamedTensors found;
  for (const auto& [name, value] : tensors)
    if (name.starts_with(prefix)) found.emplace_back(name.substr(prefix.size()), value);
  return found;
}

/// The nets of replica 0 and the frozen ones, as "net/parameter".
NamedTensors nets_of(const Snapshot& snapshot) {
  NamedTensors nets = behind_prefix(snapshot.tensors, "replica-0/net/");
  for (auto& frozen : behind_prefix(snapshot.tensors, "frozen/")) nets.push_back(std::move(frozen));
  return nets;
}

NamedTensors variants_of(const Snapshot& snapshot) {
  NamedTensors kept;
  for (auto& [name, value] : behind_prefix(snapshot.tensors, "replica-0/store/"))
    if (name.starts_with(kVariants)) kept.emplace_back(name, value);
  return kept;
}

}  // namespace

NamedTensors trained_weights(const std::string& directory) {
  const std::string finished = directory + "/model.safetensors";
  if (file::exists(finished)) return read_safetensors(finished).tensors;
  // The run may be training: a checkpoint that goes while it is read has a newer one.
  constexpr int kAttempts = 3;
  std::optional<Snapshot> snapshot;
  for (int i = 0; i < kAttempts && !snapshot; ++i)
    snapshot = Checkpoints(directory, Checkpoints::Use::read).load_latest();
  if (!snapshot)
    throw Error(Code::checkpoint, "there is no trained model", directory,
                "etude run METHOD trains one and names its directory");
  NamedTensors nets = nets_of(*snapshot);
  add_variants(nets, variants_of(*snapshot));
  return nets;
}

NamedTensors average_of_steps(const std::string& directory, const std::vector<int64_t>& steps) {
  const Checkpoints checkpoints(directory, Checkpoints::Use::read);
  UniformMean mean;
  for (const int64_t step : steps)
    mean.add(nets_of(checkpoints.load(step)), directory + "/checkpoints, step " + std::to_string(step));
  return mean.mean();
}

NamedTensors averaged_weights(const std::string& directory, int64_t last) {
  ETUDE_CHECK(last > 0, "the mean of no checkpoints");
  const std::vector<int64_t> steps = Checkpoints(directory, Checkpoints::Use::read).steps();
  const auto there = static_cast<int64_t>(steps.size());
  if (there < last)
    throw Error(
        Code::checkpoint,
        "the mean of " + std::to_string(last) + " checkpoints is wanted, and there are " + std::to_string(there),
        directory + "/checkpoints",
        "checkpoint.every and checkpoint.keep of a recipe say how many a run makes and keeps");
  return average_of_steps(directory, {steps.end() - last, steps.end()});
}

}  // namespace etude
