#include "methods/noloco/simulation.h"

#include "etude/base/torch_pch.h"

#include <algorithm>

#include "etude/comm/clock.h"
#include "etude/comm/group_mean.h"
#include "methods/noloco/noloco.h"

namespace etude::noloco {
namespace {

constexpr int64_t kMessages = 1 << 19;  ///< drawn for one number of the latency table

/// Over the replicas that are not slow.
double median_of_others(std::vector<double> idle) {
  idle.erase(idle.begin());
  const auto middle = idle.begin() + static_cast<std::ptrdiff_t>(idle.size() / 2);
  std::nth_element(idle.begin(), middle, idle.end());
  return *middle;
}

/// The share of them that waited longer than an inner step takes.
double held_up(const std::vector<double>& idle) {
  const auto waited = std::count_if(idle.begin() + 1, idle.end(), [](double seconds) { return seconds > 1; });
  return static_cast<double>(waited) / static_cast<double>(idle.size() - 1);
}

double work_seconds(const StragglerOptions& o, int replica) {
  return static_cast<double>(o.every) * (replica == 0 ? o.slowness : 1);
}

}  // namespace

NumberTable latency_table(uint64_t seed) {
  constexpr double kSpread = 0.5;
  NumberTable table{"Time of one synchronisation; message times lognormal(0, 0.5), median 1",
                    {"replicas", "pair exchange", "tree all-reduce", "tree / pair"},
                    {}};
  const double pair = pair_exchange_seconds(kSpread, kMessages, seed);
  for (int N = 8; N <= 1024; N *= 2) {
    const double tree = tree_all_reduce_seconds(N, kSpread, kMessages / N, seed);
    table.rows.push_back({static_cast<double>(N), pair, tree, tree / pair});
  }
  return table;
}

std::vector<double> straggler_idle(const StragglerOptions& o, uint64_t seed) {
  Clock clock(o.replicas, {.median = o.latency, .spread = o.spread}, seed);
  std::vector<GroupMean> sides(static_cast<size_t>(o.replicas));
  const std::vector<Tensor> theta = {torch::zeros({4})};
  for (int outer = 1; outer <= o.outer_steps; ++outer) {
    for (int r = 0; r < o.replicas; ++r) clock.compute(r, work_seconds(o, r));
    const auto groups = pairing(seed, o.replicas, o.group, outer * o.every);
    for (int round = 0; round < GroupMean::rounds(o.group); ++round) {
      for (const auto& group : groups)
        for (const int r : group) sides[static_cast<size_t>(r)].post(clock.peers(r), group, theta, round);
      for (const auto& group : groups)
        for (const int r : group) sides[static_cast<size_t>(r)].collect(clock.peers(r), group, theta, round);
      clock.end_round();
    }
  }
  std::vector<double> idle;
  for (int r = 0; r < o.replicas; ++r) idle.push_back(clock.idle(r));
  return idle;
}

std::vector<double> straggler_idle_in_tree(const StragglerOptions& o, uint64_t seed) {
  std::vector<double> now(static_cast<size_t>(o.replicas)), idle(now.size());
  for (int outer = 1; outer <= o.outer_steps; ++outer) {
    for (int r = 0; r < o.replicas; ++r) now[static_cast<size_t>(r)] += work_seconds(o, r);
    const double through =
        *std::max_element(now.begin(), now.end()) +
        o.latency * tree_all_reduce_seconds(o.replicas, o.spread, 1, seed + static_cast<uint64_t>(outer));
    for (size_t r = 0; r < now.size(); ++r) {
      idle[r] += through - now[r];
      now[r] = through;
    }
  }
  return idle;
}

NumberTable straggler_table(uint64_t seed) {
  NumberTable table{"One replica is ten times slower: the others' waiting after so many outer steps of 20 inner steps",
                    {"replicas", "outer steps", "held up, in pairs", "median wait, in pairs", "held up, all-reduce",
                     "median wait, all-reduce"},
                    {}};
  for (const int N : {8, 64, 256, 1024})
    for (const int outer : {1, 3, 10}) {
      StragglerOptions o;
      o.replicas = N;
      o.outer_steps = outer;
      const auto pairs = straggler_idle(o, seed), all = straggler_idle_in_tree(o, seed);
      table.rows.push_back({static_cast<double>(N), static_cast<double>(outer), held_up(pairs), median_of_others(pairs),
                            held_up(all), median_of_others(all)});
    }
  return table;
}

}  // namespace etude::noloco
