#include <iostream>
#include <nlohmann/json.hpp>

#include "cli/commands.h"

namespace etude::cli {
namespace {

constexpr int64_t kSteps = 3;

struct Options {
  std::string what, profile, out = "runs";
  std::vector<std::string> overrides;
};

void check(const Options& o, const Session& session) {
  const bool own = is_file_name(o.what);
  const Recipe recipe =
      find_recipe(o.what, o.profile.empty() && !own ? "small" : o.profile, o.overrides, session.registry);
  const std::string plan = describe(make_stage(recipe, session.registry));
  const Probe p = probe(recipe, session.registry, kSteps);
  const Cost& cost = p.fit.cost;
  const std::string directory = run_directory(recipe, o.out);
  const std::string state = is_finished(directory) ? "finished" : "not finished";
  if (session.json) {
    std::cout << nlohmann::json{{"recipe_hash", recipe.hash()},
                                {"parameters", cost.parameters},
                                {"replicas", recipe.options.replicas},
                                {"peak_bytes", cost.peak_bytes},
                                {"flops_per_step", p.each[Unit::flops]},
                                {"tokens_per_step", p.each[Unit::tokens]},
                                {"samples_per_step", p.each[Unit::samples]},
                                {"step_seconds", p.step_seconds},
                                {"evaluate_seconds", p.evaluate_seconds},
                                {"predicted_seconds", p.seconds},
                                {"directory", directory},
                                {"finished", is_finished(directory)}}
                     .dump()
              << '\n';
    return;
  }
  const auto replicas = static_cast<double>(recipe.options.replicas);
  const double rate = p.step_seconds > 0 ? p.each[Unit::flops] / p.step_seconds : 0;
  std::cout << plan << (plan.ends_with('\n') ? "" : "\n") << "\nparameters  "
            << human_count(static_cast<double>(cost.parameters)) << " in each of " << recipe.options.replicas
            << (replicas == 1 ? " replica" : " replicas") << "\nmemory      " << human_bytes(cost.peak_bytes)
            << " at the peak of " << kSteps << " steps and an evaluation; weights, gradients and Adam's moments take "
            << human_bytes(static_cast<double>(cost.parameters) * 16 * replicas) << " of it\nstep        "
            << human_count(p.each[Unit::samples]) << " samples, " << human_count(p.each[Unit::tokens]) << " tokens, "
            << human_count(p.each[Unit::flops]) << "FLOP; " << human_time(p.step_seconds) << " here, "
            << human_count(rate) << "FLOP/s\nuntil       " << recipe.options.stop.text() << ": about "
            << human_time(p.seconds) << ", evaluations included\nrun         " << directory << " (" << state << ")\n";
}

}  // namespace

void add_check(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand("check", "all that can be known before training: plan, memory, FLOPs, time")
                      ->footer(
                          "examples:\n"
                          "  etude check noloco/diloco --profile full\n"
                          "  etude check my.toml source.batch=16\n"
                          "Takes three steps and an evaluation to measure; writes nothing.");
  auto o = std::make_shared<Options>();
  command->add_option("recipe", o->what, "METHOD, METHOD/ARM or a .toml file")->required();
  command->add_option("overrides", o->overrides, "key=value of the recipe");
  command->add_option("--profile", o->profile, "size; small for a method if not given");
  command->add_option("--out", o->out, "where runs are kept")->capture_default_str();
  command->callback([&session, o] { check(*o, session); });
}

}  // namespace etude::cli
