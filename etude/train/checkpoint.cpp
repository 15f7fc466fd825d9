#include "etude/train/checkpoint.h"

#include <unistd.h>

#include <algorithm>
#include <iomanip>
#include <set>
#include <sstream>

#include "etude/base/error.h"
#include "etude/base/file.h"
#include "etude/base/log.h"
#include "etude/tensor/safetensors.h"

namespace etude {
namespace {

constexpr int kSchema = 1;
const std::string kAside = ".tmp-";

/// "step-000000000400", or "step-000000000400.2" when that step was saved before.
std::string directory_name(int64_t step, int attempt) {
  std::ostringstream out;
  out << "step-" << std::setw(12) << std::setfill('0') << step;
  if (attempt > 1) out << '.' << attempt;
  return out.str();
}

bool is_checkpoint(const std::string& name) { return name.rfind("step-", 0) == 0; }

int64_t step_of(const std::string& name) {
  try {
    return std::stoll(name.substr(5));
  } catch (const std::exception&) {
    return -1;
  }
}

std::string chunk_name(const std::string& name, size_t chunk) { return file::sha256(name).substr(0, 16) + "-" + std::to_string(chunk) + ".safetensors"; }

NamedTensors named(const Segments::Chunk& chunk) { return {chunk.begin(), chunk.end()}; }

nlohmann::json read_manifest(const std::string& directory) {
  const std::string path = directory + "/manifest.json";
  if (!file::exists(path)) throw Error(Code::checkpoint, "there is no manifest", directory, "it was not completely written");
  nlohmann::json manifest = nlohmann::json::parse(file::read(path), nullptr, false);
  if (manifest.is_discarded() || !manifest.is_object() || !manifest.contains("body") || !manifest.contains("sha256") || !manifest["sha256"].is_string())
    throw Error(Code::checkpoint, "the manifest cannot be read", path, "it is damaged");
  if (file::sha256(manifest["body"].dump()) != manifest["sha256"]) throw Error(Code::checkpoint, "the manifest does not have its own hash", path, "it is damaged");
  if (manifest["body"].value("schema", 0) != kSchema) throw Error(Code::checkpoint, "the manifest's schema is " + manifest["body"].value("schema", nlohmann::json(0)).dump() + ", not " + std::to_string(kSchema), path, "it was written by another version");
  return manifest["body"];
}

/// The bytes of a file, if they are those that the manifest counts.
std::string read_verified(const std::string& path, const nlohmann::json& entry) {
  if (!file::exists(path)) throw Error(Code::checkpoint, "the file is missing", path, "it is damaged");
  std::string bytes = file::read(path);
  if (static_cast<int64_t>(bytes.size()) != entry.at("bytes").get<int64_t>())
    throw Error(Code::checkpoint, "the file has " + std::to_string(bytes.size()) + " bytes, expected " + entry.at("bytes").dump(), path, "it is damaged");
  if (file::sha256(bytes) != entry.at("sha256").get<std::string>()) throw Error(Code::checkpoint, "the file's content does not have the hash of the manifest", path, "it is damaged");
  return bytes;
}

Snapshot read_checkpoint(const std::string& run, const std::string& name) {
  const std::string directory = run + "/checkpoints/" + name;
  const nlohmann::json body = read_manifest(directory);
  Snapshot snapshot;
  snapshot.step = body.at("step");
  if (snapshot.step != step_of(name)) throw Error(Code::checkpoint, "the manifest is of step " + std::to_string(snapshot.step), directory, "it was moved or renamed");
  const auto& files = body.at("files");
  snapshot.tensors = parse_safetensors(read_verified(directory + "/state.safetensors", files.at("state.safetensors")), directory + "/state.safetensors").tensors;
  nlohmann::json state = nlohmann::json::parse(read_verified(directory + "/state.json", files.at("state.json")));
  snapshot.host = std::move(state);
  for (const auto& [segment, entry] : body.at("segments").items()) {
    std::vector<Segments::Chunk> chunks;
    for (const auto& full : entry.at("full")) {
      const std::string path = run + "/segments/" + full.at("file").get<std::string>();
      const auto parsed = parse_safetensors(read_verified(path, full), path);
      chunks.emplace_back(parsed.tensors.begin(), parsed.tensors.end());
    }
    if (entry.at("tail").get<bool>()) {
      Segments::Chunk tail;
      const std::string prefix = "segment-tail/" + segment + "/";
      std::erase_if(snapshot.tensors, [&](const auto& t) {
        if (t.first.rfind(prefix, 0) != 0) return false;
        tail[t.first.substr(prefix.size())] = t.second;
        return true;
      });
      chunks.push_back(std::move(tail));
    }
    snapshot.loaded_segments[segment].restore(std::move(chunks));
  }
  return snapshot;
}

}  // namespace

Checkpoints::Checkpoints(std::string directory) : directory_(std::move(directory)) {
  const std::string all = directory_ + "/checkpoints";
  for (const std::string& name : file::list(all))
    if (name.rfind(kAside, 0) == 0) file::remove_all(all + "/" + name);
}

void Checkpoints::save(const Snapshot& snapshot, int64_t keep, bool milestone) {
  const std::string all = directory_ + "/checkpoints";
  file::make_directories(all);
  const std::string aside = all + "/" + kAside + std::to_string(snapshot.step) + "-" + std::to_string(getpid());
  file::remove_all(aside);
  std::string name;
  try {
    file::make_directories(aside);
    nlohmann::json body = {{"schema", kSchema}, {"step", snapshot.step}, {"milestone", milestone}, {"segments", nlohmann::json::object()}};
    NamedTensors tensors = snapshot.tensors;
    for (const auto& [segment, rows] : snapshot.segments) {
      nlohmann::json entry = {{"full", nlohmann::json::array()}, {"tail", false}};
      for (size_t c = 0; c < rows->chunks().size(); ++c) {
        const Segments::Chunk& chunk = rows->chunks()[c];
        if (chunk.begin()->second.size(0) < Segments::kChunk) {
          entry["tail"] = true;
          for (const auto& [column, value] : chunk) tensors.emplace_back("segment-tail/" + segment + "/" + column, value);
          continue;
        }
        const std::string chunk_file = chunk_name(segment, c), path = directory_ + "/segments/" + chunk_file;
        const std::string bytes = to_safetensors(named(chunk));
        const std::string hash = file::sha256(bytes);
        file::make_directories(directory_ + "/segments");
        if (!file::exists(path) || file::size(path) != static_cast<int64_t>(bytes.size()) || file::sha256_file(path) != hash) file::write_atomically(path, bytes);
        entry["full"].push_back({{"file", chunk_file}, {"bytes", bytes.size()}, {"sha256", hash}});
      }
      body["segments"][segment] = std::move(entry);
    }
    const std::string state_hash = write_safetensors(aside + "/state.safetensors", tensors);
    const std::string host = snapshot.host.dump();
    {
      file::Writer out(aside + "/state.json", file::Writer::Mode::create);
      out.write(host);
      out.sync();
    }
    body["files"] = {{"state.safetensors", {{"bytes", file::size(aside + "/state.safetensors")}, {"sha256", state_hash}}}, {"state.json", {{"bytes", host.size()}, {"sha256", file::sha256(host)}}}};
    {
      file::Writer out(aside + "/manifest.json", file::Writer::Mode::create);
      out.write(nlohmann::json{{"body", body}, {"sha256", file::sha256(body.dump())}}.dump());
      out.sync();
    }
    file::sync_directory(aside);
    int attempt = 1;
    while (file::exists(all + "/" + directory_name(snapshot.step, attempt))) ++attempt;
    name = directory_name(snapshot.step, attempt);
    file::rename_durably(aside, all + "/" + name);
  } catch (const Error&) {
    try {
      file::remove_all(aside);
    } catch (const Error& second) {
      note(second.what());
    }
    throw;
  }

  // Only a checkpoint that can be read back may take the place of an older one.
  read_checkpoint(directory_, name);
  std::vector<std::string> names;
  for (const std::string& other : file::list(all))
    if (is_checkpoint(other) && other != name) names.push_back(other);
  std::sort(names.begin(), names.end(), [](const auto& a, const auto& b) { return step_of(a) > step_of(b); });
  int64_t kept = 1;
  std::set<std::string> used;
  auto use = [&](const nlohmann::json& body) {
    for (const auto& [segment, entry] : body.at("segments").items())
      for (const auto& full : entry.at("full")) used.insert(full.at("file"));
  };
  use(read_manifest(all + "/" + name));
  for (const std::string& other : names) {
    bool is_milestone = false;
    nlohmann::json body;
    try {
      body = read_manifest(all + "/" + other);
      is_milestone = body.at("milestone");
    } catch (const Error& damaged) {
      note(damaged.what());
    }
    const bool same_step = step_of(other) == snapshot.step;
    if (!same_step && (is_milestone || (!body.is_null() && kept < keep))) {
      kept += is_milestone ? 0 : 1;
      use(body);
      continue;
    }
    file::remove_all(all + "/" + other);
  }
  for (const std::string& chunk : file::list(directory_ + "/segments"))
    if (!used.count(chunk)) file::remove_all(directory_ + "/segments/" + chunk);
}

std::optional<Snapshot> Checkpoints::load_latest(std::vector<std::string>* damage) const {
  std::vector<std::string> names;
  for (const std::string& name : file::list(directory_ + "/checkpoints"))
    if (is_checkpoint(name)) names.push_back(name);
  std::sort(names.begin(), names.end(), [](const auto& a, const auto& b) { return std::pair(step_of(a), a) > std::pair(step_of(b), b); });
  for (const std::string& name : names) {
    try {
      return read_checkpoint(directory_, name);
    } catch (const Error& error) {
      if (damage) damage->push_back(name + ": " + error.what());
    } catch (const nlohmann::json::exception& error) {
      if (damage) damage->push_back(name + ": a field of the manifest is missing or wrong");
    }
  }
  return std::nullopt;
}

Snapshot Checkpoints::load(int64_t step) const {
  for (const std::string& name : file::list(directory_ + "/checkpoints"))
    if (is_checkpoint(name) && step_of(name) == step) return read_checkpoint(directory_, name);
  throw Error(Code::checkpoint, "there is no checkpoint of step " + std::to_string(step), directory_ + "/checkpoints");
}

std::vector<int64_t> Checkpoints::steps() const {
  std::vector<int64_t> all;
  for (const std::string& name : file::list(directory_ + "/checkpoints"))
    if (is_checkpoint(name)) all.push_back(step_of(name));
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace etude
