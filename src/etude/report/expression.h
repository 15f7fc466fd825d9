#pragma once
// Expressions over the runs of one seed: what a claim says, as arithmetic on measured values.
//
//   expression := term (('+' | '-') term)*          term := factor (('*' | '/') factor)*
//   factor     := '-' factor | number | '(' expression ')' | call
//   call       := value(ARM [, METRIC [, AT]])      a value; AT: end, 50%, 400 steps (at or last before)
//               | reach(ARM, METRIC, LEVEL, UNIT)   what the counter UNIT showed when METRIC first got to LEVEL
//               | best(ARM [, METRIC]) | peak(ARM [, METRIC]) | mean(ARM [, METRIC])
//               | cost(ARM, NAME)                   seconds, idle_seconds, peak_bytes, flops, bytes, messages, ...
//               | log(x) | exp(x) | sqrt(x) | abs(x) | max(x, ...) | min(x, ...)
//               | slope([x, ...], [y, ...])         of the least-squares line
//
// ARM, METRIC, AT, NAME and UNIT are bare words (noloco-gamma0, noloco@straggler, valid/loss, 400 steps) or quoted.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "etude/base/error.h"
#include "etude/report/run_record.h"

namespace etude::report {

/// What an expression asks about metrics and runs.
struct Scene {
  std::map<std::string, const RunRecord*> runs;  ///< by arm, all of one seed
  std::string metric;                            ///< where a call names none
  std::function<bool(std::string_view metric)> lower_is_better;
};

/// A number, or why there is none ("noloco never got to 2.3").
struct Value {
  double number = 0;
  std::string missing;
};

class Expression {
 public:
  /// Says where the byte at an offset of the text stands in the user's file.
  using Place = std::function<std::string(size_t offset)>;

  /// Errors: Code::config with the place, what was found and what was expected.
  static Expression parse(std::string_view text, const Place& place);

  /// Requires a run for every arm of arms(). The result is finite or missing.
  Value evaluate(const Scene& scene) const;

  /// Each arm that is named, in order, once.
  std::vector<std::string> arms() const;
  /// Errors: Code::config, with the place and the nearest name, for an arm that is not among `known`.
  void check_arms(const std::vector<std::string>& known) const;

  struct Node;

 private:
  struct Mention {
    std::string arm, place;
  };
  std::shared_ptr<const Node> root_;
  std::vector<Mention> mentions_;
  friend class ExpressionParser;
};

}  // namespace etude::report
