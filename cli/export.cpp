#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/exported_tokenizer.h"
#include "cli/trained.h"
#include "etude/base/file.h"
#include "etude/base/log.h"
#include "etude/base/torch_pch.h"
#include "etude/nn/adapter.h"
#include "etude/nn/decoder.h"
#include "etude/nn/encoder.h"
#include "etude/nn/gpt2.h"
#include "etude/nn/hugging_face.h"
#include "etude/nn/peft_config.h"
#include "etude/tensor/safetensors_index.h"

namespace etude::cli {
namespace {

struct Options {
  ModelChoice model{.path = "", .net = "model"};
  std::string to, format = "hugging_face", dtype = "as-loaded";
  bool force = false;
};

const std::map<std::string, WeightType>& weight_types() {
  static const std::map<std::string, WeightType> types = {{"as-loaded", WeightType::as_loaded},
                                                          {"float32", WeightType::float32},
                                                          {"bfloat16", WeightType::bfloat16},
                                                          {"float16", WeightType::float16}};
  return types;
}

/// What is left in a folder by an export: nothing else is ever replaced.
bool is_ours(const std::string& name) {
  static const std::vector<std::string> names = {kHuggingFaceConfig,    "generation_config.json",
                                                 kModelIndex,           kModelFile,
                                                 "tokenizer.json",      "tokenizer_config.json",
                                                 "tokenizer.model",     "special_tokens_map.json",
                                                 "vocab.json",          "merges.txt",
                                                 "vocab.txt",           "added_tokens.json",
                                                 "chat_template.jinja", kPeftConfig,
                                                 kPeftWeights};
  return is_shard_name(name) || std::find(names.begin(), names.end(), name) != names.end();
}

/// Refuses a folder that an export must not replace. Errors: Code::usage.
void check_destination(const Options& o) {
  if (!file::exists(o.to)) return;
  if (!file::is_directory(o.to))
    throw Error(Code::usage, "'" + o.to + "' is there already, and is no folder", o.to, "choose another name");
  const std::vector<std::string> there = file::list(o.to);
  if (there.empty()) return;
  if (!o.force)
    throw Error(Code::usage, "'" + o.to + "' is there already", o.to, "choose another name; --force replaces it");
  for (const std::string& name : there)
    if (!is_ours(name) || file::is_directory(o.to + "/" + name))
      throw Error(Code::usage, "'" + o.to + "' holds '" + name + "', which is no part of an exported model", o.to,
                  "choose another folder: --force replaces exported models only");
}

/// Where a folder's export is written aside, and where the folder that it replaces waits until it is there.
struct Aside {
  std::string parent, name, mark;
  explicit Aside(const std::string& to) {
    const std::filesystem::path path = std::filesystem::path(to + "/").lexically_normal().parent_path();
    parent = path.has_parent_path() ? path.parent_path().string() : ".";
    name = path.filename().string();
    mark = name + file::kTemporary;
  }
  std::string place() const { return parent + "/" + name; }
  std::string made() const { return parent + "/" + mark + std::to_string(getpid()) + "-new"; }
  std::string before() const { return parent + "/" + mark + std::to_string(getpid()) + "-old"; }

  /// What exports that died left: the folder that was to be replaced comes back where there is no new one.
  void tidy() const {
    for (const std::string& one : file::list(parent)) {
      if (!one.starts_with(mark)) continue;
      const int process = std::atoi(one.c_str() + mark.size());
      if (process <= 0 || kill(process, 0) == 0 || errno != ESRCH) continue;
      if (one.ends_with("-old") && !file::exists(place()))
        file::rename_durably(parent + "/" + one, place());
      else
        file::remove_all(parent + "/" + one);
    }
  }
};

/// Fills a folder aside and puts it in its place: what is found there is the old one, the new one or, for a moment,
/// none; never a part of one.
void write_folder(const std::string& to, const std::function<void(const std::string&)>& fill) {
  const Aside aside(to);
  file::make_directories(aside.made());
  try {
    fill(aside.made());
  } catch (...) {
    file::remove_all(aside.made());
    throw;
  }
  file::sync_directory(aside.made());
  const bool replaces = file::exists(aside.place());
  if (replaces) file::rename_durably(aside.place(), aside.before());
  file::rename_durably(aside.made(), aside.place());
  if (replaces) file::remove_all(aside.before());
}

/// The table of a run's net.
Part part_of(const ModelChoice& model, const Registry& registry) {
  const std::string path = model.path + "/recipe.toml";
  if (!file::exists(path))
    throw Error(Code::usage, "there is no run '" + model.path + "'", path,
                "etude run METHOD trains one and names its directory");
  return net_part(read_recipe(file::read(path), path, {}, "", {}, registry), model.net, path);
}

/// A net and what others must know of it.
struct Exported {
  HuggingFaceConfig config;
  std::string folder;                    ///< that it began from; "" if from none
  std::unique_ptr<TensorReader> loaded;  ///< what lies there
};

Exported describe(const Part& part, const Net& net) {
  Exported made;
  if (part.kind() == "hugging_face") {
    const auto options = complete(Registry::read_part<HuggingFaceOptions>(part, "net hugging_face"));
    made.config = config_of(options);
    made.folder = options.path;
    if (file::is_directory(options.path))
      made.loaded = open_tensors(options.path);
    else
      warn("'" + options.path + "', where this net began, is gone: its buffers and types are not kept");
  } else if (const auto* decoder = dynamic_cast<const Decoder*>(&net)) {
    made.config = hugging_face_config(decoder->options());
  } else if (const auto* gpt2 = dynamic_cast<const Gpt2*>(&net)) {
    made.config = hugging_face_config(gpt2->options());
  } else if (const auto* encoder = dynamic_cast<const Encoder*>(&net)) {
    made.config = hugging_face_config(encoder->options());
  } else {
    throw Error(Code::usage, "transformers has no model for a net of kind '" + part.kind() + "'", "--format",
                "--format safetensors writes the weights alone");
  }
  return made;
}

/// What config.json says of the type.
std::string type_name(const Exported& from, WeightType type) {
  for (const auto& [name, one] : weight_types())
    if (one == type && type != WeightType::as_loaded) return name;
  return from.loaded ? from.config.dtype : "float32";
}

void write_model(const std::string& folder, const Exported& from, const TrainedModel& model, WeightType type) {
  // Among a tokenizer's files may be the config.json that it was read with: ours comes after it.
  for (const Tokenizer::File& one : exported_tokenizer(*model.tokenizer, model.net->longest()))
    file::write_atomically(folder + "/" + one.name, one.content);
  write_tensors(folder, weights_to_write(from.config, *model.net, from.loaded.get(), type));
  const int64_t end = model.tokenizer->document_end_if_any().value_or(-1);
  file::write_atomically(folder + "/config.json", to_config_json(from.config, {type_name(from, type), end}));
  const std::string generation = from.folder + "/generation_config.json";
  if (!from.folder.empty() && file::exists(generation))
    file::write_atomically(folder + "/generation_config.json", file::read(generation));
  else if (end >= 0)
    file::write_atomically(folder + "/generation_config.json", nlohmann::json{{"eos_token_id", end}}.dump(2) + "\n");
}

/// The weights of any net under its own names.
void write_weights(const std::string& folder, const Options& o, WeightType type) {
  const std::map<WeightType, at::ScalarType> types = {{WeightType::bfloat16, at::kBFloat16},
                                                      {WeightType::float16, at::kHalf}};
  const std::string prefix = o.model.net + "/";
  std::vector<TensorSource> all;
  for (const auto& [name, value] : chosen_weights(o.model)) {
    if (!name.starts_with(prefix)) continue;
    const bool narrows = types.contains(type) && value.is_floating_point();
    all.push_back(source_of(name.substr(prefix.size()), narrows ? value.to(types.at(type)) : value));
  }
  write_tensors(folder, all);
}

void export_run(const Options& o, const Session& session) {
  const Part part = part_of(o.model, session.registry);
  Aside(o.to).tidy();
  check_destination(o);
  const WeightType type = weight_types().at(o.dtype);
  if (o.format == "safetensors") {
    write_folder(o.to, [&](const std::string& folder) { write_weights(folder, o, type); });
  } else {
    const TrainedModel model = open_trained(o.model, session.registry);
    const Exported from = describe(part, *model.net);
    if (o.format != "peft") merge_adapter(*model.net);
    write_folder(o.to, [&](const std::string& folder) {
      if (o.format == "peft")
        write_peft_adapter(*model.net, folder, from.folder, from.config.architecture == "GPT2LMHeadModel");
      else
        write_model(folder, from, model, type);
    });
  }
  inform("written: " + o.to);
}

}  // namespace

void add_export(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand("export", "write what was trained for others to load")
                      ->footer(
                          "examples:\n"
                          "  etude export runs/own-mine/HASH-s0 --to model      for "
                          "AutoModelForCausalLM.from_pretrained(\"model\")\n"
                          "  etude export RUN --to model --dtype bfloat16\n"
                          "  etude export RUN --to model --average 5            the mean of the last 5 checkpoints\n"
                          "  etude export RUN --to adapter --format peft        the low-rank adapter alone\n"
                          "  etude export RUN --to weights --format safetensors the weights under Etude's names");
  auto o = std::make_shared<Options>();
  command->add_option("run", o->model.path, "directory of a run, as `etude run` names it")->required();
  command->add_option("--to", o->to, "folder that is made")->required()->check(not_empty());
  command->add_option("--format", o->format, "hugging_face, safetensors or peft")
      ->check(CLI::IsMember({"hugging_face", "safetensors", "peft"}))
      ->capture_default_str();
  command->add_option("--dtype", o->dtype, "as-loaded, float32, bfloat16 or float16; as-loaded: as the net began")
      ->check(CLI::IsMember({"as-loaded", "float32", "bfloat16", "float16"}))
      ->capture_default_str();
  add_weights_choice(*command, o->model);
  command->add_flag("--force", o->force, "replace a model that was exported before");
  command->callback([&session, o] { export_run(*o, session); });
}

}  // namespace etude::cli
