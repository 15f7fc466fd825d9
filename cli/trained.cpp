#include "cli/trained.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "etude/base/error.h"
#include "etude/base/file.h"
#include "etude/base/torch_pch.h"
#include "etude/data/text.h"
#include "etude/nn/hugging_face.h"
#include "etude/train/run.h"

namespace etude::cli {
namespace {

/// The trained weights of a run's net. Errors: Code::checkpoint.
void fill_from_run(Net& net, const ModelChoice& choice) {
  const torch::NoGradGuard no_grad;
  const std::string& run = choice.path;
  auto parameters = net.named_parameters();
  const std::string prefix = choice.net + "/";
  size_t taken = 0;
  for (const auto& [full, value] : chosen_weights(choice)) {
    Tensor* const own = full.starts_with(prefix) ? parameters.find(full.substr(prefix.size())) : nullptr;
    if (!own) continue;
    if (own->sizes() != value.sizes())
      throw Error(Code::checkpoint, "'" + full + "' has another shape than the recipe gives it", run);
    own->copy_(value);
    ++taken;
  }
  if (taken != parameters.size())
    throw Error(Code::checkpoint, "the run's weights are not those of its recipe", run, "--fresh trains it again");
}

/// The tokenizer of a run's texts: the copy that it keeps, else what its data say; bytes where they say nothing.
std::shared_ptr<Tokenizer> tokenizer_of_run(const std::string& run, const Part& data) {
  if (const std::string kept = run + "/" + kTokenizerFolder; file::exists(kept)) return open_tokenizer(kept);
  return data.kind() == "text" ? tokenizer_of(Registry::read_part<TextOptions>(data, "data text")) : byte_tokenizer();
}

TrainedModel open_run(const ModelChoice& choice, const Registry& registry) {
  const std::string path = choice.path + "/recipe.toml";
  const Recipe recipe = read_recipe(file::read(path), path, {}, "", {}, registry);
  const Part part = net_part(recipe, choice.net, path);
  TrainedModel model;
  model.net = std::dynamic_pointer_cast<TokenNet>(registry.net(part).make(part));
  if (!model.net) throw Error(Code::usage, "the net '" + choice.net + "' reads no text", path);
  fill_from_run(*model.net, choice);
  if (choice.tokenizer.empty()) model.tokenizer = tokenizer_of_run(choice.path, recipe.options.data);
  return model;
}

/// The ids under "eos_token_id": one, several or none.
void add_end_ids(const nlohmann::json& object, std::vector<int64_t>& ids) {
  const auto found = object.find("eos_token_id");
  if (found == object.end()) return;
  for (const nlohmann::json& id : found->is_array() ? *found : nlohmann::json::array({*found}))
    if (id.is_number_integer()) ids.push_back(id.get<int64_t>());
}

TrainedModel open_folder(const ModelChoice& choice) {
  TrainedModel model;
  HuggingFaceOptions options;
  options.path = choice.path;
  options = complete(options);
  model.net = make_hugging_face(options);
  model.net->initialise(0);
  add_end_ids(nlohmann::json::parse(options.config), model.end_ids);
  if (const std::string path = choice.path + "/generation_config.json"; file::exists(path)) {
    const nlohmann::json generation = nlohmann::json::parse(file::read(path), nullptr, false);
    if (generation.is_object()) add_end_ids(generation, model.end_ids);
  }
  if (choice.tokenizer.empty()) model.tokenizer = open_tokenizer(choice.path);
  return model;
}

}  // namespace

void add_weights_choice(CLI::App& command, ModelChoice& choice) {
  command.add_option("--net", choice.net, "which of the run's nets; NET@ema: its moving average, of a run --with ema")
      ->capture_default_str();
  command
      .add_option("--average", choice.average,
                  "the mean of so many of the run's newest checkpoints; see checkpoint.keep")
      ->check(whole(1, 1000000));
}

Part net_part(const Recipe& recipe, const std::string& name, const std::string& path) {
  const std::string own = name.substr(0, name.find('@'));
  const auto found = recipe.options.net.find(own);
  if (found == recipe.options.net.end()) {
    std::vector<std::string> known;
    for (const auto& [other, part] : recipe.options.net) known.push_back(other);
    throw Error(Code::usage, "this run has no net '" + own + "'", path, did_you_mean(own, known));
  }
  Part part = found->second;
  part.config.erase("role");
  return part;
}

NamedTensors chosen_weights(const ModelChoice& choice) {
  NamedTensors all = choice.average > 0 ? averaged_weights(choice.path, choice.average) : trained_weights(choice.path);
  const bool is_there =
      std::any_of(all.begin(), all.end(), [&](const auto& entry) { return entry.first.starts_with(choice.net + "/"); });
  if (!is_there)
    throw Error(Code::checkpoint, "there are no weights of '" + choice.net + "'", choice.path,
                choice.net.find('@') == std::string::npos ? "--fresh trains the run again"
                : choice.average > 0                      ? "--average is of the trained weights themselves"
                                                          : "train with --with ema to have moving averages");
  return all;
}

TrainedModel open_trained(const ModelChoice& choice, const Registry& registry) {
  const bool run = file::exists(choice.path + "/recipe.toml");
  if (!run && !file::exists(choice.path + "/" + kHuggingFaceConfig))
    throw Error(Code::usage, "there is no run '" + choice.path + "'", choice.path + "/recipe.toml",
                "etude run METHOD trains one and names its directory; a folder of Hugging Face's has a config.json");
  TrainedModel model = run ? open_run(choice, registry) : open_folder(choice);
  if (!choice.tokenizer.empty()) model.tokenizer = open_tokenizer(choice.tokenizer);
  return model;
}

}  // namespace etude::cli
