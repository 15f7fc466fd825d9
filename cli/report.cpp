#include <algorithm>

#include "cli/commands.h"
#include "cli/verdicts.h"
#include "etude/base/file.h"

namespace etude::cli {
namespace {

struct Options {
  std::vector<std::string> what;
  std::string profile = "small", out = "runs";
};

void add_finished(const std::string& place, std::vector<report::RunRecord>& runs) {
  for (const std::string& directory : report::run_directories(place)) {
    report::RunRecord run = report::read_run(directory);
    const bool known =
        std::any_of(runs.begin(), runs.end(), [&](const auto& r) { return r.directory == run.directory; });
    if (run.finished && !known) runs.push_back(std::move(run));
  }
}

/// All seeds of a method's arms at this profile, as `etude compare` left them.
void add_method(const std::string& slug, const Options& o, const Registry& registry,
                std::vector<report::RunRecord>& runs) {
  for (const std::string& arm : arms(find_built(slug).slug)) {
    const Recipe recipe = find_recipe(slug + "/" + arm, o.profile, {}, registry);
    const std::string folder = o.out + "/" + slug + "-" + arm;
    for (const std::string& name : file::list(folder))
      if (name.starts_with(recipe.hash() + "-s")) add_finished(folder + "/" + name, runs);
  }
}

void report_runs(const Options& o, const Session& session) {
  std::vector<report::RunRecord> runs;
  for (const std::string& what : o.what)
    if (file::is_directory(what))
      add_finished(what, runs);
    else
      add_method(what, o, session.registry, runs);
  if (runs.empty())
    throw Error(Code::usage, "there are no finished runs to report", o.what.front(),
                "etude compare METHOD --profile " + o.profile + " trains them");
  const std::string method = runs.front().method;
  for (const report::RunRecord& run : runs)
    if (run.method != method)
      throw Error(Code::usage, "these runs are of '" + method + "' and of '" + run.method + "'", run.directory,
                  "report one method at a time");
  const report::Claims claims = read_claims(method);
  Conclusion c;
  for (const Paper& paper : catalogue())
    if (paper.slug == method) c.paper = paper;
  if (c.paper.slug.empty()) c.paper = {method, "runs of your own", "", "", "", "", true};
  c.arms = claims.headline;
  for (const report::RunRecord& run : runs)
    if (std::find(c.arms.begin(), c.arms.end(), run.arm) == c.arms.end()) c.arms.push_back(run.arm);
  std::erase_if(c.arms, [&](const std::string& arm) {
    return std::none_of(runs.begin(), runs.end(), [&](const auto& r) { return r.arm == arm; });
  });
  c.profile = o.profile;
  c.out = o.out;
  c.claims = &claims;
  c.command = "etude report";
  for (const std::string& what : o.what) c.command += " " + what;
  tell_verdicts(c, runs, session);
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
  command->add_option("--profile", o->profile, "size of a method's runs")->capture_default_str();
  command->add_option("--out", o->out, "where runs are kept, and where the report goes")->capture_default_str();
  command->callback([&session, o] { report_runs(*o, session); });
}

}  // namespace etude::cli
