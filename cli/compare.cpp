// Arms x paired seeds as one graph of runs: each is a process of its own, so that memory and time are its own and the bits
// are those of running it alone. Finished runs are kept under their key.

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "cli/commands.h"
#include "etude/base/assets.h"
#include "etude/base/file.h"
#include "etude/base/log.h"
#include "etude/report/statistics.h"

extern char** environ;

namespace etude::cli {
namespace {

struct Options {
  std::string method, profile = "small", out = "runs", arms;
  int64_t seeds = 5, jobs = 0;
  bool plan = false;
};

struct Job {
  std::string arm;
  int64_t seed = 0;
  Recipe recipe;
  std::string directory;
  pid_t process = -1;
  bool done = false, failed = false;
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

/// claims.toml names the arms that the first claims need.
std::vector<std::string> headline(const std::string& method, const std::string& profile) {
  const auto text = asset("methods/" + method + "/claims.toml");
  if (profile == "full" || !text) return arms(method);
  const Config claims = parse_toml(*text, "claims.toml");
  std::vector<std::string> names;
  if (const Config* list = claims.find("headline"))
    for (const Config& name : list->as_list()) names.push_back(name.as_string());
  return names.empty() ? arms(method) : names;
}

nlohmann::json result_of(const std::string& directory) { return nlohmann::json::parse(file::read(directory + "/result.json")); }

/// Seconds that a run of this arm will take: as finished ones did, else from three probed steps.
double predict(const Job& job, const std::vector<Job>& all, std::map<std::string, double>& probed, const Registry& registry) {
  double sum = 0, n = 0;
  for (const Job& other : all)
    if (other.done && other.arm == job.arm) {
      sum += result_of(other.directory)["cost"].value("seconds", 0.0);
      n += 1;
    }
  if (n > 0) return sum / n;
  if (auto it = probed.find(job.arm); it != probed.end()) return it->second;
  TrainStage probe = make_stage(job.recipe, registry);
  at::set_num_threads(static_cast<int>(job.recipe.options.threads));
  const double steps = probe.stop.unit == Unit::steps ? probe.stop.amount : 1000;
  const double evaluations = probe.evaluate.unit == Unit::steps && probe.evaluate.amount > 0 ? std::ceil(steps / probe.evaluate.amount) : 1;
  probe.stop = Count{8, Unit::steps};
  probe.evaluate = Count{};
  const Fit fitted = fit(probe);
  return probed[job.arm] = fitted.cost.step_seconds / 8 * steps + fitted.cost.evaluate_seconds * evaluations;
}

void start(Job& job, const Options& o) {
  std::vector<std::string> words = {"etude", "--quiet", "run", job.recipe.method + "/" + job.arm, "--profile", o.profile, "--out", o.out, "seed=" + std::to_string(job.seed)};
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  file::make_directories(job.directory);
  const std::string errors = job.directory + "/errors.txt";
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, errors.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  const int failed = posix_spawn(&job.process, "/proc/self/exe", &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) throw Error(Code::internal, "a run could not be started", job.directory);
}

void print_table(const std::vector<std::string>& arms, const std::vector<Job>& jobs, const std::string& metric) {
  std::map<std::string, std::map<int64_t, nlohmann::json>> results;
  for (const Job& job : jobs)
    if (job.done) results[job.arm][job.seed] = result_of(job.directory);
  const std::string& reference = arms.front();
  std::printf("\n%-16s %-17s %-28s %9s %9s %8s %9s\n", "arm", metric.c_str(), ("minus " + reference + " (95 %)").c_str(), "time", "memory", "FLOPs", "sent");
  for (const std::string& arm : arms) {
    std::vector<double> values, differences;
    double seconds = 0, memory = 0, flops = 0, bytes = 0, n = 0;
    for (const auto& [seed, result] : results[arm]) {
      values.push_back(result["values"].at(metric));
      if (results[reference].count(seed)) differences.push_back(values.back() - results[reference][seed]["values"].at(metric).get<double>());
      seconds += result["cost"]["seconds"].get<double>();
      memory = std::max(memory, result["cost"]["peak_bytes"].get<double>());
      flops += result["cost"]["flops"].get<double>();
      bytes += result["cost"]["bytes"].get<double>();
      n += 1;
    }
    if (values.empty()) continue;
    const auto own = report::mean_interval(values), paired = report::mean_interval(differences);
    char difference[64] = "";
    if (arm != reference && differences.size() > 1) std::snprintf(difference, sizeof difference, "%+.4f [%+.4f, %+.4f]", paired.mean, paired.low, paired.high);
    std::printf("%-16s %.4f +- %.4f  %-28s %9s %9s %8s %9s\n", arm.c_str(), own.mean, own.sd, difference, human_time(seconds / n).c_str(), human_bytes(memory).c_str(), human_count(flops / n).c_str(), human_bytes(bytes / n).c_str());
  }
  std::printf("\nmean +- standard deviation over seeds; differences are paired by seed, with their 95 %% interval\n");
}

int compare(const Options& o, Session& session) {
  const Paper paper = find_paper(o.method);
  if (!paper.built) throw Error(Code::usage, "'" + paper.slug + "' is listed but not built yet", "", "etude list shows which are");
  const std::vector<std::string> arms = o.arms.empty() ? headline(paper.slug, o.profile) : split(o.arms);
  std::vector<Job> jobs;
  for (int64_t seed = 0; seed < o.seeds; ++seed)
    for (const std::string& arm : arms) {
      Job job{arm, seed, builtin_recipe(paper.slug, arm, o.profile, {"seed=" + std::to_string(seed)}, session.registry), {}, -1, false, false};
      job.directory = run_directory(job.recipe, o.out);
      job.done = is_finished(job.directory);
      jobs.push_back(std::move(job));
    }
  int64_t threads = 1;
  for (const Job& job : jobs) threads = std::max(threads, job.recipe.options.threads);
  const auto at_once = static_cast<size_t>(o.jobs > 0 ? o.jobs : std::max<int64_t>(1, available_cores() / threads));
  std::map<std::string, double> probed;
  double total = 0;
  size_t missing = 0;
  for (const Job& job : jobs)
    if (!job.done) {
      total += predict(job, jobs, probed, session.registry);
      ++missing;
    }
  std::cout << paper.slug << ", profile " << o.profile << ": " << arms.size() << " arms x " << o.seeds << " seeds, " << jobs.size() - missing << " runs finished, " << missing << " missing; about " << human_time(total / static_cast<double>(at_once)) << " with "
            << at_once << (at_once == 1 ? " run" : " runs") << " at once" << std::endl;
  if (o.plan) {
    for (const Job& job : jobs)
      if (!job.done) std::cout << "  " << job.directory << "  about " << human_time(predict(job, jobs, probed, session.registry)) << '\n';
    return 0;
  }
  setenv("OMP_WAIT_POLICY", "passive", 1);
  catch_interrupts();
  LiveLine live;
  const auto begun = std::chrono::steady_clock::now();
  size_t running = 0, done_here = 0;
  int status = 0;
  bool told = false;
  while (true) {
    if (interrupted() && !told) {
      told = true;
      for (const Job& job : jobs)
        if (job.process > 0) kill(job.process, SIGINT);
    }
    for (Job& job : jobs) {
      if (job.process <= 0) continue;
      int how = 0;
      if (waitpid(job.process, &how, WNOHANG) != job.process) continue;
      job.process = -1;
      --running;
      job.done = is_finished(job.directory);
      done_here += job.done;
      if (job.done || interrupted()) continue;
      job.failed = true;
      const int code = WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
      if (status == 0) status = code;
      warn(job.arm + ", seed " + std::to_string(job.seed) + " failed with exit code " + std::to_string(code) + ":\n" + file::read(job.directory + "/errors.txt"));
    }
    for (Job& job : jobs) {
      if (interrupted() || running >= at_once) break;
      if (job.done || job.failed || job.process > 0) continue;
      start(job, o);
      ++running;
    }
    if (running == 0) break;
    const double elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
    char text[160];
    std::snprintf(text, sizeof text, "%zu/%zu runs | %zu running | %s gone | ETA %s", done_here, missing, running, human_time(elapsed).c_str(),
                  human_time(done_here > 0 ? elapsed / static_cast<double>(done_here) * static_cast<double>(missing - done_here) : total / static_cast<double>(at_once)).c_str());
    live.show(text);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  live.finish();
  if (interrupted()) {
    inform("interrupted; what was running is saved, and the same command goes on from there");
    return static_cast<int>(Code::interrupted);
  }
  print_table(arms, jobs, "valid/loss");
  return status;
}

}  // namespace

void add_compare(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand("compare", "train the arms of a method on paired seeds and compare them")->footer("examples:\n  etude compare noloco --plan\n  etude compare noloco --profile small --seeds 5\n  etude compare noloco --arms noloco,none --profile smoke");
  auto o = std::make_shared<Options>();
  command->add_option("method", o->method, "slug of the method")->required();
  command->add_option("--profile", o->profile, "size: smoke, small, full")->capture_default_str();
  command->add_option("--seeds", o->seeds, "paired seeds, from 0")->check(CLI::Range(1, 1000))->capture_default_str();
  command->add_option("--jobs", o->jobs, "runs at once; 0: cores / threads")->check(CLI::Range(0, 1024));
  command->add_option("--arms", o->arms, "a,b,c; default: the headline arms, or all for full");
  command->add_option("--out", o->out, "where runs are kept")->capture_default_str();
  command->add_flag("--plan", o->plan, "only say what is missing and how long it takes");
  command->callback([&session, o] { session.status = compare(*o, session); });
}

}  // namespace etude::cli
