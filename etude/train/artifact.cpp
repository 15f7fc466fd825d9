#include "etude/train/artifact.h"

#include <unistd.h>

#include <thread>

#include "etude/base/error.h"
#include "etude/base/log.h"
#include "etude/tensor/safetensors.h"

namespace etude {

ArtifactStore::ArtifactStore(std::string directory) : directory_(std::move(directory)), memory_(std::make_shared<std::map<std::string, Artifact>>()) {
  if (!directory_.empty()) file::make_directories(directory_);
}

bool ArtifactStore::has(const std::string& key) const { return directory_.empty() ? memory_->count(key) > 0 : file::exists(directory_ + "/" + key + "/manifest.json"); }

Artifact ArtifactStore::get(const std::string& key) const {
  if (directory_.empty()) {
    auto it = memory_->find(key);
    if (it == memory_->end()) throw Error(Code::checkpoint, "there is no artifact " + key, "memory");
    return it->second;
  }
  const std::string path = directory_ + "/" + key;
  const std::string hint = "remove " + path + " to have it made again";
  if (!has(key)) throw Error(Code::checkpoint, "there is no artifact " + key, directory_);
  const nlohmann::json manifest = nlohmann::json::parse(file::read(path + "/manifest.json"), nullptr, false);
  const std::string tensors = file::read(path + "/tensors.safetensors"), values = file::read(path + "/values.json");
  if (manifest.is_discarded() || manifest.value("tensors", "") != file::sha256(tensors) || manifest.value("values", "") != file::sha256(values))
    throw Error(Code::checkpoint, "the artifact's content does not have the hashes of its manifest", path, hint);
  return {parse_safetensors(tensors, path).tensors, nlohmann::json::parse(values)};
}

void ArtifactStore::put(const std::string& key, const Artifact& artifact) {
  if (has(key)) return;
  if (directory_.empty()) {
    Artifact own = artifact;
    for (auto& [name, value] : own.tensors) value = value.detach().clone();
    memory_->emplace(key, std::move(own));
    return;
  }
  const std::string aside = directory_ + "/.tmp-" + key + "-" + std::to_string(getpid());
  file::remove_all(aside);
  file::make_directories(aside);
  const std::string tensors = write_safetensors(aside + "/tensors.safetensors", artifact.tensors);
  const std::string values = artifact.values.dump();
  file::write_atomically(aside + "/values.json", values);
  file::write_atomically(aside + "/manifest.json", nlohmann::json{{"tensors", tensors}, {"values", file::sha256(values)}}.dump());
  file::rename_durably(aside, directory_ + "/" + key);
}

std::unique_ptr<file::Lock> ArtifactStore::make(const std::string& key) const {
  if (directory_.empty()) return nullptr;
  for (bool told = false;; told = true) {
    try {
      return std::make_unique<file::Lock>(directory_ + "/" + key + ".lock");
    } catch (const Error& busy) {
      if (busy.code() != Code::checkpoint) throw;
      if (!told) inform("waiting for another run that makes artifact " + key.substr(0, 12));
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }
}

}  // namespace etude
