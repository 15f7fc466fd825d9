#pragma once
// The adapter_config.json of PEFT's adapters: what the weights beside it correct, and by how much. Free of LibTorch, so
// that it can be fuzzed by itself.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace etude {

inline constexpr const char* kPeftConfig = "adapter_config.json";
inline constexpr const char* kPeftWeights = "adapter_model.safetensors";

struct PeftConfig {
  int64_t rank = 8;
  double alpha = 8;
  double dropout = 0;
  bool rslora = false;
  bool fan_in_fan_out = false;       ///< the layers' weights lie transposed: GPT-2's
  std::vector<std::string> targets;  ///< written only: tensors tell what is corrected
  std::string base;                  ///< folder or name of the net that is corrected; may be empty
};

/// LoRA of linear layers. Keys left out have PEFT's defaults; settings that change what is computed in ways that are
/// not ours (DoRA, ranks and scales per layer, trained biases and layers, ...) are refused. Errors: Code::checkpoint
/// naming `file`, the key and its value.
PeftConfig parse_peft_config(std::string_view text, const std::string& file);
/// The content of an adapter_config.json for a causal language model.
std::string to_peft_config(const PeftConfig& config);

}  // namespace etude
