#include "etude/train/run.h"

#include <sched.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "etude/base/file.h"
#include "etude/base/log.h"
#include "etude/base/torch_pch.h"
#include "etude/tensor/safetensors.h"

namespace etude {
namespace {

void write_rows(const std::string& directory, const Fit& fit) {
  for (const auto& [name, rows] : fit.rows) {
    file::make_directories(directory + "/rows");
    std::string lines;
    for (const Row& row : rows) lines += nlohmann::json{{"id", row.id}, {"value", row.value}, {"weight", row.weight}}.dump() + "\n";
    file::write_atomically(directory + "/rows/" + name + ".jsonl", lines);
  }
}

nlohmann::json result_of(const Recipe& recipe, const Fit& fit) {
  const Cost& c = fit.cost;
  nlohmann::json values = nlohmann::json::object();
  for (const auto& [name, value] : fit.values) values[name] = value;
  return {{"v", 1},
          {"status", "finished"},
          {"method", recipe.method},
          {"arm", recipe.arm},
          {"profile", recipe.profile},
          {"seed", recipe.options.seed},
          {"recipe_hash", recipe.hash()},
          {"values", values},
          {"cost",
           {{"seconds", c.seconds}, {"step_seconds", c.step_seconds}, {"evaluate_seconds", c.evaluate_seconds}, {"checkpoint_seconds", c.checkpoint_seconds}, {"wait_fraction", c.step_seconds > 0 ? c.wait_seconds / c.step_seconds : 0.0},
            {"peak_bytes", c.peak_bytes}, {"flops", c.flops}, {"bytes", c.bytes}, {"messages", c.messages}, {"rounds", c.rounds}, {"parameters", c.parameters}}},
          {"machine", {{"processor", processor_name()}, {"threads", recipe.options.threads}, {"isa", at::get_cpu_capability()}, {"libtorch", TORCH_VERSION}}}};
}

/// Tells what differs from an earlier run of the same arm and seed.
void show_difference(const Recipe& recipe, const std::string& out, const std::string& own) {
  const std::string folder = out + "/" + recipe.method + "-" + recipe.arm;
  const std::string suffix = "-s" + std::to_string(recipe.options.seed);
  for (const std::string& name : file::list(folder)) {
    const std::string other = folder + "/" + name;
    if (other == own || !name.ends_with(suffix) || !file::exists(other + "/recipe.toml")) continue;
    const auto changes = difference(read_toml(other + "/recipe.toml"), recipe.resolved);
    if (changes.empty()) continue;
    std::string text = "a new run: it differs from " + other + " in";
    for (const Change& change : changes) text += "\n  " + change.key + ": " + change.before + " -> " + change.after;
    note(text);
    return;
  }
}

}  // namespace

std::string processor_name() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);)
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  return "unknown";
}

int available_cores() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

std::string run_directory(const Recipe& recipe, const std::string& out) { return out + "/" + recipe.run_name(); }
bool is_finished(const std::string& directory) { return file::exists(directory + "/result.json"); }

Outcome run_recipe(const Recipe& recipe, const Registry& registry, const RunSettings& settings) {
  Outcome outcome;
  outcome.directory = run_directory(recipe, settings.out);
  file::make_directories(outcome.directory);
  const file::Lock lock(outcome.directory + "/lock");
  if (settings.fresh)
    for (const std::string& name : file::list(outcome.directory))
      if (name != "lock") file::remove_all(outcome.directory + "/" + name);
  if (is_finished(outcome.directory)) {
    const nlohmann::json result = nlohmann::json::parse(file::read(outcome.directory + "/result.json"), nullptr, false);
    if (result.is_discarded() || !result.contains("values")) throw Error(Code::checkpoint, "result.json cannot be read", outcome.directory, "use --fresh to train again");
    for (const auto& [name, value] : result["values"].items()) outcome.values[name] = value.is_null() ? std::nan("") : value.get<double>();
    outcome.finished = outcome.was_finished = true;
    return outcome;
  }
  show_difference(recipe, settings.out, outcome.directory);
  at::set_num_threads(static_cast<int>(recipe.options.threads));
  const TrainStage stage = make_stage(recipe, registry);
  inform(describe(stage));
  file::write_atomically(outcome.directory + "/recipe.toml", to_toml(recipe.resolved));
  set_log_file(outcome.directory + "/log.txt");
  Surroundings around;
  around.directory = outcome.directory;
  around.interrupted = settings.interrupted;
  around.progress = settings.progress;
  const Fit result = fit(stage, around);
  outcome.finished = result.finished;
  outcome.values = result.values;
  outcome.cost = result.cost;
  if (result.finished) {
    NamedTensors model;
    for (const auto& [name, value] : result.artifact.tensors)
      if (name.rfind("replica-", 0) != 0) model.emplace_back(name, value);
    write_safetensors(outcome.directory + "/model.safetensors", model);
    write_rows(outcome.directory, result);
    file::write_atomically(outcome.directory + "/result.json", result_of(recipe, result).dump(2) + "\n");
  }
  set_log_file("");
  return outcome;
}

}  // namespace etude
