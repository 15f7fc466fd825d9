#pragma once
// The time that a stage still takes.

#include <utility>
#include <vector>

#include "etude/base/counters.h"

namespace etude {

/// What the estimate is made from.
struct Pace {
  Counters done;
  Count stop;
  double step_seconds = 0;                             ///< of a step, without what comes besides
  std::vector<std::pair<Count, double>> besides = {};  ///< cadence, and the seconds that it took so far
};

/// Steps that are left, at as many units of the stop rule a step as so far, and what is due besides, at its mean cost
/// so far; what was not due yet has no known cost. NaN as long as the stop rule's counter stands at 0.
double seconds_left(const Pace& pace);

}  // namespace etude
