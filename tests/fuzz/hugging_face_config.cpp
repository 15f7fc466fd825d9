// The config.json of a model folder, and what is written of it.

#include "etude/nn/hugging_face_config.h"

#include <cstdint>
#include <cstdlib>

#include "etude/base/error.h"
#include "etude/base/options.h"
#include "tests/fuzz/planted.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const etude::HuggingFaceConfig config =
        etude::parse_hugging_face_config({reinterpret_cast<const char*>(data), size}, "fuzz");
    if (config.vocabulary() < 1 || config.length() < 1) abort();
    const etude::HuggingFaceConfig again =
        etude::parse_hugging_face_config(etude::to_config_json(config, {config.dtype, 7}), "again");
    if (again.architecture != config.architecture || again.options.index() != config.options.index()) abort();
    const bool same = std::visit(
        [&](const auto& options) {
          return etude::same_options(options, std::get<std::decay_t<decltype(options)>>(again.options));
        },
        config.options);
    if (!same) abort();
    planted(config.architecture == "Qwen2ForCausalLM" && config.tied());
  } catch (const etude::Error&) {
  }
  return 0;
}
