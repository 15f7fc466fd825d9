#include "cli/inspection.h"

#include <functional>

#include "etude/base/file.h"
#include "etude/base/mapped_file.h"
#include "etude/base/torch_pch.h"
#include "etude/data/corpus/token_cache_format.h"
#include "etude/data/corpus/token_file.h"
#include "etude/data/tokenizer.h"
#include "etude/nn/hugging_face_config.h"
#include "etude/nn/peft_config.h"
#include "etude/tensor/safetensors_index.h"
#include "etude/tensor/tensor_files.h"
#include "etude/train/checkpoint.h"
#include "etude/train/run.h"
#include "etude/train/sealed.h"

namespace etude::cli {
namespace {

std::string file_name(const std::string& path) { return path.substr(path.find_last_of('/') + 1); }

/// The first bytes of a file.
std::string beginning(const std::string& path, size_t bytes) {
  const file::Mapped mapped(path);
  std::string head(mapped.bytes().substr(0, bytes));
  mapped.require_whole();
  return head;
}

void add_tensors(Inspection& found, const TensorReader& reader) {
  for (size_t i = 0; i < reader.size(); ++i) {
    const SafetensorsEntry entry = reader.entry(i);
    found.tensors.add(entry.name, entry.dtype, entry.shape);
    ++found.dtypes[entry.dtype];
  }
  found.metadata = reader.metadata();
}

void look_at_safetensors(Inspection& found) {
  const SafetensorsReader reader(found.path);
  add_tensors(found, reader);
  found.checked = "header, sizes and places fit the file; the format keeps no hashes of its data";
}

void look_at_shards(Inspection& found) {
  const ShardedReader reader(found.path);
  add_tensors(found, reader);
  uint64_t data = 0;
  for (size_t i = 0; i < reader.size(); ++i) data += reader.entry(i).bytes();
  found.facts.emplace_back("files", reader.shards().size());
  for (const auto& shard : reader.shards()) found.bytes += static_cast<int64_t>(shard->file_size());
  const auto claimed = parse_safetensors_index(file::read(found.path), found.path).total_size;
  if (claimed && *claimed != data) {
    found.facts.emplace_back("note", "the index claims " + std::to_string(*claimed) + " bytes of tensors, " +
                                         std::to_string(data) + " are there");
  }
  found.checked = "the index names every tensor of its files, and these fit; the format keeps no hashes of its data";
}

void look_at_token_cache(Inspection& found) {
  const file::Mapped mapped(found.path);
  const std::string_view bytes = mapped.bytes();
  const size_t tail = std::min<size_t>(bytes.size(), corpus::kCacheTail);
  const corpus::TokenCacheInfo info =
      corpus::token_cache_info(bytes.substr(0, corpus::kCacheHead), bytes.substr(bytes.size() - tail),
                               static_cast<int64_t>(bytes.size()), found.path);
  mapped.require_whole();
  found.facts = {{"tokens", info.tokens},
                 {"documents", info.documents},
                 {"empty_documents", info.empty},
                 {"id_bytes", info.width},
                 {"key", info.key}};
  found.checked = "both ends have their hash and fit the size; the ids have none";
}

void look_at_token_file(Inspection& found) {
  const corpus::TokenRun run = corpus::token_run(beginning(found.path, corpus::kTokenHead), found.bytes, found.path);
  found.facts = {{"tokens", run.count}, {"id_bytes", run.width()}, {"header_bytes", run.offset}};
  found.checked = "the header fits the size; the format keeps no hashes";
}

void look_at_tokenizer(Inspection& found) {
  const auto tokenizer = open_tokenizer(found.path);
  found.facts = {{"vocabulary", tokenizer->vocabulary()}, {"hash", tokenizer->hash()}};
  found.checked = "all of it was read; the format keeps no hashes";
}

void look_at_config(Inspection& found) {
  const HuggingFaceConfig config = parse_hugging_face_config(file::read(found.path), found.path);
  found.facts = {{"architecture", config.architecture},
                 {"vocabulary", config.vocabulary()},
                 {"length", config.length()},
                 {"tied", config.tied()},
                 {"dtype", config.dtype}};
  found.checked = "all of it was read; the format keeps no hashes";
}

/// Sealed directories: every file is hashed. Returns the manifest.
nlohmann::json look_at_sealed(Inspection& found, const std::string& tensors) {
  if (file::exists(found.path + "/" + tensors)) {
    // Described even if a hash turns out to be wrong.
    const SafetensorsReader reader(found.path + "/" + tensors);
    add_tensors(found, reader);
  }
  const nlohmann::json manifest = sealed::read_manifest(found.path);
  for (const auto& [name, entry] : manifest.at("files").items()) {
    found.bytes += entry.is_object() ? entry.value("bytes", int64_t{0}) : 0;
  }
  if (manifest.contains("step")) found.facts.emplace_back("step", manifest["step"]);
  sealed::verify(found.path);
  return manifest;
}

void look_at_checkpoint(Inspection& found) {
  const nlohmann::json manifest = look_at_sealed(found, "state.safetensors");
  if (manifest.value("milestone", false)) found.facts.emplace_back("milestone", true);
  const nlohmann::json segments = manifest.value("segments", nlohmann::json::object());
  if (!segments.empty()) {
    // Their chunks lie beside the checkpoints of the run.
    const std::string run = found.path + "/../..";
    Checkpoints(run, Checkpoints::Use::read).load(manifest.at("step").get<int64_t>());
    found.facts.emplace_back("segments", segments.size());
  }
  found.verified = true;
  found.checked = "every file has the size and SHA-256 of manifest.json";
}

void look_at_artifact(Inspection& found) {
  look_at_sealed(found, "tensors.safetensors");
  found.verified = true;
  found.checked = "every file has the size and SHA-256 of manifest.json";
}

void look_at_run(Inspection& found) {
  found.facts.emplace_back("finished", is_finished(found.path));
  for (const std::string& name : file::list(found.path + "/checkpoints")) {
    if (name.starts_with("step-")) found.parts.push_back(inspect(found.path + "/checkpoints/" + name));
  }
  const std::string model = found.path + "/" + kModelFile;
  if (file::exists(model)) found.parts.push_back(inspect(model));
  found.checked = "its parts are told below";
}

constexpr const char* kTokenizerFiles[] = {"tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json"};

bool has_tokenizer(const std::string& folder) {
  return std::any_of(std::begin(kTokenizerFiles), std::end(kTokenizerFiles),
                     [&](const char* name) { return file::exists(folder + "/" + name); });
}

/// One kind of thing that can be inspected.
struct Kind {
  const char* format;
  std::function<void(Inspection&)> look;
};

Inspection looked_at(const std::string& path, const Kind& kind) {
  Inspection found;
  found.path = path;
  found.format = kind.format;
  if (!file::is_directory(path)) found.bytes = file::size(path);
  try {
    kind.look(found);
  } catch (const Error& error) {
    found.verified = false;
    found.problem = error;
  } catch (const nlohmann::json::exception& error) {
    found.verified = false;
    found.problem = Error(Code::checkpoint, std::string("a field is missing or wrong: ") + error.what(), path);
  }
  for (const Inspection& part : found.parts) found.bytes += part.bytes;
  return found;
}

const Kind kSafetensors = {"safetensors", look_at_safetensors};
const Kind kShards = {"safetensors, several files", look_at_shards};
const Kind kConfig = {"model config", look_at_config};
const Kind kTokenizer = {"tokenizer", look_at_tokenizer};

/// A folder as Hugging Face's libraries write it.
void look_at_model(Inspection& found) {
  const auto part = [&](const std::string& name, const Kind& kind) {
    if (file::exists(found.path + "/" + name)) found.parts.push_back(looked_at(found.path + "/" + name, kind));
  };
  part(kHuggingFaceConfig, kConfig);
  if (file::exists(found.path + "/" + kModelFile)) {
    part(kModelFile, kSafetensors);
  } else {
    part(kModelIndex, kShards);
  }
  part(kPeftWeights, kSafetensors);
  if (has_tokenizer(found.path)) found.parts.push_back(looked_at(found.path, kTokenizer));
  found.checked = "its parts are told below";
}

std::optional<Kind> kind_of_folder(const std::string& path) {
  const auto has = [&](const char* name) { return file::exists(path + "/" + name); };
  if (has("state.safetensors") || file_name(path).starts_with("step-")) return Kind{"checkpoint", look_at_checkpoint};
  if (has("tensors.safetensors") && has("values.json")) return Kind{"artifact", look_at_artifact};
  if (has("recipe.toml") && (has("checkpoints") || has("metrics.jsonl"))) return Kind{"run", look_at_run};
  if (has(kModelFile) || has(kModelIndex) || has(kHuggingFaceConfig) || has(kPeftWeights)) {
    return Kind{"model folder", look_at_model};
  }
  if (has_tokenizer(path)) return kTokenizer;
  return std::nullopt;
}

/// By its name, and else by its first bytes.
std::optional<Kind> kind_of_file(const std::string& path) {
  const std::string name = file_name(path), head = beginning(path, 9);
  if (head.starts_with(corpus::kCacheMagic) || name.ends_with(".tokens"))
    return Kind{"token cache", look_at_token_cache};
  if (name.ends_with(".safetensors")) return kSafetensors;
  if (name.ends_with(".safetensors.index.json")) return kShards;
  if (name == kHuggingFaceConfig) return kConfig;
  if (corpus::is_token_name(name)) return Kind{"token ids", look_at_token_file};
  if (name.ends_with(".model") || name.ends_with("vocab.txt") || name.ends_with("tokenizer.json")) return kTokenizer;
  if (head.size() == 9 && head[8] == '{' && head[7] == 0 && head[6] == 0) return kSafetensors;
  return std::nullopt;
}

}  // namespace

const Error* Inspection::first_problem() const {
  if (problem) return &*problem;
  for (const Inspection& part : parts) {
    if (const Error* error = part.first_problem()) return error;
  }
  return nullptr;
}

Inspection inspect(const std::string& path) {
  if (!file::exists(path)) {
    throw Error(Code::io, "there is no file or folder '" + path + "'", path, "look at the path");
  }
  std::string clean = path;
  while (clean.size() > 1 && clean.ends_with('/')) clean.pop_back();
  const std::optional<Kind> kind = file::is_directory(clean) ? kind_of_folder(clean) : kind_of_file(clean);
  if (!kind) {
    throw Error(Code::data, "'" + file_name(clean) + "' is none of the kinds that are known", clean,
                "known are .safetensors files and their indexes, checkpoints, runs, artifacts, token caches, .bin and "
                ".npy token files, tokenizers, config.json, and folders of models");
  }
  return looked_at(clean, *kind);
}

}  // namespace etude::cli
