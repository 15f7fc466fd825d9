#pragma once
// What was trained, to be used: a net with the tokenizer of its texts.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "etude/data/tokenizer.h"
#include "etude/nn/net.h"
#include "etude/train/recipe.h"

namespace etude::cli {

struct TrainedModel {
  std::shared_ptr<LanguageModel> net;
  std::shared_ptr<Tokenizer> tokenizer;
  std::vector<int64_t> end_ids;  ///< tokens that end a text, beside the tokenizer's own
};

/// Which model, as the command line says.
struct ModelChoice {
  std::string path;         ///< directory of a run, as `etude run` names it, or a folder of Hugging Face's
  std::string net;          ///< of a run: its name in the recipe
  std::string tokenizer{};  ///< in place of its own: see open_tokenizer()
};
/// Errors: Code::usage where there is none, or its net makes no text; Code::checkpoint when the weights are not those
/// of its recipe; those of make_hugging_face() and of tokenizers.
TrainedModel open_trained(const ModelChoice& choice, const Registry& registry);

}  // namespace etude::cli
