#pragma once
// Checkpoints: safetensors plus a hashed manifest, written aside, fsynced, renamed, parent fsynced.
//
//   checkpoints/step-000000000400/    step-000000000400.2 when that step was saved before
//     state.safetensors      every tensor of the run state
//     state.json             counters, numbers, positions
//     tails.safetensors      the last, unfinished chunks of append-only memories, if there are any
//     manifest.json          written last: schema, step, milestone, size and SHA-256 of each file and chunk
//   segments/<name>-<chunk>-<hash>.safetensors   full chunks of append-only memories, written once
//
// A reader accepts a directory only when its manifest parses and every file has its size and hash. Damage is
// named, and the previous checkpoint is used. The order is that of the steps in the manifests, never of time.

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "etude/tensor/tensor.h"
#include "etude/train/store.h"

namespace etude {

struct Snapshot {
  int64_t step = 0;
  NamedTensors tensors;
  nlohmann::json host;                              ///< everything else; survives to the bit, see sealed::to_text
  std::map<std::string, const Segments*> segments;  ///< by name, for saving
  std::map<std::string, Segments> loaded_segments;  ///< by name, after loading
};

class Checkpoints {
 public:
  enum class Use { write, read };
  /// `directory` is the run's; checkpoints/ and segments/ lie below it. A writer, who holds the run, removes what dead
  /// ones left aside; a reader changes nothing, and another process may be writing.
  explicit Checkpoints(std::string directory, Use use = Use::write);

  /// Durable when it returns. Only then, after it was verified by reading it back, it removes all but the newest
  /// `keep` and the milestones, and the later steps, which a run that went back has given up. Saving a step again
  /// replaces it; a milestone stays one. A failed save leaves no trace and the older ones untouched;
  /// Errors: Code::io. Failing to remove older ones is only a warning.
  void save(const Snapshot& snapshot, int64_t keep, bool milestone = false);
  /// The newest one that is whole. Damaged ones are described in `damage` ("step 400: state.safetensors has 12
  /// bytes, expected ..."). Errors: Code::checkpoint if one that is not damaged was written by another version.
  std::optional<Snapshot> load_latest(std::vector<std::string>* damage = nullptr) const;
  /// Errors: Code::checkpoint.
  Snapshot load(int64_t step) const;
  std::vector<int64_t> steps() const;  ///< ascending, whole or not

 private:
  struct WrittenChunk {
    Tensor first;          ///< the first column: which chunk this was
    nlohmann::json entry;  ///< its line in the manifest
  };
  using WrittenChunks = std::map<std::pair<std::string, size_t>, WrittenChunk>;
  /// The manifest's table of segments. `fresh` gets the paths of the files that it wrote.
  nlohmann::json write_segments(const Snapshot& snapshot, NamedTensors& tails, WrittenChunks& written,
                                std::vector<std::string>& fresh) const;
  nlohmann::json write_chunk(const std::string& segment, size_t index, const Segments::Chunk& chunk,
                             std::vector<std::string>& fresh) const;
  void prune(int64_t newest, int64_t keep) const;

  std::string directory_;
  bool settled_ = false;   ///< the directories themselves are known to be durable
  WrittenChunks written_;  ///< of the last save
};

}  // namespace etude
