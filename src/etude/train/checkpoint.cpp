#include "etude/train/checkpoint.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <set>

#include "etude/base/error.h"
#include "etude/base/file.h"
#include "etude/base/log.h"
#include "etude/tensor/safetensors.h"
#include "etude/train/sealed.h"

namespace etude {
namespace {

constexpr int kSchema = 2;
constexpr const char *kState = "state.safetensors", *kHost = "state.json", *kTails = "tails.safetensors";

/// The directory "step-000000000400", or "step-000000000400.2" when that step was saved before.
struct Place {
  static constexpr int kMostAttempts = 1'000'000;
  int64_t step = 0;
  int attempt = 1;

  auto operator<=>(const Place&) const = default;
  std::string name() const {
    char text[64];
    std::snprintf(text, sizeof text, "step-%012lld", static_cast<long long>(step));
    return attempt == 1 ? text : std::string(text) + "." + std::to_string(attempt);
  }
  static std::optional<Place> parse(const std::string& name) {
    Place place;
    if (!name.starts_with("step-")) return std::nullopt;
    const char* const end = name.data() + name.size();
    std::from_chars_result read = std::from_chars(name.data() + 5, end, place.step);
    if (read.ec == std::errc() && read.ptr != end && *read.ptr == '.') {
      read = std::from_chars(read.ptr + 1, end, place.attempt);
    }
    // Only names that we write: "step-4" or "step-000000000400.old" is somebody else's.
    if (read.ec != std::errc() || read.ptr != end || place.name() != name) return std::nullopt;
    if (place.step < 0 || place.attempt < 1 || place.attempt > kMostAttempts) return std::nullopt;
    return place;
  }
};

/// Newest first.
std::vector<Place> places(const std::string& directory) {
  std::vector<Place> found;
  for (const std::string& name : file::list(directory + "/checkpoints")) {
    if (const auto place = Place::parse(name)) found.push_back(*place);
  }
  std::sort(found.rbegin(), found.rend());
  return found;
}

std::string path_of(const std::string& directory, const Place& place) {
  return directory + "/checkpoints/" + place.name();
}

bool is_foreign(const nlohmann::json& manifest) { return manifest.value("schema", nlohmann::json()) != kSchema; }

/// A checkpoint that is not damaged, but not ours to understand either.
struct Foreign : Error {
  Foreign(const nlohmann::json& manifest, const std::string& path)
      : Error(Code::checkpoint,
              "the checkpoint has schema " + manifest.value("schema", nlohmann::json()).dump() +
                  ", this version reads " + std::to_string(kSchema),
              path, "go on with the version that wrote it, or use --fresh to begin anew") {}
};

/// "replica-0_replay-3-0123456789abcdef.safetensors": for people the segment's name, for us the content's hash,
/// so that a file is never overwritten by another content that an older checkpoint doesn't mean.
std::string chunk_file(const std::string& segment, size_t index, const std::string& hash) {
  std::string name;
  for (const char c : segment.substr(0, 80)) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
    name += plain ? c : '_';
  }
  return name + "-" + std::to_string(index) + "-" + hash.substr(0, 16) + ".safetensors";
}

Segments::Chunk chunk_of(NamedTensors tensors) { return {tensors.begin(), tensors.end()}; }

Segments read_segment(const std::string& directory, const std::string& segment, const nlohmann::json& entry,
                      const NamedTensors& tails) {
  std::vector<Segments::Chunk> chunks;
  for (const nlohmann::json& full : entry.at("full")) {
    // The name is derived, not read: a manifest cannot point elsewhere.
    const std::string path =
        directory + "/segments/" + chunk_file(segment, chunks.size(), full.at("sha256").get<std::string>());
    chunks.push_back(chunk_of(parse_safetensors(sealed::read_file(path, full), path).tensors));
  }
  if (!entry.at("tail").is_null()) {
    const std::string prefix = entry.at("tail").get<std::string>();
    Segments::Chunk tail;
    for (const auto& [name, value] : tails) {
      if (name.starts_with(prefix)) tail[name.substr(prefix.size())] = value;
    }
    chunks.push_back(std::move(tail));
  }
  Segments rows;
  rows.restore(std::move(chunks));
  return rows;
}

Snapshot read_checkpoint(const std::string& directory, const Place& place) {
  const std::string path = path_of(directory, place);
  const nlohmann::json manifest = sealed::read_manifest(path);
  if (is_foreign(manifest)) throw Foreign(manifest, path);
  try {
    Snapshot snapshot;
    snapshot.step = manifest.at("step").get<int64_t>();
    if (snapshot.step != place.step) {
      throw Error(Code::checkpoint, "the manifest is of step " + std::to_string(snapshot.step), path,
                  "the directory was renamed or swapped with another");
    }
    const nlohmann::json& files = manifest.at("files");
    const auto bytes = [&](const char* name) { return sealed::read_file(path + "/" + name, files.at(name)); };
    const auto tensors = [&](const char* name) { return parse_safetensors(bytes(name), path + "/" + name).tensors; };
    snapshot.tensors = tensors(kState);
    snapshot.host = sealed::from_text(bytes(kHost), path + "/" + kHost);
    const NamedTensors tails = files.contains(kTails) ? tensors(kTails) : NamedTensors();
    for (const auto& [segment, entry] : manifest.at("segments").items()) {
      snapshot.loaded_segments[segment] = read_segment(directory, segment, entry, tails);
    }
    return snapshot;
  } catch (const nlohmann::json::exception& error) {
    throw Error(Code::checkpoint, std::string("a field of manifest.json is missing or wrong: ") + error.what(), path);
  } catch (const Error& error) {
    throw error.at(path);
  }
}

/// The segment files that a checkpoint stands on; none if its manifest is not one of ours.
std::optional<std::set<std::string>> chunk_files(const nlohmann::json& manifest) {
  std::set<std::string> files;
  try {
    for (const auto& [segment, entry] : manifest.at("segments").items()) {
      size_t index = 0;
      for (const nlohmann::json& full : entry.at("full")) {
        files.insert(chunk_file(segment, index++, full.at("sha256").get<std::string>()));
      }
    }
    return files;
  } catch (const nlohmann::json::exception& error) {
    note(error.what());
    return std::nullopt;
  }
}

/// A manifest that can be read, of whatever schema; null if there is none.
nlohmann::json readable_manifest(const std::string& path) {
  try {
    return sealed::read_manifest(path);
  } catch (const Error& error) {
    note(error.what());
    return nullptr;
  }
}

bool is_milestone(const nlohmann::json& manifest) {
  return manifest.is_object() && manifest.value("milestone", nlohmann::json()) == true;
}

void remove_quietly(const std::string& path) {
  try {
    file::remove_all(path);
  } catch (const Error& error) {
    note(error.what());
  }
}

}  // namespace

Checkpoints::Checkpoints(std::string directory, Use use) : directory_(std::move(directory)) {
  if (use == Use::read) return;
  sealed::remove_leftovers(directory_ + "/checkpoints");
  sealed::remove_leftovers(directory_ + "/segments");
}

nlohmann::json Checkpoints::write_chunk(const std::string& segment, size_t index, const Segments::Chunk& chunk,
                                        std::vector<std::string>& fresh) const {
  const NamedTensors tensors(chunk.begin(), chunk.end());
  const auto [hash, size] = measure_safetensors(tensors);
  const std::string directory = directory_ + "/segments", path = directory + "/" + chunk_file(segment, index, hash);
  nlohmann::json entry = {{"bytes", size}, {"sha256", hash}};
  if (file::exists(path)) {
    try {
      sealed::verify_file(path, entry);
      file::sync_directory(directory);  // the process that wrote it may have died before it did
      return entry;
    } catch (const Error& error) {
      if (error.code() != Code::checkpoint) throw;
      warn(std::string("writing a damaged segment again: ") + error.what());
    }
  } else {
    fresh.push_back(path);
  }
  write_safetensors_atomically(path, tensors);
  sealed::verify_file(path, entry);
  return entry;
}

nlohmann::json Checkpoints::write_segments(const Snapshot& snapshot, NamedTensors& tails, WrittenChunks& written,
                                           std::vector<std::string>& fresh) const {
  nlohmann::json table = nlohmann::json::object();
  for (const auto& [segment, rows] : snapshot.segments) {
    nlohmann::json entry = {{"full", nlohmann::json::array()}, {"tail", nullptr}};
    for (size_t i = 0; i < rows->chunks().size(); ++i) {
      const Segments::Chunk& chunk = rows->chunks()[i];
      const Tensor& first = chunk.begin()->second;
      if (first.size(0) < Segments::kChunk) {
        const std::string prefix = std::to_string(table.size()) + "/";
        entry["tail"] = prefix;
        for (const auto& [column, value] : chunk) tails.emplace_back(prefix + column, value);
        continue;
      }
      const auto known = written_.find({segment, i});
      const bool is_stored = known != written_.end() && known->second.first.is_same(first) &&
                             file::exists(directory_ + "/segments/" +
                                          chunk_file(segment, i, known->second.entry["sha256"].get<std::string>()));
      WrittenChunk& now = written[{segment, i}];
      now = {first, is_stored ? known->second.entry : write_chunk(segment, i, chunk, fresh)};
      entry["full"].push_back(now.entry);
    }
    table[segment] = std::move(entry);
  }
  return table;
}

void Checkpoints::save(const Snapshot& snapshot, int64_t keep, bool milestone) {
  ETUDE_CHECK(snapshot.step >= 0, "a checkpoint of a negative step");
  const std::string all = directory_ + "/checkpoints";
  file::make_directories(all);
  if (!snapshot.segments.empty()) file::make_directories(directory_ + "/segments");
  if (!settled_) file::sync_directory(directory_);  // a process that died may have made them
  settled_ = true;

  Place place{snapshot.step, 1};
  for (const Place& other : places(directory_)) {
    if (other.step != snapshot.step) continue;
    place.attempt = std::max(place.attempt, other.attempt + 1);
    milestone = milestone || is_milestone(readable_manifest(path_of(directory_, other)));
  }
  const std::string path = path_of(directory_, place);
  std::vector<std::string> fresh;
  WrittenChunks written;
  try {
    sealed::Draft draft(all, std::to_string(snapshot.step));
    nlohmann::json body = {{"schema", kSchema}, {"step", snapshot.step}, {"milestone", milestone}};
    NamedTensors tails;
    body["segments"] = write_segments(snapshot, tails, written, fresh);
    draft.add(kState, snapshot.tensors);
    draft.add(kHost, sealed::to_text(snapshot.host));
    if (!tails.empty()) draft.add(kTails, tails);
    draft.publish(path, std::move(body));
    try {
      sealed::verify(path);
    } catch (const Error& error) {
      sealed::discard(path);
      throw Error(Code::io, "what was written can't be read back: " + error.message(), error.where(),
                  "the disk or the memory is faulty");
    }
  } catch (...) {
    for (const std::string& chunk : fresh) remove_quietly(chunk);
    throw;
  }
  written_ = std::move(written);
  try {
    prune(snapshot.step, std::max<int64_t>(keep, 1));
  } catch (const Error& error) {
    warn(std::string("older checkpoints can't be removed: ") + error.what());
  }
}

void Checkpoints::prune(int64_t newest, int64_t keep) const {
  std::set<std::string> used;
  bool knows_all = true;
  int64_t kept = 0, last = -1;
  for (const Place& place : places(directory_)) {
    const std::string path = path_of(directory_, place);
    const nlohmann::json manifest = readable_manifest(path);
    if (manifest.is_object() && is_foreign(manifest)) {
      knows_all = false;
      continue;
    }
    const auto chunks = chunk_files(manifest);
    const bool is_current = chunks && place.step <= newest && place.step != last;
    if (!is_current || (kept >= keep && !is_milestone(manifest))) {
      sealed::discard(path);
      continue;
    }
    last = place.step;
    ++kept;
    used.insert(chunks->begin(), chunks->end());
  }
  if (!knows_all) return;
  for (const std::string& chunk : file::list(directory_ + "/segments")) {
    if (!used.count(chunk)) file::remove_all(directory_ + "/segments/" + chunk);
  }
}

std::optional<Snapshot> Checkpoints::load_latest(std::vector<std::string>* damage) const {
  for (const Place& place : places(directory_)) {
    try {
      return read_checkpoint(directory_, place);
    } catch (const Foreign&) {
      throw;
    } catch (const Error& error) {
      if (damage)
        damage->push_back("step " + std::to_string(place.step) + ": " + error.message() + " (" + error.where() + ")");
    }
  }
  return std::nullopt;
}

Snapshot Checkpoints::load(int64_t step) const {
  std::optional<Error> problem;
  for (const Place& place : places(directory_)) {
    if (place.step != step) continue;
    try {
      return read_checkpoint(directory_, place);
    } catch (const Error& error) {
      if (!problem) problem = error;
    }
  }
  if (problem) throw Error(*problem);
  std::string there;
  for (const int64_t other : steps()) there += (there.empty() ? "" : ", ") + std::to_string(other);
  throw Error(Code::checkpoint, "there is no checkpoint of step " + std::to_string(step), directory_ + "/checkpoints",
              there.empty() ? "there is none at all" : "there are: " + there);
}

std::vector<int64_t> Checkpoints::steps() const {
  std::set<int64_t> found;
  for (const Place& place : places(directory_)) found.insert(place.step);
  return {found.begin(), found.end()};
}

}  // namespace etude
