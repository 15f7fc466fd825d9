// Checks that train: what the loop promises of every combination of objective, source, techniques and nets.

#include <ATen/CPUGeneratorImpl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "etude/base/log.h"
#include "etude/data/text.h"

#include "tests/conformance/checks.h"
#include "tests/conformance/spies.h"
#include "tests/ranks/worlds.h"

namespace etude::conformance {
namespace {

Count steps(int64_t n) { return {static_cast<double>(n), Unit::steps}; }

/// Eight steps with two evaluations and a checkpoint between.
Subject eight(const Subject& s) {
  return s.with([](RecipeOptions& o) {
    o.stop = steps(8);
    o.log = steps(1);
    o.evaluate.every = steps(4);
    o.checkpoint.every = steps(3);
  });
}

Surroundings within(const std::string& directory) {
  Surroundings around;
  around.directory = directory;
  return around;
}

Problems progress(const Subject& s) {
  const Subject longer = s.with([](RecipeOptions& o) {
    o.stop = steps(24);
    o.evaluate.every = steps(1);
  });
  const Fit done = fit(longer.stage());
  const auto value = [&](const MetricLine& line) {
    const auto it = line.values.find(s.metric);
    return it == line.values.end() ? std::nan("") : it->second;
  };
  if (done.lines.empty()) return {"nothing is evaluated"};
  const double first = value(done.lines.front()), last = value(done.lines.back());
  if (s.lower_is_better ? last < first : last > first) return {};
  return {s.metric + " is " + std::to_string(first) + " after step 1 and " + std::to_string(last) + " after step 24"};
}

Problems same_bits(const Subject& s) {
  const TestFolder folder;
  std::vector<test::Print> prints;
  for (const uint64_t global_seed : {1, 2}) {
    torch::manual_seed(global_seed);
    const std::string directory = folder.at(std::to_string(global_seed));
    const Fit done = fit(eight(s).stage(), within(directory));
    prints.push_back(test::print(done, directory));
  }
  return test::difference(prints[0], prints[1]);
}

Problems generator(const Subject& s) {
  const auto state = [] { return at::detail::getDefaultCPUGenerator().get_state().clone(); };
  const Tensor before = state();
  fit(eight(s).stage());
  if (torch::equal(before, state())) return {};
  return {"LibTorch's default generator was used: draw from step.rng(...) or ctx.rng(...)"};
}

Problems resume(const Subject& s) {
  const TestFolder folder;
  const Subject stopped = eight(s);
  return test::wherever_stopped([&] { return stopped.stage(); }, folder);
}

/// The process dies without unwinding, halfway through the operations of a checkpoint.
Problems kill(const Subject& s) {
  const TestFolder folder;
  const Subject killed = eight(s);
  std::vector<int64_t> operations;  // done at the end of each step, before its checkpoint
  Surroundings straight = within(folder.at("straight"));
  straight.interrupted = [&] { return operations.push_back(file::operations()), false; };
  file::inject({});
  const Fit whole = fit(killed.stage(), straight);
  const int64_t middle = (operations.at(5) + operations.at(6)) / 2;  // of step 6; that of step 3 is whole

  const std::string directory = folder.at("killed");
  const std::ptrdiff_t threads =
      std::distance(std::filesystem::directory_iterator("/proc/self/task"), std::filesystem::directory_iterator());
  if (threads != 1) return {"the check forks, but there are " + std::to_string(threads) + " threads"};
  const pid_t child = ::fork();
  if (child == 0) {
    file::inject({middle, file::Injection::Fault::kill});
    fit(killed.stage(), within(directory));
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {"the process did not die"};
  const Fit rest = fit(killed.stage(), within(directory));
  return test::difference(test::print(whole, straight.directory), test::print(rest, directory));
}

/// Whether a stage is refused before step one by what its parts declare, with a reason.
bool refused(const TrainStage& stage, Problems& problems) {
  try {
    describe(stage);
    return false;
  } catch (const Error& error) {
    if (error.code() != Code::config || error.hint().empty())
      problems.push_back("refused without a reason: " + std::string(error.what()));
    return true;
  }
}

bool near(double a, double b, double tolerance) { return std::abs(a - b) <= tolerance * std::max(1.0, std::abs(b)); }

Problems microbatch(const Subject& s) {
  Problems problems;
  std::vector<Fit> fits;
  std::vector<std::map<std::string, double>> first;  // training metrics of the first step
  for (const int64_t accumulate : {1, 2}) {
    const Subject cut = s.with([&](RecipeOptions& o) {
      o.stop = steps(4);
      o.log = steps(1);
      o.accumulate = accumulate;
      o.source.batch *= 2;
    });
    const TrainStage stage = cut.stage();
    for (const Pass& pass : stage.passes)
      if (pass.objective->needs().coupling == Coupling::micro) return {};  // declared: it depends on the cut
    if (refused(stage, problems)) return problems;
    Surroundings around;
    bool begun = false;
    around.metric = [&](const MetricLine& line) {
      if (!begun) first.push_back(line.values);
      begun = true;
    };
    fits.push_back(fit(stage, around));
  }
  for (const auto& [name, value] : first[0])
    if (name.ends_with("/loss") && !near(first[1][name], value, 1e-5))
      problems.push_back(name + " of step 1 is " + std::to_string(value) + " in one piece and " +
                         std::to_string(first[1][name]) + " in two");
  const double whole = fits[0].values[s.metric], cut = fits[1].values[s.metric];
  if (!near(cut, whole, 1e-3))
    problems.push_back(s.metric + " ends at " + std::to_string(whole) + " with batches in one piece and at " +
                       std::to_string(cut) + " in two");
  return problems;
}

/// A value that is not finite stops step two before its update, and is named.
Problems nonfinite(const Subject& s) {
  Problems problems;
  const Subject three = s.with([](RecipeOptions& o) {
    o.stop = steps(3);
    for (LearnerSpec& learner : o.learner) learner.on_nonfinite = "stop";
  });
  const std::pair<Poison::What, std::string> places[] = {
      {Poison::What::input, "input"}, {Poison::What::weights, "weights"}, {Poison::What::gradient, "gradient"}};
  for (const auto& [what, place] : places) {
    TrainStage stage = three.stage();
    const auto poison = std::make_shared<Poison>(what);
    stage.with.push_back(poison);
    try {
      fit(stage);
      if (!poison->name.empty()) problems.push_back("training goes on with a NaN " + place + ": " + poison->name);
      continue;
    } catch (const Error& error) {
      const std::string text = error.what();
      if (error.code() != Code::numeric) problems.push_back("a NaN " + place + " ends in " + text);
      if (error.where().empty() || error.hint().empty()) problems.push_back("no place or no hint: " + text);
      if (what == Poison::What::gradient && error.where().find(poison->name) == std::string::npos)
        problems.push_back("the gradient of " + poison->name + " is NaN, but the error says: " + text);
    }
    if (!poison->weights_unchanged()) problems.push_back("weights moved although there is a NaN " + place);
  }
  const Subject skipping = three.with([](RecipeOptions& o) {
    for (LearnerSpec& learner : o.learner) learner.on_nonfinite = "skip_step";
  });
  TrainStage stage = skipping.stage();
  stage.with.push_back(std::make_shared<Poison>(Poison::What::gradient));
  for (const auto& [name, value] : fit(stage).artifact.tensors)
    if (!torch::isfinite(value).all().item<bool>()) problems.push_back("skip_step lets a NaN into tensor " + name);
  return problems;
}

Problems data(const Subject& s) {
  const auto& options = s.registry->data(s.recipe.options.data).options;
  if (std::none_of(options.begin(), options.end(), [](const OptionInfo& o) { return o.key == "path"; })) return {};
  Problems problems;
  const TestFolder folder;
  file::make_directories(folder.at("empty"));
  for (const std::string name : {"missing", "empty"}) {
    const std::string path = folder.at(name);
    try {
      s.with([&](RecipeOptions& o) { o.data.config.set("path", Config(path)); }).stage();
      problems.push_back("a path that is " + name + " is taken for data");
    } catch (const Error& error) {
      if (error.code() != Code::data && error.code() != Code::config)
        problems.push_back("a path that is " + name + " ends in " + error.what());
      if (std::string(error.what()).find(path) == std::string::npos || error.hint().empty())
        problems.push_back("a path that is " + name + ": no path or no hint: " + error.what());
    }
  }
  return problems;
}

/// 1, 2 and 4 replicas: none sees a sample again before all were seen.
Problems epoch(const Subject& s) {
  Problems problems;
  const TestFolder folder;
  int64_t allowed = 0;
  for (const int64_t replicas : {1, 2, 4}) {
    const Subject some = s.with([&](RecipeOptions& o) {
      o.replicas = replicas;
      o.source.batch = 1;
      if (o.source.shards > 1) o.source.shards = replicas;
      if (o.data.kind() == "text") {
        // 40 rows: each has `length` tokens, and one more is only a label.
        const Config* length = o.data.config.find("length");
        const std::string text(static_cast<size_t>(40 * (length ? length->as_int() : TextOptions{}.length)), 'x');
        file::write_atomically(folder.at("rows.txt"), text);
        o.data.config.set("path", Config(folder.at("rows.txt")));
        o.data.config.set("validation", Config(0.0));
      }
    });
    TrainStage stage = some.stage();
    if (refused(stage, problems)) continue;
    for (const auto& [name, source] : stage.sources)
      if (source->kind() != Source::Kind::pure) return {};  // promises no epochs
    for (const auto& technique : stage.with)
      if (technique->contract().owns.count(Slot::plan)) return {};  // decides itself what is drawn
    ++allowed;
    const auto seen = std::make_shared<Seen>();
    stage.with.insert(stage.with.begin(), seen);
    const int64_t records = s.registry->data(some.recipe.options.data).make(some.recipe.options.data).train->size();
    int64_t in_a_step = replicas;
    for (const Pass& pass : stage.passes) in_a_step = std::max(in_a_step, replicas * pass.times);
    const int64_t most = 64;  // of a big data set, only the beginning
    stage.stop = steps(std::min(records / in_a_step, most));
    fit(stage);
    std::vector<int64_t> ids = seen->ids;
    std::sort(ids.begin(), ids.end());
    const auto again = std::adjacent_find(ids.begin(), ids.end());
    const std::string what = std::to_string(replicas) + " replicas: ";
    if (again != ids.end()) problems.push_back(what + "sample " + std::to_string(*again) + " comes twice in an epoch");
    const auto drawn = static_cast<int64_t>(ids.size());
    if (records <= most && drawn + in_a_step <= records)
      problems.push_back(what + std::to_string(drawn) + " of " + std::to_string(records) + " samples in an epoch");
  }
  if (allowed == 0) problems.push_back("neither 1, 2 nor 4 replicas can train this");
  return problems;
}

/// Over 2 and 4 ranks as in one process: the same bits, or to rounding where ranks share a replica.
Problems over_ranks(const Subject& s) {
  const TestFolder folder;
  const Subject once = eight(s);
  const auto trained = [&](int ranks) {
    const std::string directory = folder.at(std::to_string(ranks));
    ranks::fit_over(ranks, once.recipe, *once.registry, directory);
    return *Checkpoints(directory).load_latest();
  };
  const Snapshot alone = trained(1);
  Problems problems;
  for (const int ranks : {2, 4}) {
    const bool shared = ranks > once.recipe.options.replicas;
    const double apart = ranks::distance(alone, trained(ranks), shared ? 1e-4 : 0);
    if (apart > (shared ? 1e-4 : 0))
      problems.push_back("over " + std::to_string(ranks) + " ranks the run state differs by " + std::to_string(apart) +
                         " from that of one process: what a technique remembers belongs into step.store()");
  }
  return problems;
}

/// loss() and terms() change nothing and say the same when called again.
Problems pure_loss(const Subject& s) {
  const auto problems = std::make_shared<Problems>();
  TrainStage stage = s.with([](RecipeOptions& o) { o.stop = steps(2); }).stage();
  for (Pass& pass : stage.passes) pass.objective = std::make_shared<WatchedObjective>(pass.objective, problems);
  for (auto& technique : stage.with) technique = std::make_shared<WatchedTechnique>(technique, problems);
  try {
    fit(stage);
  } catch (const Error& error) {
    problems->push_back(error.what());
  }
  return *problems;
}

}  // namespace

const std::vector<Check>& signature_checks() {
  static const std::vector<Check> all = {
      {"progress", progress}, {"same_bits", same_bits},   {"generator", generator},  {"resume", resume},
      {"kill", kill},         {"microbatch", microbatch}, {"nonfinite", nonfinite},  {"data", data},
      {"epoch", epoch},       {"pure_loss", pure_loss},   {"over_ranks", over_ranks}};
  return all;
}

Problems run_check(const std::string& id, const Subject& subject) {
  at::set_num_threads(1);  // as recipes have it; and the check that forks must find no other threads
  set_log({.verbosity = Verbosity::quiet});
  for (const auto* list : {&arm_checks(), &signature_checks()})
    for (const Check& check : *list) {
      if (check.id != id) continue;
      try {
        return check.run(subject);
      } catch (const std::exception& error) {
        return {std::string("it ended in an error: ") + error.what()};
      }
    }
  ETUDE_CHECK(false, "no check is called " + id);
}

}  // namespace etude::conformance
