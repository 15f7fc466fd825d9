#pragma once
// A comparison as it is at hand, and what is kept of it: results.json beside the method, from which the
// table of its card is generated.

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "etude/report/claims.h"
#include "etude/report/run_record.h"

namespace etude::report {

struct Paper {
  std::string title, arxiv, date, organisation;
};

struct ArmInfo {
  std::string name, description;
};

/// Everything that a report shows. A report of a single run has one run, no claims and no verdicts.
struct Comparison {
  std::string method, title, about, profile;
  Paper paper;
  std::vector<ArmInfo> arms;  ///< in the order of tables; those of the runs if empty
  std::vector<RunRecord> runs;
  Claims claims;
  std::vector<Verdict> verdicts;
  std::string command, commit, date;
  Machine machine;
};

struct SeedResult {
  int64_t seed = 0;
  std::string key;
  std::map<std::string, double> values, cost;  ///< last values of all metrics
};

struct ArmResult {
  std::string name, description;
  std::vector<SeedResult> seeds;  ///< finished runs, ascending
  std::optional<Interval> items;  ///< of the difference to the reference, over the items of the evaluation
};

/// The arms of an experiment; their means are not those of ordinary runs.
struct ExperimentResult {
  std::string id, about, inject, set;  ///< set: with blanks between
  int64_t nproc = 0;
  std::vector<ArmResult> arms;  ///< named as in ordinary tables
};

/// The last full comparison, per seed.
struct Results {
  std::string method, profile, date, commit, command;
  Machine machine;
  MetricStyle metric;
  std::string reference;        ///< the arm that differences are taken from; empty if there is one arm only
  std::string claims_sha256;    ///< of the claims file that the verdicts were made with
  std::vector<ArmResult> arms;  ///< ordinary ones
  std::vector<ExperimentResult> experiments;
  std::vector<Verdict> verdicts;
};

/// Picks out what is kept: finished runs only.
Results summarise(const Comparison& comparison);

/// An arm as tables show it: means over its seeds, and the paired difference to the reference.
struct ArmRow {
  std::string name, description;
  bool reference = false;
  int64_t n = 0;
  double mean = 0, sd = 0;
  std::optional<Interval> difference, items;
  std::map<std::string, double> cost;
  std::string value_text, difference_text, items_text;  ///< with as many digits in every row
};
std::vector<ArmRow> arm_rows(const Results& results);

/// What tables show of cost, in order: name in result.json, heading, value as text.
struct CostColumn {
  std::string_view name, heading;
  std::string (*text)(double);
};
/// With the memory of tensors where runs recorded it: older ones did not.
std::vector<CostColumn> cost_columns(const Results& results);
/// The value of a column, or a dash.
std::string cost_text(const std::map<std::string, double>& cost, const CostColumn& column);
/// What a rank waited for others: no cost of a run in one process.
const CostColumn& idle_column();

/// An experiment as a table of text.
struct ExperimentTable {
  std::string title;                           ///< "straggler: 8 ranks, one of them slow"
  std::string conditions;                      ///< "--nproc 8 --inject rank:7:slow=10 seed=1", as for etude run
  std::vector<std::string> columns;            ///< "arm", "seeds", ...
  std::vector<std::vector<std::string>> rows;  ///< means over seeds
};
ExperimentTable experiment_table(const ExperimentResult& experiment);
/// What is to be known when reading such tables.
inline constexpr std::string_view kExperimentNote = "means over seeds; idle: waiting for other ranks, their median";

/// "+0.041 [+0.035, +0.047] nats, margin 0.02, 5 seeds", or why there is nothing to judge.
std::string measured_text(const Verdict& verdict);
/// The caution that all measured verdicts share, so that it needs to be said only once; may be empty.
std::string shared_caution(const std::vector<Verdict>& verdicts);
/// The numbers of a simulation as text: whole where all of their column are, else with three significant digits.
std::vector<std::vector<std::string>> cells(const NumberTable& table);

/// "about 12 seeds would decide", the caution unless it is `said` already, the note; may be empty.
std::vector<std::string> remarks(const Verdict& verdict, std::string_view said = {});

/// results.json. Doubles survive to the bit. Errors of reading: Code::checkpoint with the place.
std::string to_json(const Results& results);
Results parse_results(std::string_view text, const std::string& name);
void write_results(const std::string& path, const Results& results);
Results read_results(const std::string& path);

/// The card's table in Markdown: arms, verdicts, and where the numbers are from.
std::string results_table(const Results& results);
/// The card with the table between its lines <!-- results --> and <!-- /results --> renewed.
/// Errors: Code::config if the card lacks them. A card is fresh if this changes nothing.
std::string with_results(std::string_view card, const Results& results, const std::string& name);

}  // namespace etude::report
