#pragma once
// Which file holds which tensor, for checkpoints of several files:
//   {"metadata": {"total_size": bytes, ...}, "weight_map": {"tensor": "model-00001-of-00002.safetensors", ...}}
// Free of LibTorch, so that it can be fuzzed by itself.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace etude {

/// What others look for in a folder.
inline constexpr const char* kModelFile = "model.safetensors";
inline constexpr const char* kModelIndex = "model.safetensors.index.json";

struct SafetensorsIndex {
  std::vector<std::string> shards;                        ///< names of files beside the index, sorted
  std::vector<std::pair<std::string, uint32_t>> tensors;  ///< sorted by name, with the number of the shard
  /// What the index claims the tensors take. Writers disagree on what they count, so nothing depends on it.
  std::optional<uint64_t> total_size;
};

/// Errors: Code::checkpoint naming `file`, the tensor and what is wrong; names of shards that lead elsewhere (with
/// path separators, or beginning with a point) or don't end in .safetensors are refused. Nothing is opened.
SafetensorsIndex parse_safetensors_index(std::string_view text, const std::string& file);
/// The text of an index.
std::string safetensors_index(const SafetensorsIndex& index);

/// "model-00002-of-00007.safetensors"; numbers from 1.
std::string shard_name(size_t number, size_t of);
/// Whether a file is called so.
bool is_shard_name(std::string_view name);

}  // namespace etude
