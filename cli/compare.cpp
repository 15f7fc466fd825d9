// Arms x paired seeds. Each run is a process of its own, so that its memory and time are its own and its bits are
// those of running it alone. Finished runs are kept under their key and never trained twice. Runs of experiments
// measure time: each has the machine for itself, and one that was interrupted begins anew.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iostream>
#include <nlohmann/json.hpp>

#include "cli/child.h"
#include "cli/commands.h"
#include "cli/verdicts.h"
#include "etude/base/file.h"
#include "etude/base/log.h"
#include "etude/base/text.h"
#include "etude/comm/environment.h"
#include "etude/report/run_record.h"

namespace etude::cli {
namespace {

constexpr int64_t kProbeSteps = 6;

struct Options {
  std::string method, profile = "small", out = "runs", arms;
  int64_t seeds = 0, jobs = 0;
  std::vector<std::string> overrides;
  OwnData own;
  bool plan = false, fresh = false, record = false;
};

struct Job {
  std::string arm;  ///< "noloco", "noloco@straggler"
  int64_t seed = 0;
  const report::Experiment* experiment = nullptr;  ///< none: an ordinary run
  Recipe recipe;
  std::string out, directory;
  enum class State { missing, running, finished, failed } state = State::missing;
  std::unique_ptr<Child> child = {};
  double predicted = 0;  ///< seconds

  std::string name() const { return arm + " s" + std::to_string(seed); }
  /// Beside the run: what is in its folder goes when it begins anew.
  std::string errors() const {
    const size_t name = directory.rfind('/') + 1;
    return directory.substr(0, name) + "errors-" + directory.substr(name) + ".txt";
  }
};

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> words;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    if (end > begin) words.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

class Comparison {
 public:
  Comparison(const Options& options, Session& session)
      : o_(options), session_(session), paper_(find_built(options.method)), claims_(read_claims(paper_.slug)) {
    if (o_.record) checkout_folder(paper_.slug);  // says what is wrong before hours of training
    choose_arms();
    seeds_ = o_.seeds > 0 ? o_.seeds : claims_.seeds;
    for (const bool experiments : {false, true})
      for (int64_t seed = 0; seed < seeds_; ++seed)
        for (const std::string& arm : arms_)
          if ((claims_.experiment(arm) != nullptr) == experiments) add(arm, seed);
    int64_t threads = 1;
    for (const Job& job : jobs_) threads = std::max(threads, job.recipe.options.threads);
    at_once_ = static_cast<size_t>(o_.jobs > 0 ? o_.jobs : std::max<int64_t>(1, available_cores() / threads));
  }

  int run() {
    predict();
    tell_plan();
    if (o_.plan) return 0;
    const int status = train();
    if (interrupted()) {
      inform("interrupted; what was running is saved, and the same command goes on from there");
      return static_cast<int>(Code::interrupted);
    }
    conclude();
    return status;
  }

 private:
  void choose_arms() {
    const std::vector<std::string> all = arms(paper_.slug), of_experiments = claims_.experiment_arms();
    if (!o_.arms.empty()) {
      arms_ = split(o_.arms);
    } else if (o_.profile == "full" || claims_.headline.empty()) {
      arms_ = all;
      arms_.insert(arms_.end(), of_experiments.begin(), of_experiments.end());
    } else {
      arms_ = default_arms(claims_);
    }
    if (arms_.empty())
      throw Error(Code::usage, "no arm is named", "--arms",
                  "names with commas between them; etude show " + paper_.slug + " lists them");
    std::set<std::string> seen;
    for (const std::string& arm : arms_) {
      if (!seen.insert(arm).second)
        throw Error(Code::usage, "arm '" + arm + "' is named twice", "--arms", "name each arm once");
      const bool known = std::find(of_experiments.begin(), of_experiments.end(), arm) != of_experiments.end();
      if (!report::experiment_id(arm).empty() && !known)
        throw Error(Code::usage, "there is no arm '" + arm + "'", "--arms",
                    did_you_mean(arm, of_experiments, "etude show " + paper_.slug + " lists arms and experiments"));
    }
  }

  void add(const std::string& arm, int64_t seed) {
    const report::Experiment* const experiment = claims_.experiment(arm);
    if (experiment && seed >= experiment->seeds.value_or(seeds_)) return;
    std::vector<std::string> overrides = o_.overrides;
    overrides.push_back("seed=" + std::to_string(seed));
    auto [recipe, out] = arm_recipe(paper_.slug, arm, claims_, o_.profile, overrides, o_.out, session_.registry);
    Job job{arm, seed, experiment, std::move(recipe), std::move(out), {}};
    job.directory = run_directory(job.recipe, job.out);
    if (is_finished(job.directory) && !o_.fresh) job.state = Job::State::finished;
    jobs_.push_back(std::move(job));
  }

  size_t count(Job::State state) const {
    return static_cast<size_t>(
        std::count_if(jobs_.begin(), jobs_.end(), [&](const Job& j) { return j.state == state; }));
  }

  /// Seconds that finished runs of this arm took on average; 0 if there are none.
  double measured(const std::string& arm) const {
    double sum = 0, n = 0;
    for (const Job& job : jobs_) {
      if (job.state != Job::State::finished || job.arm != arm) continue;
      const auto cost = report::read_run(job.directory).cost;
      if (const auto it = cost.find("seconds"); it != cost.end() && it->second > 0) sum += it->second, n += 1;
    }
    return n > 0 ? sum / n : 0;
  }

  /// From finished runs of the arm, else of any arm beside it, else from a few steps of the first arm.
  void predict() {
    std::map<std::string, double> by_arm;
    std::map<const report::Experiment*, double> any;
    for (const std::string& arm : arms_) {
      double& longest = any[claims_.experiment(arm)];
      longest = std::max(longest, by_arm[arm] = measured(arm));
    }
    for (Job& job : jobs_) {
      double& other = any[job.experiment];
      if (other == 0 && job.state == Job::State::missing) other = probed(job);
      job.predicted = by_arm[job.arm] > 0 ? by_arm[job.arm] : other;
    }
  }

  /// Ranks share the cores, and all wait for the slowest in the end.
  double probed(const Job& job) const {
    const double alone = probe(job.recipe, session_.registry, kProbeSteps).seconds;
    if (!job.experiment) return alone;
    const int ranks = static_cast<int>(job.experiment->nproc);
    const Rehearsal rehearsal = Rehearsal::parse(job.experiment->inject);
    double slowest = 1;
    for (int rank = 0; rank < ranks && !rehearsal.has_chaos(); ++rank)
      slowest = std::max(slowest, rehearsal.for_rank(rank).slowness());
    const int64_t cores = std::max<int64_t>(1, available_cores() / job.recipe.options.threads);
    return alone * slowest / static_cast<double>(std::min<int64_t>(ranks, cores));
  }

  /// Seconds until all is done: what is left, spread over the places, or the longest run; then the experiments.
  double seconds_left() const {
    double sum = 0, longest = 0, experiments = 0;
    for (const Job& job : jobs_) {
      double left = 0;
      if (job.state == Job::State::missing) left = job.predicted;
      if (job.state == Job::State::running)
        left = job.child->heard().any ? job.child->heard().eta_seconds : job.predicted;
      (job.experiment ? experiments : sum) += left;
      if (!job.experiment) longest = std::max(longest, left);
    }
    return std::max(longest, sum / static_cast<double>(at_once_)) + experiments;
  }

  void tell_plan() const {
    const size_t missing = count(Job::State::missing);
    if (session_.json) {
      nlohmann::json runs = nlohmann::json::array();
      for (const Job& job : jobs_)
        runs.push_back({{"arm", job.arm},
                        {"seed", job.seed},
                        {"directory", job.directory},
                        {"finished", job.state == Job::State::finished},
                        {"predicted_seconds", job.predicted}});
      std::cout << nlohmann::json{{"event", "plan"},  {"method", paper_.slug}, {"profile", o_.profile},
                                  {"jobs", at_once_}, {"missing", missing},    {"predicted_seconds", seconds_left()},
                                  {"runs", runs}}
                       .dump()
                << std::endl;
      return;
    }
    const auto rehearsed = std::count_if(jobs_.begin(), jobs_.end(), [](const Job& j) { return j.experiment; });
    const auto ordinary =
        std::count_if(arms_.begin(), arms_.end(), [&](const auto& arm) { return !claims_.experiment(arm); });
    std::string text = paper_.slug + ", profile " + o_.profile + ": ";
    if (ordinary > 0) text += std::to_string(ordinary) + " arms x " + std::to_string(seeds_) + " seeds, ";
    if (rehearsed > 0) text += std::to_string(rehearsed) + " runs of experiments, ";
    text += std::to_string(jobs_.size() - missing) + " runs finished, " + std::to_string(missing) + " missing";
    if (missing > 0)
      text += "; about " + human_time(seconds_left()) +
              (ordinary == 0 ? ", one run at a time"
                             : " with " + std::to_string(at_once_) + (at_once_ == 1 ? " run" : " runs") + " at once");
    if (!o_.plan) return inform(text);
    std::cout << text << '\n';
    for (const Job& job : jobs_)
      if (job.state != Job::State::finished)
        std::cout << "  " << padded(job.name(), 24) << ' ' << padded(human_time(job.predicted), 14) << ' '
                  << job.directory << '\n';
  }

  /// Returns 0, or the exit code that says why it could not be started.
  int start(Job& job) {
    std::vector<std::string> words = {"--json",    "--quiet",  "run",   paper_.slug + "/" + job.recipe.arm,
                                      "--profile", o_.profile, "--out", job.out};
    if (o_.fresh || job.experiment) words.push_back("--fresh");
    if (const report::Experiment* const e = job.experiment) {
      words.insert(words.end(), {"--nproc", std::to_string(e->nproc)});
      if (!e->inject.empty()) words.insert(words.end(), {"--inject", e->inject});
      words.insert(words.end(), e->set.begin(), e->set.end());
    }
    words.insert(words.end(), o_.overrides.begin(), o_.overrides.end());
    words.push_back("seed=" + std::to_string(job.seed));
    try {
      file::make_directories(job.directory);
      job.child = std::make_unique<Child>(words, job.errors());
    } catch (const Error& error) {
      job.state = Job::State::failed;
      warn(job.arm + ", seed " + std::to_string(job.seed) + ", was not started: " + error.what());
      return error.exit_code();
    }
    job.state = Job::State::running;
    return 0;
  }

  /// Takes in that a run ended. Returns its exit code.
  int end(Job& job, int code) {
    job.child.reset();
    if (code == 0 && is_finished(job.directory)) {
      job.state = Job::State::finished;
      file::remove_all(job.errors());
      if (session_.json)
        std::cout << nlohmann::json{{"event", "run_finished"},
                                    {"arm", job.arm},
                                    {"seed", job.seed},
                                    {"directory", job.directory}}
                         .dump()
                  << std::endl;
      return 0;
    }
    job.state = interrupted() ? Job::State::missing : Job::State::failed;
    if (!interrupted())
      warn(job.arm + ", seed " + std::to_string(job.seed) + ", ended with exit code " + std::to_string(code) + ": " +
           reported_error(job.errors()).text() + "\nlog: " + job.directory + "/log.txt");
    return code == 0 ? static_cast<int>(Code::internal) : code;
  }

  std::string live_text(size_t done_before) const {
    std::string text = std::to_string(count(Job::State::finished) - done_before) + "/" +
                       std::to_string(jobs_.size() - done_before) + " runs | ";
    std::string running;
    for (const Job& job : jobs_) {
      if (job.state != Job::State::running) continue;
      const Heard& heard = job.child->heard();
      running += (running.empty() ? "" : ", ") + job.name() +
                 (heard.any ? " " + human_count(heard.done) + "/" + human_count(heard.of) + " loss " +
                                  rounded_number(heard.loss, 3)
                            : " starts");
    }
    return text + running + " | ETA " + human_time(seconds_left());
  }

  /// Trains what is missing. Returns the exit code of the first run that failed, or 0.
  int train() {
    catch_interrupts(kSaving);
    const size_t done_before = count(Job::State::finished);
    LiveLine live;
    int status = 0;
    bool passed_on = false;
    while (true) {
      if (interrupted() && !passed_on) {
        passed_on = true;
        for (const Job& job : jobs_)
          if (job.child) job.child->interrupt();
      }
      for (Job& job : jobs_)
        if (job.child)
          if (const auto code = job.child->poll())
            if (const int failed = end(job, *code); failed != 0 && status == 0) status = failed;
      for (Job& job : jobs_)
        if (job.state == Job::State::missing && !interrupted() && has_place(job))
          if (const int failed = start(job); failed != 0 && status == 0) status = failed;
      if (count(Job::State::running) == 0) break;
      live.show(live_text(done_before));
      wait();
    }
    live.finish();
    return status;
  }

  /// Whether it may start beside those that run.
  bool has_place(const Job& job) const {
    const size_t running = count(Job::State::running);
    if (job.experiment) return running == 0;
    const bool measuring =
        std::any_of(jobs_.begin(), jobs_.end(), [](const Job& j) { return j.child && j.experiment; });
    return running < at_once_ && !measuring;
  }

  void wait() const {
    std::vector<const Child*> running;
    for (const Job& job : jobs_)
      if (job.child) running.push_back(job.child.get());
    wait_for_any(running);
  }

  void conclude() const {
    std::vector<report::RunRecord> runs;
    for (const Job& job : jobs_)
      if (job.state == Job::State::finished) runs.push_back(report::read_run(job.directory));
    if (runs.empty()) return;
    report::Comparison c = compared(paper_.slug, o_.profile, arms_, std::move(runs), session_.registry);
    for (report::Experiment& e : c.claims.experiments)
      e.set.insert(e.set.end(), o_.overrides.begin(), o_.overrides.end());
    c.command = compare_command(paper_.slug, o_.profile, seeds_, o_.arms.empty() ? std::vector<std::string>{} : arms_,
                                o_.overrides);
    tell(c, o_.out, session_);
    if (!o_.record) return;
    if (c.runs.size() == jobs_.size()) return record(c);
    warn("nothing was recorded: " + std::to_string(jobs_.size() - c.runs.size()) + " runs are missing");
  }

  const Options& o_;
  Session& session_;
  Paper paper_;
  report::Claims claims_;
  std::vector<std::string> arms_;
  std::vector<Job> jobs_;
  int64_t seeds_ = 0;  ///< of ordinary arms
  size_t at_once_ = 1;
};

}  // namespace

void add_compare(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand("compare", "train the arms of a method on paired seeds; table, verdicts, report")
                      ->footer(
                          "examples:\n"
                          "  etude compare noloco --plan\n"
                          "  etude compare noloco\n"
                          "  etude compare noloco --arms noloco,none --profile smoke --seeds 2\n"
                          "  etude compare noloco --data my_texts/ --out my_runs\n"
                          "  etude compare noloco --arms noloco@straggler,diloco@straggler --plan\n"
                          "Finished runs are kept; the same command trains what is missing. ARM@EXPERIMENT\n"
                          "runs as several ranks under conditions that the method's claims name, one such\n"
                          "run at a time and beside no other: leave the machine alone.");
  auto o = std::make_shared<Options>();
  command->add_option("method", o->method, "slug of the method")->required();
  command->add_option("overrides", o->overrides, "key=value for the recipes of all arms");
  add_own_data(*command, o->own);
  command->add_option("--profile", o->profile, "size: smoke, small, full")->capture_default_str();
  command
      ->add_option("--seeds", o->seeds,
                   "paired seeds 0..N-1; as the method's claims say if not given. Experiments may have fewer")
      ->check(whole(1, 1000));
  command->add_option("--jobs", o->jobs, "runs at once; cores / threads if not given")->check(whole(1, 1024));
  command->add_option("--arms", o->arms,
                      "a,b@experiment,c; those of the claims and all experiments if not given, all arms for full");
  command->add_option("--out", o->out, "where runs and the report are kept")->capture_default_str()->check(not_empty());
  command->add_flag("--plan", o->plan, "only say what is missing and how long it takes");
  command->add_flag("--fresh", o->fresh, "train finished runs again");
  command->add_flag("--record", o->record, "store the results with the method's card (in a checkout)");
  command->callback([&session, o] {
    if (const auto joining = joining_from_environment())
      throw Error(Code::usage, "a comparison can't be one of several ranks (" + joining->starter + ")", "command line",
                  "etude compare in one process; its runs are processes of their own");
    const std::vector<std::string> own = overrides_of(o->own);
    o->overrides.insert(o->overrides.begin(), own.begin(), own.end());
    session.status = Comparison(*o, session).run();
  });
}

}  // namespace etude::cli
