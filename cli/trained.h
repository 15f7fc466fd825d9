#pragma once
// What was trained, to be used: a net with the tokenizer of its texts.

#include <CLI/CLI.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "etude/data/tokenizer.h"
#include "etude/nn/net.h"
#include "etude/train/recipe.h"

namespace etude::cli {

struct TrainedModel {
  std::shared_ptr<TokenNet> net;
  std::shared_ptr<Tokenizer> tokenizer;
  std::vector<int64_t> end_ids;  ///< tokens that end a text, beside the tokenizer's own
};

/// Which model, as the command line says.
struct ModelChoice {
  std::string path;         ///< directory of a run, as `etude run` names it, or a folder of Hugging Face's
  std::string net;          ///< of a run: its name in the recipe; with @ema behind it, the moving average of it
  std::string tokenizer{};  ///< in place of its own: see open_tokenizer()
  int64_t average = 0;      ///< of a run: the mean of so many of its newest checkpoints; 0: what was trained
};
/// Declares --net and --average.
void add_weights_choice(CLI::App& command, ModelChoice& choice);
/// The part of a run's recipe that is the net of that name. Errors: Code::usage at `path`.
Part net_part(const Recipe& recipe, const std::string& name, const std::string& path);
/// The weights of a run that are meant, as "net/parameter". Errors: Code::checkpoint.
NamedTensors chosen_weights(const ModelChoice& choice);
/// Errors: Code::usage where there is none, or its net reads no text; Code::checkpoint when the weights are not those
/// of its recipe; those of make_hugging_face() and of tokenizers.
TrainedModel open_trained(const ModelChoice& choice, const Registry& registry);

}  // namespace etude::cli
