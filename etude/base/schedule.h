#pragma once
// Schedules: a number that may change as the run goes on. One may stand wherever a number stands:
//
//   0.003                                     constant
//   "linear(0.1 -> 0)"                        over the whole stage
//   "cosine(3e-3 -> 3e-4)"                    half a cosine wave from 3e-3 to 3e-4
//   "warmup(40, cosine(3e-3 -> 3e-4))"        linear from 0 during 40 steps, the rest over what is left
//   "steps(0: 0.1, 50%: 0.01, 75%: 0.001)"    piecewise constant; places are counts
//   "0.5 * cosine(1 -> 0)", "min(…, …)" are not part of the grammar.
//
// A place ("40", "1M tokens", "10%") is a Count; percentages are of the stage's stop rule.

#include <memory>
#include <string>
#include <string_view>

#include "etude/base/counters.h"

namespace etude {

/// Where a run stands: what has been counted, and when the stage ends.
struct Position {
  Counters now;
  Count stop;
};

class Schedule {
 public:
  Schedule() : Schedule(0.0) {}
  Schedule(double constant);  // NOLINT: a number is a schedule
  static Schedule parse(std::string_view text);  ///< Errors: Code::config with column and hint.

  /// The value at a position. At the first step (0 steps done) a warm-up of n steps gives 1/n of its
  /// first value, as step k of n is the k-th update: value(k done) = first * (k + 1) / n.
  double at(const Position& position) const;
  bool constant() const;
  /// Smallest and largest value that it can take.
  double lowest() const;
  double highest() const;
  std::string text() const;  ///< parse(text()) is the same schedule; a constant prints as a number
  bool operator==(const Schedule& other) const { return text() == other.text(); }

  struct Node;

 private:
  std::shared_ptr<const Node> node_;
};

}  // namespace etude
