#pragma once
// Schedules: a number that may change as the run goes on. One may stand wherever a number stands:
//
//   0.003                                     constant
//   "linear(0.1 -> 0)"                        over the whole stage
//   "cosine(3e-3 -> 3e-4)"                    half a cosine wave from 3e-3 to 3e-4
//   "warmup(40, cosine(3e-3 -> 3e-4))"        linear from 0 during 40 steps, the rest over what is left
//   "wsd(3e-3 -> 3e-4, 20%)"                  warm-up, stable, decay: 3e-3 until the last 20% of the stage, then
//                                             down to 3e-4; the warm-up is "warmup(40, wsd(3e-3 -> 3e-4, 20%))"
//   "wsd(3e-3 -> 3e-4, 20%, sqrt)"            the same with another course of the decay: linear (which need not be
//                                             said), exponential or sqrt
//   "steps(0: 0.1, 50%: 0.01, 75%: 0.001)"    piecewise constant; places are counts, the first is 0
//   "0.5 * cosine(1 -> 0)", "min(…, …)" are not part of the grammar.
//
// A place ("40", "1M tokens", "10%") is a Count from the beginning of the stage; percentages are of the
// stage's stop rule. Progress p is counted in the unit of the stop rule, from 0 at the first update (or
// at the first after a warm-up) to 1 at the stop, which no update reaches:
//   linear(a -> b)   a + (b - a) p
//   cosine(a -> b)   b + (a - b) (1 + cos(pi p)) / 2
//   wsd(a -> b, d)   a, and in the last d of the stage, with q from 0 at its first update to 1 at the stop:
//                    linear a + (b - a) q, exponential a (b / a)^q, sqrt b + (a - b) (1 - sqrt(q))
// wsd is that of Hu et al. 2024, "MiniCPM", section 4, where the decay is exponential; linear and sqrt are those of
// Haegele et al. 2024, "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations". A decay
// longer than what the warm-up leaves begins with its end.
// A warm-up or a decay in another unit than the stop rule ends or begins where the mean rate so far puts it. A
// warm-up that is not counted in steps knows the coming step only by the mean of those before, so its first update gets
// kFirstShare of the value.

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
  static constexpr double kFirstShare = 1e-6;  ///< the least share of the value within a warm-up

  Schedule() : Schedule(0.0) {}
  Schedule(double constant);                     // NOLINT: a number is a schedule
  static Schedule parse(std::string_view text);  ///< Errors: Code::config with column and hint.

  /// The value at a position. At the first step (0 steps done) a warm-up of n steps gives 1/n of its
  /// first value, as step k of n is the k-th update: value(k done) = first * (k + 1) / n.
  /// Required: the stop rule is no percentage.
  double at(const Position& position) const;
  bool constant() const;
  /// Bounds of the values that it can take, and tight ones but for a warm-up that is not in steps,
  /// whose least share isn't known before the run: kFirstShare then.
  double lowest() const;
  double highest() const;
  /// Whether an update may get exactly this extreme value: the end of a linear, cosine or wsd
  /// schedule is only approached, so linear(0.1 -> 0) stays positive.
  bool reaches(double extreme) const;
  std::string text() const;  ///< parse(text()) is the same schedule; a constant prints as a number
  bool operator==(const Schedule& other) const { return text() == other.text(); }

  struct Node;

 private:
  std::shared_ptr<const Node> node_;
};

}  // namespace etude
