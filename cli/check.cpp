#include <iostream>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/machine.h"
#include "cli/tensor_groups.h"
#include "etude/base/log.h"
#include "etude/base/torch_pch.h"
#include "etude/tensor/allocator.h"

namespace etude::cli {
namespace {

constexpr int64_t kSteps = 3;
constexpr double kPatience = 60;  ///< seconds that the measurement may take

struct Options {
  RecipeChoice choice;
  std::string out = "runs";
};

std::vector<TensorGroup> grouped(const std::vector<ParameterShape>& shapes) {
  TensorGroups groups;
  for (const ParameterShape& p : shapes) groups.add(p.name, "", p.shape);
  return groups.all();
}

/// What can be told without a step.
struct Estimate {
  double values = 0;         ///< parameters of one replica
  double bytes = 0;          ///< weights, gradients and two moments of all replicas
  double flops = 0;          ///< of a step; 0: the recipe has no validation batch to tell it from
  double products_rate = 0;  ///< FLOP/s of a matrix product here
};

Estimate estimate(const Recipe& recipe, const TrainStage& stage, const std::vector<TensorGroup>& groups) {
  Estimate e;
  for (const TensorGroup& g : groups) e.values += static_cast<double>(g.values);
  e.bytes = e.values * 16 * static_cast<double>(stage.replicas);
  if (!stage.evaluations.empty()) {
    const Batch batch = stage.evaluations.front().batch(0);
    const double samples = static_cast<double>(recipe.options.source.batch * stage.replicas);
    for (const NetSpec& net : stage.nets)
      e.flops += 3 * net.make()->flops(batch) / static_cast<double>(batch.size()) * samples;
  }
  const torch::NoGradGuard no_grad;
  const Tensor a = torch::ones({512, 512});
  torch::mm(a, a);
  const auto start = std::chrono::steady_clock::now();
  torch::mm(a, a);
  e.products_rate = 2.0 * 512 * 512 * 512 /
                    std::max(1e-6, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  return e;
}

/// Why a few steps are not taken; "" if they are.
std::string too_large(const Estimate& e) {
  const double free = free_memory();
  if (e.bytes > 0.8 * free)
    return "its weights, gradients and moments alone take " + human_bytes(e.bytes) + ", and " + human_bytes(free) +
           " are free";
  const double seconds = e.flops * static_cast<double>(kSteps) / e.products_rate;
  if (seconds > kPatience)
    return std::to_string(kSteps) + " of its steps would take " + human_time(seconds) + " or more";
  return "";
}

nlohmann::json to_json(const Recipe& recipe, const std::vector<TensorGroup>& groups, const Estimate& e,
                       const std::string& directory) {
  nlohmann::json shapes = nlohmann::json::array();
  for (const TensorGroup& g : groups)
    shapes.push_back({{"name", g.name}, {"shape", g.shape}, {"count", g.count}, {"values", g.values}});
  return {{"recipe_hash", recipe.hash()},        {"parameters", e.values},    {"parameter_shapes", shapes},
          {"replicas", recipe.options.replicas}, {"flops_per_step", e.flops}, {"directory", directory},
          {"finished", is_finished(directory)},  {"measured", false}};
}

void tell_size(const Recipe& recipe, const std::vector<TensorGroup>& groups, const Estimate& e) {
  std::cout << "\nparameters  " << human_count(e.values);
  if (recipe.options.replicas > 1) std::cout << " in each of " << recipe.options.replicas << " replicas";
  std::cout << '\n';
  for (const TensorGroup& g : groups) std::cout << "  " << group_line(g) << '\n';
}

void check(const Options& o, const Session& session) {
  RecipeChoice choice = o.choice;
  if (choice.profile.empty() && !is_file_name(choice.what)) choice.profile = "small";
  const Recipe recipe = chosen_recipe(choice, session.registry);
  at::set_num_threads(static_cast<int>(recipe.options.threads));
  const TrainStage stage = make_stage(recipe, session.registry);
  const std::string plan = describe(stage);
  const std::vector<TensorGroup> groups = grouped(parameter_shapes(stage));
  const Estimate e = estimate(recipe, stage, groups);
  const std::string directory = run_directory(recipe, o.out), problem = too_large(e);
  nlohmann::json json = to_json(recipe, groups, e, directory);
  if (!session.json) {
    std::cout << plan;
    tell_size(recipe, groups, e);
    std::cout << std::flush;
  }
  if (!problem.empty()) {
    if (session.json)
      std::cout << json.dump() << '\n';
    else
      std::cout << "memory      " << human_bytes(e.bytes) << " for weights, gradients and Adam's moments\nstep        "
                << human_count(e.flops) << "FLOP\nuntil       " << recipe.options.stop.text() << '\n';
    warn("not measured: " + problem);
    return;
  }
  const size_t before = tensor_memory().used;
  reset_tensor_peak();
  const Probe p = probe(recipe, session.registry, kSteps);
  const double tensors = static_cast<double>(tensor_memory().peak - before);
  if (session.json) {
    if (tensors > 0) json["tensor_peak_bytes"] = tensors;
    json.update({{"measured", true},
                 {"peak_bytes", p.fit.cost.peak_bytes},
                 {"flops_per_step", p.each[Unit::flops]},
                 {"tokens_per_step", p.each[Unit::tokens]},
                 {"samples_per_step", p.each[Unit::samples]},
                 {"step_seconds", p.step_seconds},
                 {"evaluate_seconds", p.evaluate_seconds},
                 {"predicted_seconds", p.seconds}});
    std::cout << json.dump() << '\n';
    return;
  }
  const double rate = p.step_seconds > 0 ? p.each[Unit::flops] / p.step_seconds : 0;
  std::cout << "memory      " << human_bytes(p.fit.cost.peak_bytes) << " at the peak of " << kSteps
            << " steps and an evaluation, which were run for it"
            << (tensors > 0 ? ";\n            " + human_bytes(tensors) + " of it in tensors" : "")
            << "; weights, gradients and Adam's moments take " << human_bytes(e.bytes) << "\nstep        "
            << human_count(p.each[Unit::samples]) << " samples, " << human_count(p.each[Unit::tokens]) << " tokens, "
            << human_count(p.each[Unit::flops]) << "FLOP; " << human_time(p.step_seconds) << " here, "
            << human_count(rate) << "FLOP/s\nuntil       " << recipe.options.stop.text() << ": about "
            << human_time(p.seconds) << ", evaluations included\nrun         " << directory
            << (is_finished(directory) ? " (finished)" : " (not finished)") << '\n';
}

}  // namespace

void add_check(CLI::App& app, Session& session) {
  auto* command =
      app.add_subcommand("check", "all that can be known before training: plan, shapes, memory, FLOPs, time")
          ->footer(
              "examples:\n"
              "  etude check noloco/diloco --profile full\n"
              "  etude check noloco --profile paper\n"
              "  etude check my.toml source.batch=16\n"
              "Takes three steps and an evaluation to measure; writes nothing.");
  auto o = std::make_shared<Options>();
  command->add_option("recipe", o->choice.what, "METHOD, METHOD/ARM or a .toml file")->required();
  add_choice(*command, o->choice);
  command->add_option("--profile", o->choice.profile, "size; small for a method if not given");
  command->add_option("--out", o->out, "where runs are kept")->capture_default_str()->check(not_empty());
  command->callback([&session, o] { check(*o, session); });
}

}  // namespace etude::cli
