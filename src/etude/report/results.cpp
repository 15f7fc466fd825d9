#include "etude/report/results.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "etude/base/file.h"
#include "etude/report/format.h"
#include "etude/report/json.h"

namespace etude::report {
namespace {

constexpr int64_t kVersion = 1;
using Json = nlohmann::ordered_json;

std::map<std::string, double> last_values(const RunRecord& run) {
  if (!run.final.empty()) return run.final;
  std::map<std::string, double> values;
  for (const auto& series : run.series) values[series.metric] = series.value.back();
  return values;
}

/// Ordinary ones.
std::vector<ArmInfo> arms_of(const Comparison& comparison) {
  auto arms = comparison.arms;
  for (const auto& run : comparison.runs)
    if (std::none_of(arms.begin(), arms.end(), [&](const ArmInfo& a) { return a.name == run.arm; }))
      arms.push_back({run.arm, ""});
  std::erase_if(arms, [&](const ArmInfo& a) { return comparison.claims.experiment(a.name); });
  return arms;
}

std::string reference_of(const Comparison& comparison, const std::vector<ArmInfo>& arms) {
  if (arms.size() < 2) return "";
  for (const auto& wanted : {comparison.claims.reference, comparison.method})
    if (std::any_of(arms.begin(), arms.end(), [&](const ArmInfo& a) { return a.name == wanted; })) return wanted;
  return arms[0].name;
}

/// The rows of the evaluation that a metric belongs to: "valid" for "valid/loss".
const std::vector<ItemValue>* rows_of(const RunRecord& run, const std::string& metric) {
  constexpr std::string_view kLoss = "/loss";
  if (!metric.ends_with(kLoss)) return nullptr;
  const auto found = run.rows.find(metric.substr(0, metric.size() - kLoss.size()));
  return found == run.rows.end() ? nullptr : &found->second;
}

/// Interval of the difference arm - reference over the items that both measured, each averaged over the
/// paired seeds that measured it.
std::optional<Interval> over_items(const Comparison& comparison, const std::string& arm, const std::string& reference) {
  std::map<int64_t, std::map<std::string, const std::vector<ItemValue>*>> seeds;
  for (const auto& run : comparison.runs)
    if (const auto* rows = rows_of(run, comparison.claims.metric); rows && run.finished)
      seeds[run.seed][run.arm] = rows;
  struct Sum {
    double value = 0, weight = 0, n = 0;
  };
  std::map<int64_t, Sum> sums;
  for (const auto& [seed, rows] : seeds) {
    if (!rows.contains(arm) || !rows.contains(reference)) continue;
    std::map<int64_t, double> other;
    for (const auto& row : *rows.at(reference)) other[row.item] = row.value;
    for (const auto& row : *rows.at(arm)) {
      const auto found = other.find(row.item);
      if (found == other.end() || !std::isfinite(row.value - found->second)) continue;
      auto& sum = sums[row.item];
      sum.value += row.value - found->second;
      sum.weight += row.weight;
      sum.n += 1;
    }
  }
  if (sums.size() < 2) return std::nullopt;
  std::vector<Weighted> items;
  items.reserve(sums.size());
  for (const auto& [item, sum] : sums) items.push_back({sum.value / sum.n, sum.weight / sum.n});
  return bootstrap_interval(items, 0);
}

ArmResult arm_result(const Comparison& comparison, const std::string& arm, const std::string& name,
                     const std::string& description) {
  ArmResult result{name, description, {}, std::nullopt};
  for (const auto& run : comparison.runs)
    if (run.arm == arm && run.finished) result.seeds.push_back({run.seed, run.key, last_values(run), run.cost});
  std::sort(result.seeds.begin(), result.seeds.end(), [](const auto& a, const auto& b) { return a.seed < b.seed; });
  return result;
}

/// The experiments that have finished runs, in the order of the claims.
std::vector<ExperimentResult> experiments_of(const Comparison& comparison) {
  std::vector<ExperimentResult> all;
  for (const auto& e : comparison.claims.experiments) {
    ExperimentResult result{e.id, e.about, e.inject, "", e.nproc, {}};
    for (const auto& word : e.set) result.set += (result.set.empty() ? "" : " ") + word;
    for (const auto& arm : e.arms)
      if (ArmResult one = arm_result(comparison, arm + "@" + e.id, arm, ""); !one.seeds.empty())
        result.arms.push_back(std::move(one));
    if (!result.arms.empty()) all.push_back(std::move(result));
  }
  return all;
}

std::map<int64_t, double> by_seed(const ArmResult& arm, const std::string& metric) {
  std::map<int64_t, double> result;
  for (const auto& s : arm.seeds)
    if (const auto found = s.values.find(metric); found != s.values.end() && std::isfinite(found->second))
      result[s.seed] = found->second;
  return result;
}

Interval paired_difference(const std::map<int64_t, double>& arm, const std::map<int64_t, double>& reference) {
  std::vector<double> differences;
  for (const auto& [seed, value] : arm)
    if (const auto found = reference.find(seed); found != reference.end()) differences.push_back(value - found->second);
  return mean_interval(differences);
}

/// Digits that suit most rows of a column: those of its median uncertainty.
std::optional<int> common_decimals(std::vector<double> uncertainties) {
  std::erase_if(uncertainties, [](double u) { return !(u > 0) || !std::isfinite(u); });
  if (uncertainties.empty()) return std::nullopt;
  const auto middle = uncertainties.begin() + static_cast<std::ptrdiff_t>(uncertainties.size() / 2);
  std::nth_element(uncertainties.begin(), middle, uncertainties.end());
  return decimals_for(*middle);
}

void write_texts(std::vector<ArmRow>& rows) {
  std::vector<double> deviations, widths;
  for (const auto& row : rows) {
    deviations.push_back(row.sd);
    for (const auto& interval : {row.difference, row.items})
      if (interval) widths.push_back(interval->high - interval->mean);
  }
  const auto decimals = common_decimals(deviations), difference_decimals = common_decimals(widths);
  for (auto& row : rows) {
    row.value_text = mean_and_sd(row.mean, row.sd, row.n, decimals);
    if (row.difference) row.difference_text = mean_and_interval(*row.difference, difference_decimals);
    if (row.items) row.items_text = mean_and_interval(*row.items, difference_decimals);
  }
}

std::map<std::string, double> mean_cost(const ArmResult& arm) {
  std::map<std::string, std::vector<double>> values;
  for (const auto& s : arm.seeds)
    for (const auto& [name, value] : s.cost) values[name].push_back(value);
  std::map<std::string, double> cost;
  for (const auto& [name, of_seeds] : values) cost[name] = mean(of_seeds);
  return cost;
}

Json numbers(const std::map<std::string, double>& values) {
  Json json = Json::object();
  for (const auto& [name, value] : values) json[name] = number_or_null(value);
  return json;
}

Json interval_json(const Interval& i) {
  return {{"n", i.n},
          {"mean", number_or_null(i.mean)},
          {"sd", number_or_null(i.sd)},
          {"low", number_or_null(i.low)},
          {"high", number_or_null(i.high)}};
}

Interval read_interval(const JsonObject& json) {
  Interval interval{json.integer("n"), json.number("mean"), json.number("sd"), json.number("low"), json.number("high")};
  if (interval.n < 2) {  // the whole line has no numbers in JSON
    const auto whole = mean_interval({});
    interval.low = whole.low;
    interval.high = whole.high;
  }
  return interval;
}

Json table_json(const NumberTable& table) {
  Json columns = Json::array();
  for (size_t i = 0; i < table.columns.size(); ++i) {
    Json values = Json::array();
    for (const auto& row : table.rows) values.push_back(Json(number_or_null(row[i])));
    columns.push_back(Json{{"name", table.columns[i]}, {"values", values}});
  }
  return {{"title", table.title}, {"columns", columns}};
}

NumberTable read_table(const JsonObject& json) {
  NumberTable table{json.string("title"), {}, {}};
  for (const auto& column : json.objects("columns")) {
    const auto values = column.list("values");
    if (table.columns.empty()) table.rows.resize(values.size());
    if (values.size() != table.rows.size()) json.fail("the columns of a table have different lengths");
    for (size_t i = 0; i < values.size(); ++i) table.rows[i].push_back(values[i]);
    table.columns.push_back(column.string("name"));
  }
  return table;
}

Json verdict_json(const Verdict& v) {
  Json seeds = Json::array();
  for (const auto& s : v.seeds) seeds.push_back({{"seed", s.seed}, {"value", number_or_null(s.value)}});
  Json json = {{"id", v.id},        {"outcome", outcome_name(v.outcome)},
               {"text", v.text},    {"source", v.source},
               {"kind", v.kind},    {"expression", v.expression},
               {"unit", v.unit},    {"note", v.note},
               {"seeds", seeds},    {"interval", interval_json(v.interval)},
               {"margin", v.margin}};
  if (v.seeds_needed) json["seeds_needed"] = *v.seeds_needed;
  json["reason"] = v.reason;
  json["caution"] = v.caution;
  if (v.simulation) json["simulation"] = table_json(*v.simulation);
  return json;
}

Verdict read_verdict(const JsonObject& json) {
  Verdict v;
  const auto outcome = outcome_of(json.string("outcome"));
  if (!outcome) json.fail("unknown outcome '" + json.string("outcome") + "' of a claim");
  v.outcome = *outcome;
  v.id = json.string("id");
  v.text = json.string("text");
  v.source = json.string("source");
  v.kind = json.string("kind");
  v.expression = json.string("expression");
  v.unit = json.string("unit");
  v.note = json.string("note");
  for (const auto& s : json.objects("seeds")) v.seeds.push_back({s.integer("seed"), s.number("value")});
  v.interval = read_interval(json.object("interval"));
  v.margin = json.number("margin");
  if (json.has("seeds_needed")) v.seeds_needed = json.integer("seeds_needed");
  v.reason = json.string("reason");
  v.caution = json.string("caution");
  if (json.has("simulation")) v.simulation = read_table(json.object("simulation"));
  return v;
}

Json arm_json(const ArmResult& arm) {
  Json seeds = Json::array();
  for (const auto& s : arm.seeds)
    seeds.push_back({{"seed", s.seed}, {"key", s.key}, {"values", numbers(s.values)}, {"cost", numbers(s.cost)}});
  Json json = {{"name", arm.name}, {"description", arm.description}, {"seeds", seeds}};
  if (arm.items) json["items"] = interval_json(*arm.items);
  return json;
}

ArmResult read_arm(const JsonObject& json) {
  ArmResult arm{json.string("name"), json.string("description"), {}, std::nullopt};
  for (const auto& s : json.objects("seeds"))
    arm.seeds.push_back({s.integer("seed"), s.string("key"), s.numbers("values"), s.numbers("cost")});
  if (json.has("items")) arm.items = read_interval(json.object("items"));
  return arm;
}

Json experiment_json(const ExperimentResult& e) {
  Json arms = Json::array();
  for (const auto& arm : e.arms) arms.push_back(arm_json(arm));
  return {{"id", e.id}, {"about", e.about}, {"nproc", e.nproc}, {"inject", e.inject}, {"set", e.set}, {"arms", arms}};
}

ExperimentResult read_experiment(const JsonObject& json) {
  ExperimentResult e{json.string("id"),  json.string("about"),  json.string("inject"),
                     json.string("set"), json.integer("nproc"), {}};
  for (const auto& arm : json.objects("arms")) e.arms.push_back(read_arm(arm));
  return e;
}

/// Text that can't end a cell, a line or a paragraph of Markdown.
std::string markdown(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '|' || c == '\\' || c == '`' || c == '*' || c == '_' || c == '[' || c == ']') result += '\\';
    if (c == '<')
      result += "&lt;";
    else
      result += c == '\n' || c == '\r' ? ' ' : c;
  }
  return result;
}

std::string arms_table(const Results& results) {
  const auto rows = arm_rows(results);
  const auto costs = cost_columns(results);
  std::string text =
      "| arm | " + markdown(results.metric.label) + (results.metric.lower_is_better ? " ↓" : " ↑") + " |";
  std::string line = "|---|---:|";
  if (!results.reference.empty()) {
    text += " difference to " + markdown(results.reference) + " |";
    line += "---:|";
  }
  for (const auto& column : costs) {
    text += " " + std::string(column.heading) + " |";
    line += "---:|";
  }
  text += "\n" + line + "\n";
  for (const auto& row : rows) {
    const std::string bold = row.reference ? "**" : "";
    text.append("| ").append(bold).append(markdown(row.name)).append(bold);
    text.append(" | ").append(row.value_text).append(" |");
    if (!results.reference.empty()) text += " " + row.difference_text + " |";
    for (const auto& column : costs) text += " " + cost_text(row.cost, column) + " |";
    text += "\n";
  }
  return text;
}

std::string verdicts_table(const Results& results) {
  std::string text = "| claim | verdict | measured |\n|---|---|---|\n";
  for (const auto& v : results.verdicts) {
    text += "| " + markdown(v.text) + (v.source.empty() ? "" : " (" + markdown(v.source) + ")") + " | **" +
            std::string(outcome_name(v.outcome)) + "** | " + markdown(measured_text(v));
    for (const auto& remark : remarks(v)) text += "; " + markdown(remark);
    text += " |\n";
  }
  return text;
}

std::string plain_table(const std::vector<std::string>& columns, const std::vector<std::vector<std::string>>& rows) {
  std::string text = "|";
  for (const auto& column : columns) text += " " + markdown(column) + " |";
  text += "\n|";
  for (size_t i = 0; i < columns.size(); ++i) text += "---|";
  text += "\n";
  for (const auto& row : rows) {
    text += "|";
    for (const auto& cell : row) text += " " + markdown(cell) + " |";
    text += "\n";
  }
  return text;
}

std::string simulation_table(const NumberTable& table) {
  return "Simulated: " + markdown(table.title) + ".\n\n" + plain_table(table.columns, cells(table));
}

std::string experiments_tables(const Results& results) {
  std::string text;
  for (const auto& experiment : results.experiments) {
    const ExperimentTable table = experiment_table(experiment);
    text += "\nExperiment " + markdown(table.title) + " (`" + table.conditions + "`; " + std::string(kExperimentNote) +
            ").\n\n" + plain_table(table.columns, table.rows);
  }
  return text;
}

/// "5 seeds", or "3-5 seeds" when arms differ.
std::string seeds_range(const Results& results) {
  size_t least = SIZE_MAX, most = 0;
  for (const auto& arm : results.arms) {
    least = std::min(least, arm.seeds.size());
    most = std::max(most, arm.seeds.size());
  }
  if (results.arms.empty()) return "no seeds";
  return (least == most ? "" : std::to_string(least) + "–") + std::to_string(most) + (most == 1 ? " seed" : " seeds");
}

}  // namespace

Results summarise(const Comparison& comparison) {
  const auto arms = arms_of(comparison);
  Results results;
  results.method = comparison.method;
  results.profile = comparison.profile;
  results.date = comparison.date;
  results.commit = comparison.commit;
  results.command = comparison.command;
  results.machine = comparison.machine;
  results.metric = comparison.claims.style(comparison.claims.metric);
  results.reference = reference_of(comparison, arms);
  results.claims_sha256 = comparison.claims.sha256;
  results.verdicts = comparison.verdicts;
  for (const auto& info : arms) {
    ArmResult arm = arm_result(comparison, info.name, info.name, info.description);
    if (!results.reference.empty() && info.name != results.reference)
      arm.items = over_items(comparison, info.name, results.reference);
    results.arms.push_back(std::move(arm));
  }
  results.experiments = experiments_of(comparison);
  return results;
}

std::vector<ArmRow> arm_rows(const Results& results) {
  std::map<int64_t, double> reference;
  for (const auto& arm : results.arms)
    if (arm.name == results.reference) reference = by_seed(arm, results.metric.metric);
  std::vector<ArmRow> rows;
  for (const auto& arm : results.arms) {
    const auto seeds = by_seed(arm, results.metric.metric);
    std::vector<double> values;
    values.reserve(seeds.size());
    for (const auto& [seed, value] : seeds) values.push_back(value);
    ArmRow row;
    row.name = arm.name;
    row.description = arm.description;
    row.reference = arm.name == results.reference;
    row.n = static_cast<int64_t>(values.size());
    row.mean = values.empty() ? std::nan("") : mean(values);
    row.sd = standard_deviation(values);
    if (!results.reference.empty() && !row.reference) row.difference = paired_difference(seeds, reference);
    row.items = arm.items;
    row.cost = mean_cost(arm);
    rows.push_back(std::move(row));
  }
  write_texts(rows);
  return rows;
}

std::vector<CostColumn> cost_columns(const Results& results) {
  static const CostColumn kTensors = {"tensor_peak_bytes", "of tensors", bytes_text};
  std::vector<CostColumn> columns = {{"seconds", "time", seconds_text},
                                     {"peak_bytes", "peak memory", bytes_text},
                                     {"flops", "FLOPs", count_text},
                                     {"bytes", "bytes sent", bytes_text},
                                     {"messages", "messages", count_text}};
  const bool recorded = std::any_of(results.arms.begin(), results.arms.end(), [](const ArmResult& arm) {
    return std::any_of(arm.seeds.begin(), arm.seeds.end(),
                       [](const auto& seed) { return seed.cost.contains(std::string(kTensors.name)); });
  });
  if (recorded) columns.insert(columns.begin() + 2, kTensors);
  return columns;
}

const CostColumn& idle_column() {
  static const CostColumn column = {"idle_seconds", "idle", seconds_text};
  return column;
}

std::string cost_text(const std::map<std::string, double>& cost, const CostColumn& column) {
  const auto found = cost.find(std::string(column.name));
  return found == cost.end() ? "–" : column.text(found->second);
}

ExperimentTable experiment_table(const ExperimentResult& experiment) {
  ExperimentTable table{experiment.id + ": " + experiment.about,
                        "--nproc " + std::to_string(experiment.nproc) +
                            (experiment.inject.empty() ? "" : " --inject " + experiment.inject) +
                            (experiment.set.empty() ? "" : " " + experiment.set),
                        {"arm", "seeds"},
                        {}};
  const std::vector<CostColumn> columns = {{"seconds", "time", seconds_text},
                                           idle_column(),
                                           {"bytes", "bytes sent", bytes_text},
                                           {"messages", "messages", count_text}};
  for (const auto& column : columns) table.columns.emplace_back(column.heading);
  for (const auto& arm : experiment.arms) {
    const auto cost = mean_cost(arm);
    std::vector<std::string> row = {arm.name, std::to_string(arm.seeds.size())};
    for (const auto& column : columns) row.push_back(cost_text(cost, column));
    table.rows.push_back(std::move(row));
  }
  return table;
}

std::string measured_text(const Verdict& v) {
  if (v.outcome == Outcome::not_shown) return "not measurable at this scale";
  if (!v.reason.empty()) return v.reason;
  const auto& i = v.interval;
  const std::string unit = v.unit.empty() ? "" : " " + v.unit;
  return mean_and_interval(i) + unit + (v.kind == "equivalence" ? ", band ±" : ", margin ") + shortest(v.margin) +
         ", " + std::to_string(i.n) + " seeds";
}

std::string shared_caution(const std::vector<Verdict>& verdicts) {
  std::set<std::string> cautions;
  int64_t measured = 0;
  for (const auto& v : verdicts)
    if (v.outcome != Outcome::not_shown && v.reason.empty()) cautions.insert(v.caution), ++measured;
  return measured > 1 && cautions.size() == 1 ? *cautions.begin() : "";
}

std::vector<std::string> remarks(const Verdict& v, std::string_view said) {
  std::vector<std::string> all;
  if (v.outcome == Outcome::inconclusive && v.reason.empty())
    all.push_back(v.seeds_needed ? "about " + std::to_string(*v.seeds_needed) + " seeds would decide"
                                 : "more than " + std::to_string(kMostSeeds) + " seeds would be needed to decide");
  if (!v.caution.empty() && v.caution != said) all.push_back(v.caution);
  if (!v.note.empty()) all.push_back(v.note);
  return all;
}

std::string to_json(const Results& results) {
  const auto& m = results.machine;
  Json json = {
      {"v", kVersion},
      {"method", results.method},
      {"profile", results.profile},
      {"date", results.date},
      {"commit", results.commit},
      {"command", results.command},
      {"claims_sha256", results.claims_sha256},
      {"machine", {{"processor", m.processor}, {"threads", m.threads}, {"isa", m.isa}, {"libtorch", m.libtorch}}},
      {"metric",
       {{"name", results.metric.metric},
        {"label", results.metric.label},
        {"unit", results.metric.unit},
        {"lower_is_better", results.metric.lower_is_better}}},
      {"reference", results.reference},
      {"verdicts", Json::array()},
      {"arms", Json::array()}};
  for (const auto& v : results.verdicts) json["verdicts"].push_back(verdict_json(v));
  for (const auto& arm : results.arms) json["arms"].push_back(arm_json(arm));
  for (const auto& e : results.experiments) json["experiments"].push_back(experiment_json(e));
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Results parse_results(std::string_view text, const std::string& name) {
  const auto document = parse_json(text, name);
  const JsonObject json(document, name);
  json.require_version(kVersion);
  Results results;
  results.method = json.string("method");
  results.profile = json.string("profile");
  results.date = json.string("date");
  results.commit = json.string("commit");
  results.command = json.string("command");
  results.claims_sha256 = json.string("claims_sha256");
  const auto machine = json.object("machine");
  results.machine = {machine.string("processor"), machine.string("isa"), machine.string("libtorch"),
                     machine.integer("threads")};
  const auto metric = json.object("metric");
  results.metric = {metric.string("name"), metric.string("label"), metric.string("unit"), false,
                    metric.boolean("lower_is_better")};
  results.reference = json.string("reference");
  for (const auto& v : json.objects("verdicts")) results.verdicts.push_back(read_verdict(v));
  for (const auto& arm : json.objects("arms")) results.arms.push_back(read_arm(arm));
  for (const auto& e : json.objects("experiments")) results.experiments.push_back(read_experiment(e));
  return results;
}

void write_results(const std::string& path, const Results& results) { file::write_atomically(path, to_json(results)); }

Results read_results(const std::string& path) { return parse_results(file::read(path), path); }

std::vector<std::vector<std::string>> cells(const NumberTable& table) {
  constexpr int kDigits = 3;
  std::vector<std::vector<std::string>> text(table.rows.size());
  for (size_t column = 0; column < table.columns.size(); ++column) {
    const bool whole = std::all_of(table.rows.begin(), table.rows.end(),
                                   [&](const auto& row) { return row[column] == std::trunc(row[column]); });
    for (size_t i = 0; i < text.size(); ++i)
      text[i].push_back(whole ? fixed(table.rows[i][column], 0) : significant(table.rows[i][column], kDigits));
  }
  return text;
}

std::string results_table(const Results& results) {
  std::string text = results.arms.empty() ? "" : arms_table(results);
  text += experiments_tables(results);
  if (!results.verdicts.empty()) text += "\n" + verdicts_table(results);
  for (const auto& v : results.verdicts)
    if (v.simulation) text += "\n" + simulation_table(*v.simulation);
  text += "\nMean ± standard deviation over " + seeds_range(results) +
          (results.reference.empty() ? "" : "; difference: paired by seed, with its 95 % interval") + ". Profile " +
          markdown(results.profile) + ", " + markdown(results.date) + ", commit " +
          markdown(results.commit.empty() ? "unknown" : short_commits(results.commit)) + ", " +
          markdown(results.machine.processor) + ", LibTorch " + markdown(results.machine.libtorch) +
          ". Every number per seed is in `results.json`; `" + results.command + "` makes it again.\n";
  return text;
}

std::string with_results(std::string_view card, const Results& results, const std::string& name) {
  constexpr std::string_view kBegin = "<!-- results -->\n", kEnd = "<!-- /results -->";
  const auto begin = card.find(kBegin);
  const auto end = card.find(kEnd, begin == std::string_view::npos ? 0 : begin);
  if (begin == std::string_view::npos || end == std::string_view::npos)
    throw Error(Code::config, "the card has no place for its results", name,
                "give it the lines <!-- results --> and <!-- /results -->");
  return std::string(card.substr(0, begin + kBegin.size())) + results_table(results) + std::string(card.substr(end));
}

}  // namespace etude::report
