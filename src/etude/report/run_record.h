#pragma once
// A finished or partial run as it lies on disk, read without LibTorch:
//
//   runs/<method>-<arm>/<hash>-s<seed>/recipe.toml     the resolved recipe
//                                      metrics.jsonl   one JSON object a line (docs/formats.md)
//                                      result.json     written last; absent while the run is partial
//                                      rows/<evaluation>.jsonl   a value per item of the last evaluation
//   runs/@<experiment>-<digits>/<method>-<arm>/...     the same, of an experiment (claims.h)
//
// These files come from other machines and from processes that died while writing: only a torn last
// line is forgiven, everything else malformed is an Error that names file and line.

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "etude/base/counters.h"

namespace etude::report {

/// Where a run was made.
struct Machine {
  std::string processor, isa, libtorch;
  int64_t threads = 0;
  bool operator==(const Machine&) const = default;
};

/// One metric over a stage: value[i] was measured when the counters stood at points[point[i]].
/// A value that was not finite is NaN or infinite here too.
struct Series {
  std::string stage, metric;
  bool evaluation = false;
  std::vector<uint32_t> point;
  std::vector<double> value;
};

/// The value of one item (a document, an image) of the last evaluation, and how much of it was there
/// to be measured (its tokens).
struct ItemValue {
  int64_t item = 0;
  double value = 0, weight = 1;
};

struct RunRecord {
  std::string method, profile, key, directory;
  std::string arm;  ///< "noloco"; "noloco@straggler" for a run of an experiment
  int64_t seed = 0;
  bool finished = false;
  std::vector<Counters> points;                        ///< counters at each line of metrics.jsonl
  std::vector<Series> series;                          ///< in order of first appearance
  std::map<std::string, double> final;                 ///< last values, from result.json
  std::map<std::string, double> cost;                  ///< seconds, peak_bytes, flops, ... from result.json
  std::map<std::string, std::vector<ItemValue>> rows;  ///< by evaluation: "valid"
  Machine machine;
  std::string commit;

  /// The series of "valid/loss", in the last stage that has it, or of "pretrain:valid/loss", in that
  /// stage; nullptr if there is none.
  const Series* find(std::string_view metric) const;
  /// The last value of a metric, from its series or else from result.json; NaN if there is neither.
  double last(std::string_view metric) const;
};

/// "straggler" of the arm "noloco@straggler"; "" of an ordinary arm.
std::string_view experiment_id(std::string_view arm);
/// "noloco" of both.
std::string_view ordinary_arm(std::string_view arm);

/// Reads a run directory. Errors: Code::checkpoint naming file and line.
RunRecord read_run(const std::string& directory);

/// The run directories at or up to two levels below `path`, and those of experiments, sorted: `path` may be a run, an
/// arm's folder, an experiment's or `runs` itself.
std::vector<std::string> run_directories(const std::string& path);

/// Adds the lines of a metrics file. `name` stands in errors. A last line without its end that does
/// not parse is left out.
void parse_metrics(std::string_view text, const std::string& name, RunRecord& into);

}  // namespace etude::report
