#include <unistd.h>

#include <atomic>
#include <cmath>
#include <csignal>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "cli/child.h"
#include "cli/commands.h"
#include "cli/ranks.h"
#include "etude/base/log.h"
#include "etude/base/text.h"
#include "etude/base/torch_pch.h"
#include "etude/comm/environment.h"
#include "etude/comm/process_links.h"

namespace etude::cli {
namespace {

std::atomic<int> interrupts{0};
std::string_view answer;  ///< set before the handler is

/// Only what a signal handler may do.
void on_interrupt(int) {
  if (++interrupts > 1) _exit(static_cast<int>(Code::interrupted));
  if (isatty(STDERR_FILENO) == 0) return;
  [[maybe_unused]] const ssize_t n = write(STDERR_FILENO, answer.data(), answer.size());
}

nlohmann::json to_json(const std::map<std::string, double>& values) {
  nlohmann::json out = nlohmann::json::object();
  for (const auto& [name, value] : values) out[name] = value;
  return out;
}

/// What this process holds in memory now.
double resident_bytes() {
  std::ifstream in("/proc/self/statm");
  double all = 0, resident = 0;
  in >> all >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

/// "400", "1.2M"
std::string amount_text(double amount) { return amount < 1e6 ? plain_number(amount) : human_count(amount); }

double tokens_per_second(const Progress& p) {
  const double steps = static_cast<double>(std::max<int64_t>(1, p.counters.step()));
  return p.counters[Unit::tokens] / steps / std::max(1e-9, p.step_seconds);
}

nlohmann::json progress_json(const Recipe& recipe, const Progress& p) {
  return {{"event", "progress"},
          {"arm", recipe.arm},
          {"seed", recipe.options.seed},
          {"step", p.counters.step()},
          {"done", p.counters[p.stop.unit]},
          {"of", p.stop.amount},
          {"unit", unit_name(p.stop.unit)},
          {"loss", p.loss},
          {"grad_norm", p.grad_norm},
          {"learning_rate", p.learning_rate},
          {"tokens_per_second", tokens_per_second(p)},
          {"step_seconds", p.step_seconds},
          {"wait_fraction", p.wait_fraction},
          {"memory_bytes", resident_bytes()},
          {"eta_seconds", p.seconds_left}};
}

struct RunOptions {
  RecipeChoice choice;
  RankOptions ranks;
  std::string out = "runs";
  bool fresh = false;
};

void add_common(CLI::App& command, RunOptions& o) {
  add_choice(command, o.choice);
  command.add_option("--out", o.out, "where runs are kept")->capture_default_str()->check(not_empty());
  command.add_flag("--fresh", o.fresh, "forget what this run did before");
  add_rank_options(command, o.ranks);
}

void train(const RunOptions& o, Session& session) {
  const Recipe recipe = chosen_recipe(o.choice, session.registry);
  RunSettings settings;
  settings.out = o.out;
  settings.fresh = o.fresh;
  put_into_environment(o.ranks);
  const bool trains = o.fresh || !is_finished(run_directory(recipe, o.out));
  if (!trains) rehearse({});  // nothing is left that faults could strike
  session.status = o.ranks.nproc > 1 && trains ? run_ranks(recipe, session, o.ranks, settings)
                                               : run_and_tell(recipe, session, settings);
}

}  // namespace

void catch_interrupts(std::string_view said) {
  answer = said;
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  action.sa_flags = SA_RESTART;
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) sigaction(signal, &action, nullptr);
}

bool interrupted() { return interrupts > 0; }

std::string live_text(const nlohmann::json& progress) {
  const auto number = [&](const char* key) {
    const auto it = progress.find(key);
    return it != progress.end() && it->is_number() ? it->get<double>() : std::nan("");
  };
  const auto shown = [](const char* format, double value) {
    char text[32] = "-";
    if (!std::isnan(value)) std::snprintf(text, sizeof text, format, value);
    return std::string(text);
  };
  const double left = number("eta_seconds");
  return progress.value("arm", "") + " " + amount_text(number("done")) + "/" + amount_text(number("of")) + " " +
         progress.value("unit", "") + " | loss " + shown("%.4f", number("loss")) + " | " +
         human_count(number("tokens_per_second")) + " tok/s | data " + shown("%.1f", number("wait_fraction") * 100) +
         "% | ETA " + (std::isnan(left) ? "-" : human_time(left)) + " | lr " + shown("%.3g", number("learning_rate")) +
         " | norm " + shown("%.3g", number("grad_norm")) + " | " + shown("%.0f", number("step_seconds") * 1e3) +
         " ms/step | " + human_bytes(number("memory_bytes"));
}

void tell_start(const Recipe& recipe, const std::string& directory) {
  std::cout << nlohmann::json{{"event", "start"},
                              {"method", recipe.method},
                              {"arm", recipe.arm},
                              {"profile", recipe.profile},
                              {"seed", recipe.options.seed},
                              {"threads", recipe.options.threads},
                              {"replicas", recipe.options.replicas},
                              {"recipe_hash", recipe.hash()},
                              {"directory", directory}}
                   .dump()
            << std::endl;
}

int tell_end(const Recipe& recipe, const Outcome& outcome, const Session& session) {
  if (session.json)
    std::cout << nlohmann::json{{"event", outcome.finished ? "finished" : "interrupted"},
                                {"trained", !outcome.was_finished},
                                {"directory", outcome.directory},
                                {"values", to_json(outcome.values)}}
                     .dump()
              << std::endl;
  if (!outcome.finished) {
    inform("interrupted, and saved in " + outcome.directory + ": the same command goes on from there");
    return static_cast<int>(Code::interrupted);
  }
  if (session.json) return 0;
  if (outcome.was_finished) inform("this run is finished already: nothing was trained; --fresh begins anew");
  for (const auto& [name, value] : outcome.values)
    std::cout << padded(name, 24) << ' ' << rounded_number(value, 6) << '\n';
  std::cout << "run: " << outcome.directory << std::endl;
  const std::string quoted = outcome.directory.find_first_of(" '\"") == std::string::npos
                                 ? outcome.directory
                                 : "\"" + outcome.directory + "\"";
  std::string next = "next: etude generate " + quoted + " --prompt \"In the beginning\"";
  if (recipe.method != "own") next += "\n      etude compare " + recipe.method + " --plan";
  inform(next);
  return 0;
}

Rehearsal drawn_rehearsal(int ranks, const Recipe& recipe) {
  const Count& stop = recipe.options.stop;
  return rehearsal().resolved(
      ranks, stop.unit == Unit::steps ? std::optional(static_cast<int64_t>(stop.amount)) : std::nullopt);
}

int run_and_tell(const Recipe& recipe, Session& session, RunSettings settings) {
  catch_interrupts(kSaving);
  leave_with_parent();
  settings.interrupted = interrupted;
  const std::optional<Joining> joining = joining_from_environment();
  const int rank = joining ? joining->rank : 0;
  const Rehearsal drawn = drawn_rehearsal(joining ? joining->size : 1, recipe);
  if (rehearsal().has_chaos() && rank == 0) inform("the same faults again: --inject " + drawn.text());
  rehearse(drawn.for_rank(rank));
  const std::unique_ptr<Links> links = joining ? join(*joining) : nullptr;
  settings.links = links.get();
  if (session.json) tell_start(recipe, run_directory(recipe, settings.out));
  LiveLine live;
  settings.progress = [&](const Progress& p) {
    nlohmann::json progress = progress_json(recipe, p);
    if (joining) progress["rank"] = rank;
    if (session.json)
      std::cout << progress.dump() << std::endl;
    else if (p.leads)
      live.show(live_text(progress));
  };
  const Outcome outcome = run_recipe(recipe, session.registry, settings);
  live.finish();
  const bool parent_tells = joining && joining->coordinator_runs;
  if (outcome.led && !parent_tells) return tell_end(recipe, outcome, session);
  return outcome.finished ? 0 : static_cast<int>(Code::interrupted);
}

Probe probe(const Recipe& recipe, const Registry& registry, int64_t steps) {
  TrainStage stage = make_stage(recipe, registry);
  const Count stop = stage.stop, cadence = stage.evaluate;
  stage.stop = Count{static_cast<double>(steps), Unit::steps};
  stage.evaluate = Count{};
  at::set_num_threads(static_cast<int>(recipe.options.threads));
  Probe result;
  Surroundings around;
  around.progress = [&](const Progress& p) { result.step_seconds = p.step_seconds; };
  result.fit = fit(stage, around);
  result.evaluate_seconds = result.fit.cost.evaluate_seconds;
  for (int u = 0; u < kUnits; ++u)
    result.each[static_cast<Unit>(u)] = result.fit.counters[static_cast<Unit>(u)] / static_cast<double>(steps);
  if (stop.unit == Unit::seconds) {
    result.seconds = stop.amount;
    return result;
  }
  const double all_steps = result.each[stop.unit] > 0 ? std::ceil(stop.amount / result.each[stop.unit]) : 0;
  const double per_cadence =
      cadence.amount > 0 && cadence.unit != Unit::percent ? result.each[cadence.unit] / cadence.amount : 0;
  const double evaluations = cadence.unit == Unit::percent && cadence.amount > 0 ? std::floor(100 / cadence.amount)
                                                                                 : std::floor(all_steps * per_cadence);
  result.seconds = all_steps * result.step_seconds + std::max(1.0, evaluations) * result.evaluate_seconds;
  return result;
}

void add_run(CLI::App& app, Session& session) {
  auto* command =
      app.add_subcommand("run", "train one arm of a method")
          ->footer(
              "examples:\n"
              "  etude run noloco\n"
              "  etude run noloco/diloco --profile smoke seed=1\n"
              "  etude run noloco --data my_texts/ net.model.dim=128 stop=\"1M tokens\"\n"
              "  etude run noloco --nproc 4\n"
              "  etude run noloco --nproc 4 --deadline 5 --inject rank:2:kill@30/exchange\n"
              "The same command goes on with an interrupted run, and finds a finished one, whatever --nproc is.\n"
              "docs/ranks.md has torchrun, mpirun and srun.");
  auto o = std::make_shared<RunOptions>();
  o->choice.profile = "small";
  command->add_option("method", o->choice.what, "METHOD, or METHOD/ARM")->required();
  command->add_option("--profile", o->choice.profile, "size: smoke, small, full")->capture_default_str();
  add_common(*command, *o);
  command->callback([&session, o] {
    if (is_file_name(o->choice.what))
      throw Error(Code::usage, "'" + o->choice.what + "' is no method", "command line",
                  "etude train " + o->choice.what + " trains a recipe of your own");
    train(*o, session);
  });
}

void add_train(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand("train", "train a recipe of your own")
                      ->footer(
                          "examples:\n"
                          "  etude eject noloco my.toml\n"
                          "  etude train my.toml\n"
                          "  etude train my.toml stop=\"100 steps\" seed=3 --out elsewhere");
  auto o = std::make_shared<RunOptions>();
  command->add_option("recipe", o->choice.what, "a .toml file")->required();
  command->add_option("--profile", o->choice.profile, "one of the recipe's [profile.NAME] tables");
  add_common(*command, *o);
  command->callback([&session, o] {
    if (!is_file_name(o->choice.what))
      throw Error(Code::usage, "'" + o->choice.what + "' is no .toml file", "command line",
                  "etude run METHOD trains a built-in recipe");
    train(*o, session);
  });
}

}  // namespace etude::cli
