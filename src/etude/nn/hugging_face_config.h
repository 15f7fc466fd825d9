#pragma once
// The config.json of Hugging Face's model folders: which net its weights belong to. Free of LibTorch, so that it can be
// fuzzed by itself.
//
// What the file leaves out has the default that transformers gives it for that architecture. Keys that transformers'
// code of these architectures does not read are not read here either; every setting that would make another net than
// ours (another activation, a sliding window, scaling of another kind, quantised weights, ...) is refused.

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "etude/nn/decoder_options.h"
#include "etude/nn/encoder_options.h"
#include "etude/nn/gpt2_options.h"

namespace etude {

inline constexpr const char* kHuggingFaceConfig = "config.json";

struct HuggingFaceConfig {
  using Options = std::variant<DecoderOptions, Gpt2Options, EncoderOptions>;

  std::string architecture;       ///< "LlamaForCausalLM", ...
  Options options;                ///< dropout is 0: it is a matter of training
  std::string dtype = "float32";  ///< of its weights, as the file says
  std::string text;               ///< the whole file, canonical, on one line

  int64_t vocabulary() const;
  int64_t length() const;
  bool tied() const;
};

/// "BertForMaskedLM", "GPT2LMHeadModel", "LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM".
std::vector<std::string> hugging_face_architectures();

/// Errors: Code::checkpoint naming `file`, the key, its value and what is supported.
HuggingFaceConfig parse_hugging_face_config(std::string_view text, const std::string& file);
/// The same of a folder's config.json. Errors also: Code::io.
HuggingFaceConfig read_hugging_face_config(const std::string& folder);

/// The config of a net of our own, for others: LlamaForCausalLM, or Qwen2ForCausalLM if queries, keys and values alone
/// have biases; GPT2LMHeadModel; BertForMaskedLM. Errors: Code::usage for a net that transformers has no architecture
/// for.
HuggingFaceConfig hugging_face_config(const DecoderOptions& options);
HuggingFaceConfig hugging_face_config(const Gpt2Options& options);
HuggingFaceConfig hugging_face_config(const EncoderOptions& options);

/// What else a written config.json says.
struct HuggingFaceNotes {
  std::string dtype;          ///< of the weights beside it
  int64_t document_end = -1;  ///< eos_token_id, unless the config has one; -1: none
};
/// The content of a config.json that transformers reads, old releases of it too.
std::string to_config_json(const HuggingFaceConfig& config, const HuggingFaceNotes& notes);

}  // namespace etude
