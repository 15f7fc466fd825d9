#include "etude/report/run_record.h"

#include <cmath>
#include <filesystem>
#include <limits>

#include "etude/base/config.h"
#include "etude/base/error.h"
#include "etude/base/file.h"
#include "etude/report/json.h"

namespace etude::report {
namespace {

constexpr int64_t kVersion = 1;

std::string base_name(const std::string& path) {
  const auto end = path.find_last_not_of('/');
  const auto begin = path.find_last_of('/', end);
  return path.substr(begin == std::string::npos ? 0 : begin + 1, end - begin);
}

std::string parent_name(const std::string& path) {
  const auto slash = path.find_last_of('/', path.find_last_not_of('/'));
  return slash == std::string::npos ? "" : base_name(path.substr(0, slash));
}

/// "@straggler" of a run whose arm's folder lies in "@straggler-<digits>"; "" of an ordinary one.
std::string experiment_suffix(const std::string& directory) {
  const std::filesystem::path run = std::filesystem::absolute(directory + "/").lexically_normal().parent_path();
  const std::string folder = run.parent_path().parent_path().filename().string();
  return folder.starts_with('@') ? folder.substr(0, folder.rfind('-')) : "";
}

Counters read_counters(const JsonObject& line) {
  Counters counters;
  for (int u = 0; u < kUnits; ++u) {
    const auto unit = static_cast<Unit>(u);
    const auto key = unit == Unit::steps ? std::string_view("step") : unit_name(unit);
    counters[unit] = line.number(key, 0);
  }
  return counters;
}

Series& series_of(RunRecord& record, const std::string& stage, const std::string& metric) {
  for (auto& s : record.series)
    if (s.metric == metric && s.stage == stage) return s;
  return record.series.emplace_back(Series{stage, metric, false, {}, {}});
}

void add_line(const JsonObject& line, RunRecord& into) {
  line.require_version(kVersion);
  const auto kind = line.string("kind");
  if (kind != "train" && kind != "eval") line.fail("unknown kind '" + kind + "' of a metrics line");
  const auto stage = line.string("stage");
  const auto point = static_cast<uint32_t>(into.points.size());
  into.points.push_back(read_counters(line));
  for (const auto& [metric, value] : line.numbers("values")) {
    auto& series = series_of(into, stage, metric);
    series.evaluation = kind == "eval";
    series.point.push_back(point);
    series.value.push_back(value);
  }
}

void read_result(const std::string& path, RunRecord& into) {
  const auto document = parse_json(file::read(path), path);
  const JsonObject result(document, path);
  result.require_version(kVersion);
  into.finished = result.string("status") == "finished";
  into.method = result.string("method");
  into.arm = result.string("arm");
  into.profile = result.string("profile", "");
  into.seed = result.integer("seed");
  into.commit = result.string("commit", "");
  into.final = result.numbers("values");
  into.cost = result.numbers("cost");
  const auto machine = result.object("machine");
  into.machine = {machine.string("processor", ""), machine.string("isa", ""), machine.string("libtorch", ""),
                  machine.integer("threads", 0)};
}

/// What a partial run can say about itself: its recipe and the name of its folder.
void read_identity(const std::string& directory, RunRecord& into) {
  into.arm = parent_name(directory);
  const auto name = base_name(directory);
  const auto mark = name.rfind("-s");
  into.key = name.substr(0, mark);
  if (mark != std::string::npos && name.size() - mark - 2 <= 18 && name.size() > mark + 2 &&
      name.find_first_not_of("0123456789", mark + 2) == std::string::npos)
    into.seed = std::stoll(name.substr(mark + 2));
  const auto path = directory + "/recipe.toml";
  if (!file::exists(path)) return;
  const auto recipe = read_toml(path);
  if (const auto* v = recipe.find("method"); v && v->is_string()) into.method = v->as_string();
  if (const auto* v = recipe.find("arm"); v && v->is_string()) into.arm = v->as_string();
  if (const auto* v = recipe.find("seed"); v && v->is_int()) into.seed = v->as_int();
}

void read_rows(const std::string& directory, RunRecord& into) {
  constexpr std::string_view kSuffix = ".jsonl";
  for (const auto& name : file::list(directory)) {
    if (!name.ends_with(kSuffix)) continue;
    auto& rows = into.rows[name.substr(0, name.size() - kSuffix.size())];
    const auto path = directory + "/" + name;
    each_json_line(file::read(path), path, [&](const JsonObject& line) {
      rows.push_back({line.integer("item"), line.number("value"), line.number("weight", 1)});
    });
  }
}

bool is_run(const std::string& directory) {
  return file::exists(directory + "/metrics.jsonl") || file::exists(directory + "/result.json");
}

void find_runs(const std::string& path, int depth, std::vector<std::string>& found) {
  if (is_run(path)) {
    found.push_back(path);
  } else if (depth > 0) {
    for (const auto& name : file::list(path))
      if (file::is_directory(path + "/" + name))
        find_runs(path + "/" + name, name.starts_with('@') ? depth : depth - 1, found);
  }
}

}  // namespace

const Series* RunRecord::find(std::string_view metric) const {
  std::string_view stage;
  if (const auto colon = metric.find(':'); colon != std::string_view::npos) {
    stage = metric.substr(0, colon);
    metric.remove_prefix(colon + 1);
  }
  const Series* found = nullptr;
  for (const auto& s : series)
    if (s.metric == metric && (stage.empty() || s.stage == stage)) found = &s;
  return found;
}

double RunRecord::last(std::string_view metric) const {
  if (const auto* s = find(metric)) return s->value.back();
  const auto found = final.find(std::string(metric));
  return found == final.end() ? std::numeric_limits<double>::quiet_NaN() : found->second;
}

void parse_metrics(std::string_view text, const std::string& name, RunRecord& into) {
  each_json_line(text, name, [&](const JsonObject& line) { add_line(line, into); });
}

std::string_view experiment_id(std::string_view arm) {
  const auto at = arm.find('@');
  return at == std::string_view::npos ? std::string_view() : arm.substr(at + 1);
}

std::string_view ordinary_arm(std::string_view arm) { return arm.substr(0, arm.find('@')); }

RunRecord read_run(const std::string& directory) {
  if (!is_run(directory))
    throw Error(Code::checkpoint, "no run in '" + directory + "'", directory,
                "a run holds metrics.jsonl; give a folder such as runs/noloco-noloco/<hash>-s0");
  RunRecord record;
  record.directory = directory;
  read_identity(directory, record);
  if (const auto path = directory + "/metrics.jsonl"; file::exists(path)) parse_metrics(file::read(path), path, record);
  if (const auto path = directory + "/result.json"; file::exists(path)) read_result(path, record);
  read_rows(directory + "/rows", record);
  record.arm += experiment_suffix(directory);
  return record;
}

std::vector<std::string> run_directories(const std::string& path) {
  std::vector<std::string> found;
  find_runs(path, 2, found);
  return found;
}

}  // namespace etude::report
