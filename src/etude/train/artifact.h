#pragma once
// Artifacts: what stages store, under a content hash, shared between arms and seeds.
//
//   <store>/<key>/{tensors.safetensors, values.json, manifest.json}   sealed, see etude/train/sealed.h
//   <store>/<key>.lock                                                held while the key is being made
//
// The key is the hash of all that decides the content: the stage's resolved options, the seed if the stage depends on
// it, the keys of its inputs, the hashes of its data.

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "etude/base/file.h"
#include "etude/tensor/tensor.h"

namespace etude {

struct Artifact {
  NamedTensors tensors;                              ///< nets as "net/parameter", data sets, tables of numbers
  nlohmann::json values = nlohmann::json::object();  ///< anything else, and results; survives to the bit
};

class ArtifactStore {
 public:
  /// An empty directory keeps artifacts in memory only. Removes what dead writers left aside.
  explicit ArtifactStore(std::string directory = {});
  bool has(const std::string& key) const;
  /// Errors: Code::checkpoint when it is missing or damaged.
  Artifact get(const std::string& key) const;
  /// Atomic; publishing under a key that is there already changes nothing.
  void put(const std::string& key, const Artifact& artifact);
  /// Held while a stage with this key is being made, so that two runs make it once: the second waits.
  /// An empty handle in memory.
  std::unique_ptr<file::Lock> make(const std::string& key) const;
  const std::string& directory() const { return directory_; }

 private:
  std::string directory_;
  std::shared_ptr<std::map<std::string, Artifact>> memory_;
};

}  // namespace etude
