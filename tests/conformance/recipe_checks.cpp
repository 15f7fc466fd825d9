// Checks of every arm: its recipe can be read at every size, says what is wrong with a wrong one, and trains.

#include <cmath>

#include "tests/conformance/checks.h"

namespace etude::conformance {
namespace {

const std::vector<std::string> kProfiles = {"smoke", "small", "full", "paper"};

Problems profiles(const Subject& s) {
  Problems problems;
  if (s.recipe.options.about.empty()) problems.push_back("the recipe has no line `about`");
  for (const std::string& profile : kProfiles) {
    try {
      describe(make_stage(builtin_recipe(s.slug, s.arm, profile, {}, *s.registry), *s.registry));
    } catch (const Error& error) {
      problems.push_back("profile " + profile + ": " + error.what());
    }
  }
  return problems;
}

/// Trains a resolved recipe for a step, through everything that reads options.
void try_out(const Config& resolved, const Subject& s) {
  const auto no_sibling = [](const std::string&) { return std::string(); };
  const Recipe recipe = read_recipe(to_toml(resolved), "again.toml", no_sibling, "", {"stop=1 steps"}, *s.registry);
  fit(make_stage(recipe, *s.registry));
}

/// Paths of all tables in a recipe.
void find_tables(const Config& config, const std::string& path, std::vector<std::string>& found) {
  const auto below = [&](const std::string& key) { return path.empty() ? key : path + "." + key; };
  if (config.is_table()) {
    if (path != "net") found.push_back(path);  // its keys are the user's
    for (const auto& [key, value] : config.as_table()) find_tables(value, below(key), found);
  }
  if (config.is_list())
    for (size_t i = 0; i < config.as_list().size(); ++i)
      find_tables(config.as_list()[i], below(std::to_string(i)), found);
}

/// A misspelt key in each table is refused, with its place and the name that was meant.
Problems unknown_keys(const Subject& s) {
  Problems problems;
  std::vector<std::string> tables;
  find_tables(s.recipe.resolved, "", tables);
  for (const std::string& path : tables) {
    Config wrong = s.recipe.resolved;
    Config& table = path.empty() ? wrong : wrong.at_path(path);
    const auto& keys = table.as_table();
    const auto known = std::find_if(keys.begin(), keys.end(), [](const auto& entry) { return entry.first != "kind"; });
    const std::string key = (known == keys.end() ? "option" : known->first) + "x";
    const std::string meant = known == keys.end() ? "" : known->first;
    table.set(key, Config(1));
    const std::string what = "key '" + key + "' in the table '" + path + "'";
    try {
      try_out(wrong, s);
      problems.push_back(what + " is not refused");
    } catch (const Error& error) {
      if (error.code() != Code::config) problems.push_back(what + " ends in " + error.what());
      if (error.where().empty()) problems.push_back(what + " is refused without its place: " + error.what());
      if (error.hint().find(meant) == std::string::npos)
        problems.push_back(what + " is refused without a hint at '" + meant + "': " + error.what());
    }
  }
  return problems;
}

/// Written and read again, a resolved recipe is the same.
Problems round_trip(const Subject& s) {
  Problems problems;
  const auto no_sibling = [](const std::string&) { return std::string(); };
  for (const std::string& profile : kProfiles) {
    const Recipe recipe = builtin_recipe(s.slug, s.arm, profile, {}, *s.registry);
    const Recipe again = read_recipe(to_toml(recipe.resolved), "again.toml", no_sibling, "", {}, *s.registry);
    if (again.hash() != recipe.hash())
      for (const Change& change : difference(recipe.resolved, again.resolved))
        problems.push_back("profile " + profile + ", read again: " + change.key + " was " + change.before + " and is " +
                           change.after);
  }
  return problems;
}

Problems smoke(const Subject& s) {
  Problems problems;
  const Subject two = s.with([](RecipeOptions& o) {
    o.stop = {2, Unit::steps};
    o.log = o.evaluate.every = {1, Unit::steps};
  });
  Surroundings around;
  around.metric = [&](const MetricLine& line) {
    for (const auto& [name, value] : line.values)
      if (!std::isfinite(value))
        problems.push_back(name + " is " + std::to_string(value) + " at step " + std::to_string(line.counters.step()));
  };
  const Fit done = fit(two.stage(), around);
  for (const auto& [name, value] : done.artifact.tensors)
    if (!torch::isfinite(value).all().item<bool>()) problems.push_back("tensor " + name + " is not finite");
  if (!done.values.count(s.metric)) problems.push_back("the metric '" + s.metric + "' of claims.toml is not measured");
  return problems;
}

}  // namespace

const std::vector<Check>& arm_checks() {
  static const std::vector<Check> all = {
      {"profiles", profiles}, {"round_trip", round_trip}, {"unknown_keys", unknown_keys}, {"smoke", smoke}};
  return all;
}

}  // namespace etude::conformance
