#include "etude/train/recipe.h"

#include <algorithm>

#include "etude/base/assets.h"
#include "etude/base/file.h"
#include "etude/base/log.h"
#include "etude/data/text.h"
#include "etude/optim/optimizer.h"
#include "etude/train/precision.h"

namespace etude {
namespace {

/// Merges `extends` below a recipe, the deepest first.
Config with_parents(const std::string& text, const std::string& file_name,
                    const std::function<std::string(const std::string&)>& sibling, std::vector<std::string> chain) {
  Config own = parse_toml(text, file_name);
  const Config* parent = own.find("extends");
  if (!parent) return own;
  if (!parent->is_string())
    throw Error(Code::config, "extends must be a string", parent->origin.text(),
                "the name of a recipe in the same folder");
  const std::string folder = file_name.substr(0, file_name.rfind('/') + 1);
  const std::string parent_file = folder + parent->as_string() + ".toml";
  chain.push_back(file_name);
  if (std::find(chain.begin(), chain.end(), parent_file) != chain.end()) {
    std::string circle;
    for (const std::string& file : chain) circle += file + " -> ";
    throw Error(Code::config, "recipes extend each other in a circle: " + circle + parent_file, parent->origin.text(),
                "remove one `extends`");
  }
  Config merged = with_parents(sibling(parent->as_string()), parent_file, sibling, chain);
  own.erase("extends");
  merged.merge(own);
  return merged;
}

/// [net.NAME] tables: the frame's part of the options, as their names are the user's.
std::map<std::string, Part> read_nets(Config& recipe) {
  std::map<std::string, Part> nets;
  Config* table = recipe.find("net");
  if (!table) return nets;
  if (!table->is_table()) throw Error(Code::config, "net must be a table of nets", table->origin.text(), "[net.model]");
  for (auto& [name, config] : table->as_table()) {
    if (!config.is_table())
      throw Error(Code::config, "net." + name + " must be a table", config.origin.text(), "[net." + name + "]");
    nets[name] = Part{config};
  }
  recipe.erase("net");
  return nets;
}

/// precision = "bf16" and the technique of that name are one: a recipe that was read has the first.
void settle_precision(RecipeOptions& o, const Registry& registry) {
  std::erase_if(o.with, [&](const Part& part) {
    if (!part.config.find("kind") || part.kind() != Bf16::kName) return false;
    registry.technique(part).complete(part);  // refuses options that there are not
    o.precision = Bf16::kName;
    return true;
  });
}

/// A net's table without the frame's own key.
Part without_role(Part part) {
  part.config.erase("role");
  return part;
}

/// A net whose vocab nobody wrote has that of the data's tokenizer, where one is chosen.
void fill_vocabulary(RecipeOptions& o, const Registry& registry) {
  const auto& maker = registry.data(o.data);
  for (auto& [name, part] : o.net) {
    if (!maker.vocabulary || part.config.find("vocab")) continue;
    const auto& rows = registry.net(part).options;
    if (std::none_of(rows.begin(), rows.end(), [](const OptionInfo& row) { return row.key == "vocab"; })) continue;
    if (const std::optional<int64_t> tokens = maker.vocabulary(o.data)) part.config.set("vocab", Config(*tokens));
  }
}

/// Refuses a net that has no place for all ids of the data.
void require_vocabulary(const Net& net, const std::string& name, const Part& part, int64_t tokens) {
  const auto* model = dynamic_cast<const TokenNet*>(&net);
  if (!model || model->vocabulary() >= tokens) return;
  const Config* vocab = part.config.find("vocab");
  throw Error(Code::config,
              "net '" + name + "' has " + std::to_string(model->vocabulary()) +
                  " token ids, and the tokenizer of the data " + std::to_string(tokens),
              vocab && vocab->origin.kind != Origin::Kind::none ? vocab->origin.text() : "net." + name,
              vocab ? "set vocab = " + std::to_string(tokens)
                    : "a net and its tokenizer belong together: data.tokenizer = {kind = \"file\", path = \"FOLDER\"}");
}

/// Every option of every part written out. Errors: those of reading them.
Config resolve(RecipeOptions o, const Registry& registry) {
  o.data = registry.data(o.data).complete(o.data);
  for (LearnerSpec& learner : o.learner) learner.optimizer = complete_optimizer(learner.optimizer);
  for (PassOptions& pass : o.pass) pass.objective = registry.objective(pass.objective).complete(pass.objective);
  for (Part& part : o.with) part = registry.technique(part).complete(part);
  Config nets = Config::table();
  for (const auto& [name, part] : o.net) {
    Config net = registry.net(part).complete(without_role(part)).config;
    const Config* role = part.config.find("role");
    net.set("role", role ? *role : Config("trained"));
    nets.set(name, std::move(net));
  }
  Config resolved = write_options(o);
  resolved.set("net", std::move(nets));
  return resolved;
}

}  // namespace

std::string Recipe::hash() const {
  Config without = resolved;
  without.erase("seed");
  without.erase("about");
  without.erase("device");  // a run goes on wherever it is taken
  return file::sha256(to_sorted_json(without)).substr(0, 12);
}

std::string Recipe::run_name() const { return method + "-" + arm + "/" + hash() + "-s" + std::to_string(options.seed); }

Recipe read_recipe(const std::string& text, const std::string& file_name,
                   const std::function<std::string(const std::string&)>& sibling, const std::string& profile,
                   const std::vector<std::string>& overrides, const Registry& registry) {
  Recipe recipe;
  recipe.profile = profile;
  Config merged = with_parents(text, file_name, sibling, {});
  if (const Config* profiles = merged.find("profile")) {
    if (profiles->is_table())
      for (const auto& [name, config] : profiles->as_table()) recipe.profiles.push_back(name);
    if (!profile.empty()) {
      const Config* chosen = profiles->is_table() ? profiles->find(profile) : nullptr;
      if (!chosen)
        throw Error(Code::config, "there is no profile '" + profile + "'", file_name,
                    did_you_mean(profile, recipe.profiles, options_detail::listed(recipe.profiles) + " are there"));
      const Config overlay = *chosen;
      merged.merge(overlay);
    }
    merged.erase("profile");
  } else if (!profile.empty()) {
    throw Error(Code::config, "there is no profile '" + profile + "'", file_name,
                "this recipe has no [profile.NAME] tables");
  }
  for (const std::string& assignment : overrides) apply_override(merged, assignment);
  recipe.written = merged;

  recipe.options.net = read_nets(merged);
  read_options(merged, recipe.options, "recipe");
  if (recipe.options.learner.empty()) recipe.options.learner.push_back({});
  if (recipe.options.pass.empty())
    throw Error(Code::config, "the recipe has no [[pass]]", file_name,
                "say what is minimised: objective = { kind = \"next_token\" }");
  settle_precision(recipe.options, registry);
  fill_vocabulary(recipe.options, registry);
  recipe.resolved = resolve(recipe.options, registry);
  return recipe;
}

Recipe builtin_recipe(const std::string& method, const std::string& arm, const std::string& profile,
                      const std::vector<std::string>& overrides, const Registry& registry) {
  auto load = [&](const std::string& name) {
    const auto text = asset("methods/" + method + "/arms/" + name + ".toml");
    if (!text)
      throw Error(Code::usage, "method '" + method + "' has no arm '" + name + "'", "command line",
                  did_you_mean(name, arms(method), "see `etude show " + method + "`"));
    return std::string(*text);
  };
  Recipe recipe =
      read_recipe(load(arm), "methods/" + method + "/arms/" + arm + ".toml", load, profile, overrides, registry);
  recipe.method = method;
  recipe.arm = arm;
  return recipe;
}

std::vector<std::string> arms(const std::string& method) {
  const std::string folder = "methods/" + method + "/arms/";
  std::vector<std::string> names;
  for (std::string_view path : assets(folder)) {
    std::string name(path.substr(folder.size()));
    if (name.size() > 5 && name.ends_with(".toml") && name.front() != '_')
      names.push_back(name.substr(0, name.size() - 5));
  }
  std::sort(names.begin(), names.end());
  return names;
}

TrainStage make_stage(const Recipe& recipe, const Registry& registry) {
  const RecipeOptions& o = recipe.options;
  TrainStage stage;
  stage.seed = static_cast<uint64_t>(o.seed);
  stage.replicas = static_cast<int>(o.replicas);
  stage.accumulate = static_cast<int>(o.accumulate);
  stage.recompute = o.recompute;
  stage.device = o.device;
  stage.stop = o.stop;
  stage.log = o.log;
  stage.evaluate = o.evaluate.every;
  stage.checkpoint = {o.checkpoint.every, o.checkpoint.keep, o.checkpoint.milestones};
  stage.learners = o.learner;
  const DataPair data = registry.data(o.data).make(o.data);
  if (const auto text = std::dynamic_pointer_cast<const TextDataset>(data.train))
    stage.tokenizer = {text, &text->tokenizer()};
  const int64_t tokens = stage.tokenizer ? stage.tokenizer->vocabulary() : 0;
  for (const auto& [name, part] : o.net) {
    NetSpec spec;
    spec.name = name;
    if (const Config* role = part.config.find("role")) {
      if (!role->is_string() ||
          (role->as_string() != "trained" && role->as_string() != "frozen" && role->as_string() != "follows"))
        throw Error(Code::config, "net." + name + ".role must be a role", role->origin.text(),
                    "one of 'trained', 'frozen', 'follows'");
      spec.role = role->as_string();
    }
    spec.make = [own = without_role(part), maker = registry.net(part), name, tokens] {
      std::shared_ptr<Net> net = maker.make(own);
      require_vocabulary(*net, name, own, tokens);
      return net;
    };
    if (const auto& maker = registry.net(part); maker.card)
      spec.card = [own = without_role(part), card = maker.card] { return card(own); };
    stage.nets.push_back(std::move(spec));
  }
  if (o.source.shards > 1 && o.source.shards % o.replicas != 0)
    throw Error(Code::config,
                "source.shards = " + std::to_string(o.source.shards) +
                    " is no multiple of replicas = " + std::to_string(o.replicas),
                "recipe", "e.g. shards = " + std::to_string(o.replicas));
  stage.sources.emplace_back("train", stream_source("train", data.train, o.source, stage.seed));
  for (const PassOptions& pass : o.pass) {
    Pass made;
    made.name = pass.name;
    made.objective = registry.objective(pass.objective).make(pass.objective);
    made.learners = pass.learners;
    made.times = static_cast<int>(pass.times);
    made.every = static_cast<int>(pass.every);
    stage.passes.push_back(std::move(made));
  }
  for (const Part& part : o.with) stage.with.push_back(registry.technique(part).make(part));
  if (o.precision == Bf16::kName) stage.with.push_back(std::make_shared<Bf16>(Bf16Options()));
  if (data.validation && data.validation->size() > 0)
    stage.evaluations.push_back(validation(data.validation, stage.passes.front().objective, o.evaluate));
  return stage;
}

EvalSpec validation(std::shared_ptr<Dataset> data, std::shared_ptr<Objective> objective,
                    const EvaluateOptions& options) {
  EvalSpec spec;
  spec.objective = std::move(objective);
  spec.rows = options.rows;
  const int64_t wanted = std::min(options.batches * options.batch, data->size());
  const int64_t batch = options.batch;
  spec.batches = (wanted + batch - 1) / batch;
  spec.batch = [data = std::move(data), wanted, batch](int64_t i) {
    std::vector<int64_t> ids;
    for (int64_t k = i * batch; k < std::min((i + 1) * batch, wanted); ++k) ids.push_back(k * data->size() / wanted);
    return data->get(ids, Rng(Key{0, Purpose::crop, 0, i}));
  };
  return spec;
}

}  // namespace etude
