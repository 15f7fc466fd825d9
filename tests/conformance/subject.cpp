#include "tests/conformance/subject.h"

#include <algorithm>
#include <iostream>
#include <set>

#include "etude/base/assets.h"
#include "etude/report/claims.h"

namespace etude::conformance {
namespace {

/// A recipe without any method: next-token prediction with dropout, accumulated, at constant rate. The frame's own
/// techniques may follow.
constexpr const char* kFrameAlone = R"(
about = "the frame alone"
accumulate = 2
stop = "8 steps"
[data]
kind = "text"
length = 32
[net.model]
kind = "decoder"
dim = 16
layers = 1
heads = 2
length = 32
dropout = 0.1
[source]
batch = 4
[[learner]]
optimizer = { kind = "adam", lr = 3e-3 }
[[pass]]
objective = { kind = "next_token" }
[evaluate]
every = "4 steps"
batches = 1
batch = 4
)";

void collect_kinds(const Config& config, const std::string& place, std::set<std::string>& into) {
  if (config.is_list())
    for (const Config& element : config.as_list()) collect_kinds(element, place, into);
  if (!config.is_table()) return;
  for (const auto& [key, value] : config.as_table()) {
    if (key == "kind" && value.is_string()) into.insert(place + "=" + value.as_string());
    // Names of nets are the user's: decoders are decoders whatever they are called.
    collect_kinds(value, place == "net" ? place : key, into);
  }
}

std::optional<report::Claims> claims_of(const std::string& slug) {
  const std::string path = "methods/" + slug + "/claims.toml";
  const auto text = asset(path);
  return text ? std::optional(report::parse_claims(*text, path)) : std::nullopt;
}

}  // namespace

Subject Subject::with(const std::function<void(RecipeOptions&)>& change) const {
  Subject changed = *this;
  change(changed.recipe.options);
  return changed;
}

std::string Subject::signature() const {
  std::set<std::string> kinds;
  collect_kinds(recipe.resolved, "", kinds);
  if (recipe.options.replicas > 1) kinds.insert("replicas");
  std::string all;
  for (const std::string& kind : kinds) all += (all.empty() ? "" : " ") + kind;
  return all;
}

Registry with_shared_data(const Registry& registry) {
  Registry shared;
  for (const auto& [kind, maker] : registry.nets()) shared.net(kind, maker);
  for (const auto& [kind, maker] : registry.objectives()) shared.objective(kind, maker);
  for (const auto& [kind, maker] : registry.techniques()) shared.technique(kind, maker);
  for (const auto& [kind, maker] : registry.data_sets()) {
    DataMaker once = maker;
    once.make = [make = maker.make, opened = std::make_shared<std::map<std::string, DataPair>>()](const Part& part) {
      const std::string key = to_sorted_json(part.config);
      if (const auto it = opened->find(key); it != opened->end()) return it->second;
      return opened->emplace(key, make(part)).first->second;
    };
    shared.data(kind, once);
  }
  return shared;
}

const Registry& everything() {
  static const Registry all = [] {
    Registry registry;
    register_frame(registry);
    register_methods(registry);
    return with_shared_data(registry);
  }();
  return all;
}

std::vector<std::string> methods() {
  std::vector<std::string> slugs;
  for (const BuiltMethod& method : built_methods()) slugs.push_back(method.slug);
  return slugs;
}

Subject subject(const std::string& slug, const std::string& arm) {
  Subject s{slug, arm, builtin_recipe(slug, arm, "smoke", {}, everything()), &everything()};
  if (const auto claims = claims_of(slug)) {
    s.metric = claims->metric;
    s.lower_is_better = claims->lower_is_better;
  }
  return s;
}

std::vector<Subject> representatives() {
  const auto no_sibling = [](const std::string&) { return std::string(); };
  const auto of_frame = [&](const std::string& name, const std::string& more,
                            const std::vector<std::string>& overrides = {}) {
    return Subject{"frame", name,
                   read_recipe(kFrameAlone + more, "frame.toml", no_sibling, "", overrides, everything()),
                   &everything()};
  };
  std::vector<Subject> chosen = {
      of_frame("alone", ""), of_frame("ema", "[[with]]\nkind = \"ema\"\n"),
      of_frame("masked", "", {"net.model.kind=encoder", "pass.0.objective.kind=masked_token"})};
  std::set<std::string> seen;
  for (const Subject& s : chosen) seen.insert(s.signature());
  for (const std::string& slug : methods())
    for (const std::string& arm : arms(slug)) {
      try {
        if (Subject s = subject(slug, arm); seen.insert(s.signature()).second) chosen.push_back(std::move(s));
      } catch (const Error& unreadable) {
        std::cerr << slug << "/" << arm << " is left out: " << unreadable.what() << '\n';
      }
    }
  return chosen;
}

Excuses::Excuses(const std::string& slug) {
  const std::string path = "methods/" + slug + "/excuses.toml";
  if (const auto text = asset(path)) read(std::string(*text), path);
}

Excuses::Excuses(const std::string& toml, const std::string& file_name) { read(toml, file_name); }

void Excuses::read(const std::string& toml, const std::string& file_name) {
  place_ = file_name;
  const auto add = [&](const std::string& key, const Config& reason) {
    if (!reason.is_string() || reason.as_string().empty())
      throw Error(Code::config, "the excuse for '" + key + "' gives no reason", reason.origin.text(),
                  key + " = \"what is owed, and why\"");
    reasons_[key] = reason.as_string();
  };
  const Config all = parse_toml(toml, file_name);
  for (const auto& [key, value] : all.as_table()) {
    if (!value.is_table())
      add(key, value);
    else
      for (const auto& [check, reason] : value.as_table()) add(key + "/" + check, reason);
  }
}

Problems Excuses::judge(const std::string& arm, const std::string& check, const Problems& problems) const {
  const std::string key = arm.empty() ? check : arm + "/" + check;
  const auto it = reasons_.find(key);
  if (it == reasons_.end()) return problems;
  if (problems.empty()) return {place_ + " excuses " + key + ", but it passes: remove the excuse"};
  std::cout << "excused: " << key << ": " << it->second << '\n';
  return {};
}

Problems Excuses::unknown(const std::vector<std::string>& checks) const {
  Problems problems;
  for (const auto& [key, reason] : reasons_)
    if (std::find(checks.begin(), checks.end(), key) == checks.end())
      problems.push_back(place_ + " excuses '" + key + "', which nothing checks. " + did_you_mean(key, checks));
  return problems;
}

}  // namespace etude::conformance
