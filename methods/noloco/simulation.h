#pragma once
// What cannot be measured in one process, from clock models (etude/comm/clock.h): how long a synchronisation takes, and
// whom a slow replica holds up. Times are in units of the median message time or of an inner step.
//
// N replicas, H inner steps between two outer steps, s spread of message times lognormal(0, s).

#include <cstdint>
#include <vector>

#include "etude/base/number_table.h"

namespace etude::noloco {

/// A pair exchange against a tree all-reduce, for N = 8 ... 1024 and s = 0.5 (the paper's abstract: about ten times
/// faster at hundreds of nodes, a gap that grows with log N).
NumberTable latency_table(uint64_t seed);

struct StragglerOptions {
  int replicas = 8;
  int group = 2;  ///< n; replicas: everybody meets everybody
  int outer_steps = 3;
  int64_t every = 20;    ///< H
  double slowness = 10;  ///< of replica 0; an inner step of the others takes one second
  double latency = 0.1, spread = 0.5;
};

/// Seconds that each replica has waited after `outer_steps`, by the exchange that trains (GroupMean) over a network
/// with a clock.
std::vector<double> straggler_idle(const StragglerOptions& options, uint64_t seed);
/// The same where all replicas meet in a tree all-reduce: nobody goes on before the slowest has arrived and the tree is
/// through. A pure clock, for networks too large to send N^2 messages.
std::vector<double> straggler_idle_in_tree(const StragglerOptions& options, uint64_t seed);

/// One replica ten times slower than the others: how long they wait in pairs and in an all-reduce.
NumberTable straggler_table(uint64_t seed);

}  // namespace etude::noloco
