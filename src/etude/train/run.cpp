#include "etude/train/run.h"

#include <sched.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "etude/base/file.h"
#include "etude/base/log.h"
#include "etude/base/torch_pch.h"
#include "etude/tensor/allocator.h"
#include "etude/tensor/safetensors.h"
#include "etude/train/sealed.h"

namespace etude {
namespace {

void write_rows(const std::string& directory, const Fit& fit) {
  for (const auto& [name, rows] : fit.rows) {
    file::make_directories(directory + "/rows");
    std::string lines;
    for (const Row& row : rows)
      lines += nlohmann::json{{"item", row.id}, {"value", row.value}, {"weight", row.weight}}.dump() + "\n";
    file::write_atomically(directory + "/rows/" + name + ".jsonl", lines);
  }
}

nlohmann::json result_of(const Recipe& recipe, const Fit& fit) {
  const Cost& c = fit.cost;
  nlohmann::json values = nlohmann::json::object();
  for (const auto& [name, value] : fit.values) values[name] = value;
  nlohmann::json traffic = nlohmann::json::object();
  for (const auto& [operation, sent] : c.traffic)
    traffic[operation] = {{"bytes", sent.bytes}, {"messages", sent.messages}, {"rounds", sent.rounds}};
  nlohmann::json cost = {{"seconds", c.seconds},
                         {"step_seconds", c.step_seconds},
                         {"evaluate_seconds", c.evaluate_seconds},
                         {"checkpoint_seconds", c.checkpoint_seconds},
                         {"idle_seconds", c.idle_seconds},
                         {"wait_fraction", c.step_seconds > 0 ? c.wait_seconds / c.step_seconds : 0.0},
                         {"peak_bytes", c.peak_bytes},
                         {"flops", c.flops},
                         {"bytes", c.bytes},
                         {"messages", c.messages},
                         {"rounds", c.rounds},
                         {"parameters", c.parameters}};
  // Of this process, as peak_bytes is; without the allocator nobody counts.
  if (const TensorMemory tensors = tensor_memory(); tensors.peak > 0)
    cost["tensor_peak_bytes"] = static_cast<double>(tensors.peak);
  return {{"v", 1},
          {"status", "finished"},
          {"method", recipe.method},
          {"arm", recipe.arm},
          {"profile", recipe.profile},
          {"seed", recipe.options.seed},
          {"recipe_hash", recipe.hash()},
          {"commit", source_commit()},
          {"values", values},
          {"cost", cost},
          {"traffic", traffic},
          {"machine",
           {{"processor", processor_name()},
            {"threads", recipe.options.threads},
            {"isa", at::get_cpu_capability()},
            {"libtorch", TORCH_VERSION}}}};
}

/// Tells what differs from the most similar earlier run of the same arm and seed.
void tell_difference(const Recipe& recipe, const std::string& out, const std::string& own) {
  const std::string folder = out + "/" + recipe.method + "-" + recipe.arm;
  const std::string suffix = "-s" + std::to_string(recipe.options.seed);
  std::string nearest_run;
  std::vector<Change> least;
  for (const std::string& name : file::list(folder)) {
    const std::string other = folder + "/" + name;
    if (other == own || !name.ends_with(suffix) || !file::exists(other + "/recipe.toml")) continue;
    std::vector<Change> changes;
    try {
      changes = difference(read_toml(other + "/recipe.toml"), recipe.resolved);
    } catch (const Error& unreadable) {
      note(unreadable.what());  // that run's own command will say so
      continue;
    }
    if (changes.empty() || (!nearest_run.empty() && changes.size() >= least.size())) continue;
    nearest_run = other;
    least = std::move(changes);
  }
  if (nearest_run.empty()) return;
  std::string text = "a new run; it differs from " + nearest_run + " in";
  for (const Change& change : least) text += "\n  " + change.key + ": " + change.before + " -> " + change.after;
  inform(text);
}

/// What is told before step one.
std::string preamble(const Recipe& recipe, const TrainStage& stage, const std::string& directory) {
  const std::string plan = describe(stage);
  std::map<std::string, int64_t> sizes;
  for (const ParameterShape& p : parameter_shapes(stage)) {
    int64_t values = 1;
    for (const int64_t n : p.shape) values *= n;
    sizes[p.learner.empty() ? "nobody" : p.learner] += values;
  }
  std::string parameters;
  for (const auto& [learner, values] : sizes)
    parameters += (parameters.empty() ? "" : ", ") + std::to_string(values) + " moved by " + learner;
  const int64_t threads = recipe.options.threads;
  return recipe.method + "/" + recipe.arm + (recipe.profile.empty() ? "" : ", profile " + recipe.profile) + ", seed " +
         std::to_string(recipe.options.seed) + ", " + std::to_string(threads) +
         (threads == 1 ? " thread" : " threads") + ": " + directory + "\n" + plan + "  parameters: " + parameters +
         (stage.replicas > 1 ? ", in each replica" : "");
}

/// What reads the run's texts after it, wherever it came from; nothing where that is bytes.
void keep_tokenizer(const Tokenizer& tokenizer, const std::string& directory) {
  const std::string folder = directory + "/" + kTokenizerFolder;
  for (const Tokenizer::File& one : tokenizer.files()) {
    file::make_directories(folder);
    const std::string path = folder + "/" + one.name;
    if (!file::exists(path)) file::write_atomically(path, one.content);
  }
}

/// The data sets of a stage, their tokenizer if it came from a file, and stored weights that its nets begin from, as
/// they are kept beside a run.
nlohmann::json data_of(const TrainStage& stage) {
  nlohmann::json all = nlohmann::json::object();
  const auto add = [&](const std::string& name, const DataCard& card) {
    all[name] = {{"name", card.name},       {"licence", card.licence}, {"origin", card.origin},
                 {"records", card.records}, {"bytes", card.bytes},     {"sha256", card.sha256}};
  };
  for (const auto& [name, source] : stage.sources)
    if (const std::optional<DataCard> card = source->card()) add(name, *card);
  if (stage.tokenizer && !stage.tokenizer->files().empty()) {
    DataCard card;
    card.name = "tokenizer";
    card.origin = kTokenizerFolder;
    card.sha256 = stage.tokenizer->hash();
    add("tokenizer", card);
  }
  for (const NetSpec& net : stage.nets)
    if (net.card) add("net " + net.name, net.card());
  return all;
}

/// A run goes on with the data and the stored weights that it began with. Errors: Code::data if they are others.
void check_data(const std::string& directory, const TrainStage& stage) {
  const std::string path = directory + "/data.json";
  if (!file::exists(path)) return;
  const nlohmann::json before = nlohmann::json::parse(file::read(path), nullptr, false);
  if (!before.is_object())
    throw Error(Code::checkpoint, "what this run's data were can't be read", path, "--fresh trains it again");
  const nlohmann::json now = data_of(stage);
  for (const auto& [name, card] : now.items()) {
    const auto hash = [&](const nlohmann::json& all) {
      return all.value(name, nlohmann::json::object()).value("sha256", "");
    };
    if (hash(before) != hash(now))
      throw Error(Code::data,
                  std::string(name.starts_with("net ") ? "the weights that a net begins from have"
                              : name == "tokenizer"    ? "the tokenizer has"
                                                       : "the data have") +
                      " changed since this run began: sha256 " + hash(now).substr(0, 16) + ", then " +
                      hash(before).substr(0, 16),
                  card.value("origin", name), "put back what was there, or begin anew with --fresh");
  }
}

/// A finished run stays what it is, but whoever changed its data should know.
void warn_of_changed_data(const std::string& directory, const Recipe& recipe, const Registry& registry) {
  try {
    check_data(directory, make_stage(recipe, registry));
  } catch (const Error& error) {
    warn("this result is that of earlier data: " + error.message());
  }
}

/// Rank 0 knows whether a run is finished already, and tells the others. Errors: Code::comms when it has gone.
bool agree_that_it_is_finished(Links& links, bool finished) {
  const std::string tag = "broadcast/finished";
  if (links.returned(links.rank()) > 0) return false;  // the others are at work
  if (links.rank() == 0) {
    for (int other = 1; other < links.size(); ++other) links.send(other, tag, {torch::tensor(finished)});
    return finished;
  }
  const auto told = links.receive_patiently(0, tag);
  if (!told) return false;  // it has gone: whoever leads next begins where it was
  if (told->size() != 1 || told->front().numel() != 1)
    throw Error(Code::comms, "rank 0 sent something else than whether the run is finished",
                "rank " + std::to_string(links.rank()), "all ranks must run the same version");
  return told->front().item<bool>();
}

/// Messages go to the run's log.txt as long as this lives.
struct LogFile {
  explicit LogFile(const std::string& path) { set_log_file(path); }
  ~LogFile() { set_log_file(""); }
  LogFile(const LogFile&) = delete;
};

/// Removes a run, whose lock is held. What says that it is finished, or how far it came, goes first and for good, so
/// that a death in between leaves none that looks whole.
void forget(const std::string& directory) {
  for (const char* first : {"/result.json", "/checkpoints"}) file::remove_all(directory + first);
  file::sync_directory(directory);
  for (const std::string& name : file::list(directory)) {
    if (name != "lock" && name != "ranks") file::remove_all(directory + "/" + name);
  }
}

/// What a reader of result.json may rely on. Errors: Code::checkpoint.
void read_result(const std::string& directory, Outcome& outcome) {
  const std::string path = directory + "/result.json";
  const nlohmann::json result = nlohmann::json::parse(file::read(path), nullptr, false);
  const auto values = result.is_object() ? result.find("values") : result.end();
  if (values == result.end() || !values->is_object())
    throw Error(Code::checkpoint, "the result of this run can't be read", path, "--fresh trains it again");
  for (const auto& [name, value] : values->items())
    outcome.values[name] = value.is_number() ? value.get<double>() : std::nan("");
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

std::string source_commit() {
  std::error_code none;
  namespace fs = std::filesystem;
  for (fs::path at = fs::read_symlink("/proc/self/exe", none).parent_path(); at.has_relative_path();
       at = at.parent_path()) {
    std::ifstream head(at / ".git" / "HEAD");
    std::string line, commit;
    if (!std::getline(head, line)) continue;
    if (!line.starts_with("ref: ")) return line;
    const std::string branch = line.substr(5);
    if (std::ifstream loose(at / ".git" / branch); std::getline(loose, commit)) return commit;
    std::ifstream packed(at / ".git" / "packed-refs");
    while (std::getline(packed, line))
      if (line.ends_with(" " + branch)) return line.substr(0, line.find(' '));
    return "";
  }
  return "";
}

std::string run_directory(const Recipe& recipe, const std::string& out) { return out + "/" + recipe.run_name(); }
bool is_finished(const std::string& directory) { return file::exists(directory + "/result.json"); }

namespace {

/// A run as the rank that leads it writes it.
class Writing {
 public:
  Writing(const Recipe& recipe, const RunSettings& settings, const TrainStage& stage, std::string directory)
      : recipe_(recipe),
        settings_(settings),
        stage_(stage),
        directory_(std::move(directory)),
        plan_(preamble(recipe_, stage_, directory_)) {}

  /// Holds the run from here on. Whether it is finished already.
  bool begin(const Registry& registry, Outcome& outcome) {
    hold();
    if (!settings_.fresh && is_finished(directory_)) {
      read_result(directory_, outcome);
      warn_of_changed_data(directory_, recipe_, registry);
      return true;
    }
    if (!settings_.fresh) check_data(directory_, stage_);
    if (settings_.fresh) forget(directory_);
    for (const char* part : {"", "/rows"}) sealed::remove_leftovers(directory_ + part);
    log_.emplace(directory_ + "/log.txt");
    const std::string stored = directory_ + "/recipe.toml";
    if (!file::exists(stored)) tell_difference(recipe_, settings_.out, directory_);
    return false;
  }

  /// What is known of a run before step one.
  void describe() const {
    inform(plan_);
    if (const std::string stored = directory_ + "/recipe.toml"; !file::exists(stored))
      file::write_atomically(stored, to_toml(recipe_.resolved));
    if (const std::string data = directory_ + "/data.json"; !file::exists(data))
      file::write_atomically(data,
                             data_of(stage_).dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
    if (stage_.tokenizer) keep_tokenizer(*stage_.tokenizer, directory_);
  }

  /// The rank that led has gone: goes on where it stopped.
  void take_over() {
    try {
      hold();
    } catch (const Error& held) {
      // By a leader that was given up but is not dead: it leaves before it writes again.
      if (held.code() != Code::checkpoint) throw;
      warn("writing without the run's lock: " + held.message());
    }
    log_.emplace(directory_ + "/log.txt");
    describe();
  }

  void publish(const Fit& result) const {
    if (is_finished(directory_)) return;  // by the rank that led before, which died then
    NamedTensors model;
    for (const auto& [name, value] : result.artifact.tensors)
      if (name.rfind("replica-", 0) != 0) model.emplace_back(name, value);
    write_safetensors_atomically(directory_ + "/model.safetensors", model);
    write_rows(directory_, result);
    file::write_atomically(directory_ + "/result.json", result_of(recipe_, result).dump(2) + "\n");
  }

 private:
  void hold() {
    file::make_directories(directory_);
    lock_.emplace(directory_ + "/lock");
  }
  const Recipe& recipe_;
  const RunSettings& settings_;
  const TrainStage& stage_;
  std::string directory_, plan_;
  std::optional<file::Lock> lock_;
  std::optional<LogFile> log_;
};

}  // namespace

Outcome run_recipe(const Recipe& recipe, const Registry& registry, const RunSettings& settings) {
  Outcome outcome;
  outcome.directory = run_directory(recipe, settings.out);
  const bool alone = !settings.links,
             leads = alone || (settings.links->rank() == 0 && settings.links->returned(0) == 0);
  if (leads && !settings.fresh && is_finished(outcome.directory)) {
    read_result(outcome.directory, outcome);
    warn_of_changed_data(outcome.directory, recipe, registry);
    outcome.finished = outcome.was_finished = true;
  }
  if (outcome.finished && alone) return outcome;
  // What is wrong with the recipe or its data is found before anything is written.
  at::set_num_threads(static_cast<int>(recipe.options.threads));
  const TrainStage stage = make_stage(recipe, registry);
  Writing writing(recipe, settings, stage, outcome.directory);
  if (leads && !outcome.finished) outcome.finished = outcome.was_finished = writing.begin(registry, outcome);
  if (!alone) outcome.finished = outcome.was_finished = agree_that_it_is_finished(*settings.links, outcome.finished);
  outcome.led = leads;
  if (outcome.finished) return outcome;
  if (leads) writing.describe();
  Surroundings around;
  around.directory = outcome.directory;
  around.recipe = recipe.hash() + "-s" + std::to_string(recipe.options.seed);
  around.interrupted = settings.interrupted;
  around.progress = settings.progress;
  around.links = settings.links;
  around.lead = [&] { writing.take_over(); };
  around.publish = [&](const Fit& result) { writing.publish(result); };
  const Fit result = fit(stage, around);
  outcome.finished = result.finished;
  outcome.led = result.led;
  outcome.values = result.values;
  outcome.cost = result.cost;
  return outcome;
}

}  // namespace etude
