#include <algorithm>
#include <map>

#include "cli/commands.h"
#include "cli/verdicts.h"
#include "etude/base/file.h"

namespace etude::cli {
namespace {

struct Options {
  std::vector<std::string> what;
  std::string profile, out = "runs";
};

void add_finished(const std::string& place, std::vector<report::RunRecord>& runs) {
  for (const std::string& directory : report::run_directories(place)) {
    report::RunRecord run = report::read_run(directory);
    const bool known =
        std::any_of(runs.begin(), runs.end(), [&](const auto& r) { return r.directory == run.directory; });
    if (run.finished && !known) runs.push_back(std::move(run));
  }
}

/// All seeds of a method's arms and experiments at this profile, as `etude compare` left them.
void add_method(const std::string& slug, const std::string& profile, const Options& o, const Registry& registry,
                std::vector<report::RunRecord>& runs) {
  const report::Claims claims = read_claims(slug);
  std::vector<std::string> all = arms(find_built(slug).slug);
  for (const std::string& arm : claims.experiment_arms()) all.push_back(arm);
  for (const std::string& arm : all) {
    const auto [recipe, out] = arm_recipe(slug, arm, claims, profile, {}, o.out, registry);
    const std::string folder = out + "/" + slug + "-" + recipe.arm;
    for (const std::string& name : file::list(folder))
      if (name.starts_with(recipe.hash() + "-s")) add_finished(folder + "/" + name, runs);
  }
}

/// One method, one profile, one run for each arm and seed: else they can't be compared.
void require_comparable(const std::vector<report::RunRecord>& runs) {
  std::map<std::pair<std::string, int64_t>, const report::RunRecord*> seen;
  const report::RunRecord& first = runs.front();
  for (const report::RunRecord& run : runs) {
    if (run.method != first.method)
      throw Error(Code::usage, "these runs are of '" + first.method + "' and of '" + run.method + "'", run.directory,
                  "report one method at a time");
    if (run.profile != first.profile)
      throw Error(Code::usage, "these runs have the profiles '" + first.profile + "' and '" + run.profile + "'",
                  run.directory, "choose one with --profile");
    const auto [other, is_new] = seen.try_emplace({run.arm, run.seed}, &run);
    if (!is_new)
      throw Error(Code::usage,
                  "there are two runs of " + run.arm + ", seed " + std::to_string(run.seed) + "; the other is " +
                      other->second->directory,
                  run.directory, "their recipes or their ranks differ: name the directories of those to report");
  }
}

void report_runs(const Options& o, const Session& session) {
  const bool folders = std::any_of(o.what.begin(), o.what.end(), [](const auto& w) { return file::is_directory(w); });
  std::vector<report::RunRecord> runs;
  for (const std::string& what : o.what)
    if (file::is_directory(what))
      add_finished(what, runs);
    else
      add_method(what, o.profile.empty() ? "small" : o.profile, o, session.registry, runs);
  if (!o.profile.empty()) std::erase_if(runs, [&](const auto& run) { return run.profile != o.profile; });
  if (runs.empty())
    throw Error(Code::usage, "there are no finished runs to report", o.what.front(),
                "etude compare METHOD" + (o.profile.empty() ? "" : " --profile " + o.profile) + " trains them");
  require_comparable(runs);
  const std::string method = runs.front().method, profile = runs.front().profile;
  const bool single = runs.size() == 1 && folders;

  const report::Claims claims = read_claims(method);
  std::vector<std::string> order;
  int64_t seeds = 0;
  for (const report::RunRecord& run : runs) seeds = std::max(seeds, run.seed + 1);
  for (const std::string& arm : default_arms(claims))
    if (std::any_of(runs.begin(), runs.end(), [&](const auto& run) { return run.arm == arm; })) order.push_back(arm);
  report::Comparison c = compared(method, profile, order, std::move(runs), session.registry);
  if (single) c = alone(std::move(c));
  std::vector<std::string> names;
  for (const report::ArmInfo& arm : c.arms) names.push_back(arm.name);
  if (folders) {
    c.command = "etude report";
    for (const std::string& what : o.what) c.command += " " + what;
  } else {
    c.command =
        compare_command(method, profile, seeds, names == default_arms(claims) ? std::vector<std::string>{} : names, {});
  }
  tell(c, o.out, session);
}

}  // namespace

void add_report(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand("report", "table, verdicts and report of runs that are there already")
                      ->footer(
                          "examples:\n"
                          "  etude report noloco\n"
                          "  etude report noloco --profile full --out elsewhere\n"
                          "  etude report runs/noloco-noloco runs/noloco-none");
  auto o = std::make_shared<Options>();
  command->add_option("what", o->what, "a METHOD, or directories of runs")->required();
  command->add_option("--profile", o->profile, "size of the runs; small for a METHOD if not given");
  command->add_option("--out", o->out, "where runs are kept, and where the report goes")->capture_default_str();
  command->callback([&session, o] { report_runs(*o, session); });
}

}  // namespace etude::cli
