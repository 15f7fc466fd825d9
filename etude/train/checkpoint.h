#pragma once
// Checkpoints: safetensors plus a hashed manifest, written aside, fsynced, renamed, parent fsynced.
//
//   checkpoints/step-000000000400/
//     state.safetensors      every tensor of the run state
//     state.json             counters, numbers, positions
//     manifest.json          written last: schema, step, parent, and size and SHA-256 of each file
//   segments/<name>-<chunk>.safetensors     full chunks of append-only memories, written once, named in manifests
//
// A reader accepts a directory only when its manifest parses and every file has its size and hash. Damage is
// named, and the previous checkpoint is used.

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "etude/tensor/tensor.h"
#include "etude/train/store.h"

namespace etude {

struct Snapshot {
  int64_t step = 0;
  NamedTensors tensors;
  nlohmann::json host;                               ///< everything else
  std::map<std::string, const Segments*> segments;   ///< by name, for saving
  std::map<std::string, Segments> loaded_segments;   ///< by name, after loading
};

class Checkpoints {
 public:
  /// `directory` is the run's; checkpoints/ and segments/ lie below it. Removes what dead writers left aside.
  explicit Checkpoints(std::string directory);

  /// Durable when it returns. Then removes all but the newest `keep` and the kept ones (milestones); a checkpoint is only
  /// removed after the new one was verified by reading it back. Saving a step again replaces it. A failed save
  /// leaves no trace and the older ones untouched; Errors: Code::io.
  void save(const Snapshot& snapshot, int64_t keep, bool milestone = false);
  /// The newest one that is whole. Damaged ones are described in `damage` ("step 400: state.safetensors is 12 bytes, expected ...").
  std::optional<Snapshot> load_latest(std::vector<std::string>* damage = nullptr) const;
  /// Errors: Code::checkpoint.
  Snapshot load(int64_t step) const;
  std::vector<int64_t> steps() const;   ///< ascending, whole or not

 private:
  std::string directory_;
};

}  // namespace etude
