#pragma once
// The stage graph: train, map and eval stages whose results are artifacts under a content hash. A stage whose
// artifact is stored is not run again, whoever made it: another seed, another arm, an earlier run.

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "etude/base/config.h"
#include "etude/train/trainer.h"

namespace etude {

/// The artifacts that a stage asked for, by reference.
class Inputs {
 public:
  explicit Inputs(std::map<std::string, Artifact> all) : all_(std::move(all)) {}
  /// "stage" or "stage@50%". Errors: Code::internal when the stage did not list it under `in`.
  const Artifact& at(const std::string& ref) const;

 private:
  std::map<std::string, Artifact> all_;
};

struct GraphStage {
  enum class Kind { train, map, eval } kind = Kind::map;
  std::string name = {};
  std::vector<std::string> in = {};                  ///< references to earlier stages
  Config spec = Config::table();                     ///< all that decides the content besides the inputs and the seed
  bool seeded = true;                                ///< false: one artifact for all seeds
  std::function<Artifact(const Inputs&)> make = {};  ///< map and eval
  std::function<TrainStage(const Inputs&)> train = {};  ///< train; its init may refer to `in`
};

class Graph {
 public:
  /// `directory`: where train stages keep their checkpoints, each below its name and key; empty: none is
  /// kept.
  Graph(ArtifactStore& store, uint64_t seed, std::string directory = {});

  /// Errors: Code::config for a second stage of a name, or an input that is not an earlier stage.
  void add(GraphStage stage);
  /// name#0 ... name#(times-1), each with the one before it among its inputs ("previous" is its reference).
  void repeat(const std::string& name, int times,
              const std::function<GraphStage(int turn, const std::string& previous)>& make);
  /// name[value] for each value.
  void foreach (const std::string& name, const std::vector<std::string>& values,
                const std::function<GraphStage(const std::string& value)>& make);

  /// The artifact of a stage, made with all that it stands on. An interrupted train stage throws
  /// Error(Code::interrupted) after its state was saved.
  Artifact get(const std::string& ref);
  /// The content hash of a reference.
  std::string key(const std::string& ref) const;
  /// Names of the stages that this object ran, in order.
  const std::vector<std::string>& ran() const { return ran_; }

  std::function<bool()> interrupted;
  std::function<void(const Progress&)> progress;
  /// The fit of a train stage that this object ran.
  const Fit* fit_of(const std::string& name) const;

 private:
  const GraphStage& stage(const std::string& ref) const;
  Artifact train(const GraphStage& stage, const Inputs& inputs);
  std::string directory_of(const GraphStage& stage) const;

  ArtifactStore& store_;
  uint64_t seed_;
  std::string directory_;
  std::vector<GraphStage> stages_;
  std::vector<std::string> ran_;
  std::map<std::string, Fit> fits_;
};

}  // namespace etude
