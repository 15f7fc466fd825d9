#include "etude/train/artifact.h"

#include <chrono>
#include <thread>

#include "etude/base/error.h"
#include "etude/base/log.h"
#include "etude/tensor/safetensors.h"
#include "etude/train/sealed.h"

namespace etude {
namespace {

constexpr int kSchema = 1;
constexpr const char *kTensors = "tensors.safetensors", *kValues = "values.json";

Artifact read_artifact(const std::string& path, const std::string& key) {
  const nlohmann::json manifest = sealed::read_manifest(path);
  if (manifest.value("schema", nlohmann::json()) != kSchema || manifest.value("key", nlohmann::json()) != key) {
    throw Error(Code::checkpoint, "the manifest is of another artifact or version", path);
  }
  const auto bytes = [&](const char* name) {
    return sealed::read_file(path + "/" + name, manifest["files"].value(name, nlohmann::json()));
  };
  return {parse_safetensors(bytes(kTensors), path + "/" + kTensors).tensors,
          sealed::from_text(bytes(kValues), path + "/" + kValues)};
}

}  // namespace

ArtifactStore::ArtifactStore(std::string directory)
    : directory_(std::move(directory)), memory_(std::make_shared<std::map<std::string, Artifact>>()) {
  if (directory_.empty()) return;
  file::make_directories(directory_);
  sealed::remove_leftovers(directory_);
}

bool ArtifactStore::has(const std::string& key) const {
  return directory_.empty() ? memory_->count(key) > 0 : file::exists(directory_ + "/" + key);
}

Artifact ArtifactStore::get(const std::string& key) const {
  if (!has(key)) {
    throw Error(Code::checkpoint, "there is no artifact " + key, directory_.empty() ? "memory" : directory_,
                "run the stage that makes it");
  }
  if (directory_.empty()) return memory_->at(key);
  const std::string path = directory_ + "/" + key;
  try {
    return read_artifact(path, key);
  } catch (const Error& error) {
    if (error.code() != Code::checkpoint) throw;
    throw Error(Code::checkpoint, "artifact " + key + " is damaged: " + error.message(), error.where(),
                "remove " + path + " to have it made again");
  }
}

void ArtifactStore::put(const std::string& key, const Artifact& artifact) {
  if (has(key)) return;
  if (directory_.empty()) {
    Artifact own = artifact;
    for (auto& [name, value] : own.tensors) value = value.detach().clone();
    memory_->emplace(key, std::move(own));
    return;
  }
  sealed::Draft draft(directory_, key);
  draft.add(kTensors, artifact.tensors);
  draft.add(kValues, sealed::to_text(artifact.values));
  try {
    draft.publish(directory_ + "/" + key, {{"schema", kSchema}, {"key", key}});
  } catch (const Error&) {
    if (!has(key)) throw;  // else another one was faster, with the same content
  }
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
