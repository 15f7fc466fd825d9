#pragma once
// claims.toml: what a paper says, as expressions over runs with margins, written down and committed
// before there are results; and the rule that turns runs into verdicts.
//
//   headline = ["noloco", "diloco"]     arms of the profile small, in the order of tables
//   seeds = 5
//   metric = "valid/loss"
//   profile = "small"                   the size at which margins were calibrated
//   [[show]]                            how metrics are named and drawn in tables and plots
//   metric = "noloco/weight_std"
//   label = "weight spread"
//   log = true
//   [[claim]]
//   id = "beats-none"
//   text = "NoLoCo beats replicas that never exchange."
//   source = "abstract"
//   kind = "superiority"                superiority | equivalence | trend | not shown
//   expression = 'value(none) - value(noloco)'
//   margin = 0.02                       superiority, trend: more than this
//   band = 0.01                         equivalence: between -band and band
//   simulation = "noloco/latency"       whose table stands in where the claim is not shown, else beside it
//   [[experiment]]                      arms over real processes, under conditions that are rehearsed
//   id = "straggler"                    its arms are noloco@straggler, ... in expressions and tables
//   about = "8 ranks, one of them ten times slower"
//   arms = ["noloco", "diloco"]
//   nproc = 8                           as --nproc and --inject of etude run
//   inject = "rank:7:slow=10"
//   set = ['stop="120 steps"']          overrides of the recipes
//   seeds = 3                           no more than these of the comparison's seeds
//
// Every option is listed with its help in claims.cpp.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "etude/base/number_table.h"
#include "etude/report/expression.h"
#include "etude/report/run_record.h"
#include "etude/report/statistics.h"

namespace etude::report {

struct Claim {
  std::string id, text, source, kind = "superiority", unit, note, profile;
  std::string simulation;  ///< kind of the registry, whose table stands in or beside; empty: none
  std::string expression;  ///< as written
  double margin = 0, band = 0;
  Expression parsed;  ///< empty for claims that are not shown
};

/// Arms that run as ranks under rehearsed conditions.
struct Experiment {
  std::string id, about;
  std::vector<std::string> arms;  ///< ordinary ones
  int64_t nproc = 2;
  std::string inject;
  std::vector<std::string> set;  ///< overrides, as on the command line
  std::optional<int64_t> seeds;  ///< all of the comparison's if not given
  std::string place;             ///< where its arms stand in the file

  /// The folder of its runs below that of all runs; another one when ranks or conditions change.
  std::string folder() const;
};

/// How a metric is named and drawn.
struct MetricStyle {
  std::string metric, label, unit;
  bool log = false, lower_is_better = true;
};

struct Claims {
  std::vector<std::string> headline;
  int64_t seeds = 5;
  std::string metric = "valid/loss", label, unit, axis = "steps", reference, profile = "small";
  bool lower_is_better = true;
  std::vector<MetricStyle> show;
  std::vector<Claim> claims;
  std::vector<Experiment> experiments;
  std::string sha256;          ///< of the file's bytes
  std::string headline_place;  ///< where the arms of the headline stand in it

  /// The style of a metric; of the headline metric from `label`, `unit` and `lower_is_better`.
  MetricStyle style(std::string_view metric) const;
  /// Ordinary arms of the headline and of all expressions, once each.
  std::vector<std::string> arms() const;
  /// "noloco@straggler", ..., experiment by experiment.
  std::vector<std::string> experiment_arms() const;
  /// The experiment of "noloco@straggler"; null for an ordinary arm and where there is no such experiment.
  const Experiment* experiment(std::string_view arm) const;
  /// Errors: Code::config at the first arm that is not among `known`, nor an experiment's.
  void check_arms(const std::vector<std::string>& known) const;
};

/// Errors: Code::config with "name:line:column".
Claims parse_claims(std::string_view text, std::string_view file_name);

enum class Outcome { holds, inconclusive, fails, not_shown };
std::string_view outcome_name(Outcome outcome);  ///< "holds", "inconclusive", "fails", "not shown"
std::optional<Outcome> outcome_of(std::string_view name);

/// What became of a claim; complete enough to be stored and shown without the claims file.
struct Verdict {
  struct Seed {
    int64_t seed = 0;
    double value = 0;
  };

  std::string id, text, source, kind, expression, unit, note;
  Outcome outcome = Outcome::inconclusive;
  std::vector<Seed> seeds;  ///< value of the expression for each paired seed
  Interval interval;
  double margin = 0;                      ///< or half width of the band
  std::optional<int64_t> seeds_needed;    ///< inconclusive without a reason: how many would decide; nothing: more
                                          ///< than kMostSeeds
  std::string reason;                     ///< why there is nothing to judge, if so
  std::string caution;                    ///< what to keep in mind
  std::optional<NumberTable> simulation;  ///< what stands in for a measurement, or beside it; filled by whoever can
                                          ///< run it
};

/// Superiority and trend hold when the whole 95 % interval lies above the margin and fail when it lies
/// wholly below; equivalence holds when it lies within the band and fails when wholly outside. Anything
/// else, fewer than two paired seeds, or a seed without a value is inconclusive. Seeds count when every
/// arm of the expression has finished them.
Verdict judge(const Claim& claim, const Claims& claims, const std::vector<RunRecord>& runs, std::string_view profile);

/// Verdicts of all claims in the order of the file.
std::vector<Verdict> judge_all(const Claims& claims, const std::vector<RunRecord>& runs, std::string_view profile);

}  // namespace etude::report
