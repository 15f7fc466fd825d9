#pragma once
// Runs for the tests of this ring.

#include <string>
#include <vector>

#include "etude/base/testing.h"
#include "etude/report/claims.h"
#include "etude/report/run_record.h"

namespace etude::report::testing {

/// A finished run whose valid/loss was `loss` at steps 10, 20, 30, ...; 100 tokens and 1000 bytes a step.
inline RunRecord run(const std::string& arm, int64_t seed, const std::vector<double>& loss) {
  RunRecord record;
  record.method = "toy";
  record.arm = arm;
  record.seed = seed;
  record.profile = "small";
  record.key = "key-" + arm;
  record.finished = true;
  record.cost = {{"seconds", 2.0}, {"bytes", 3000.0}};
  record.machine = {"a processor", "AVX2", "2.15.0", 1};
  record.commit = "0123456789abcdef";
  Series series{"train", "valid/loss", true, {}, {}};
  for (size_t i = 0; i < loss.size(); ++i) {
    Counters at;
    at[Unit::steps] = 10 * static_cast<double>(i + 1);
    at[Unit::tokens] = 100 * at[Unit::steps];
    at[Unit::bytes] = 1000 * at[Unit::steps];
    record.points.push_back(at);
    series.point.push_back(static_cast<uint32_t>(i));
    series.value.push_back(loss[i]);
  }
  record.series.push_back(series);
  record.final = {{"valid/loss", loss.back()}};
  return record;
}

/// Claims on the arms ours and base: ours ends lower by more than `margin`.
inline Claims claims(const std::string& margin) {
  return parse_claims(
      "headline = ['ours', 'base']\n[[claim]]\nid = 'better'\ntext = 'Ours is better.'\nsource = 'table 1'\n"
      "unit = 'nats'\nexpression = 'value(base) - value(ours)'\nmargin = " +
          margin + "\n",
      "claims.toml");
}

/// Adds the experiment "slow" of both arms, with one finished run of each, in which ours waited 1.5 s and base 6 s.
inline void add_experiment(Claims& claims, std::vector<RunRecord>& runs) {
  claims.experiments.push_back(
      {"slow", "one rank is | slow", {"ours", "base"}, 2, "rank:1:slow=10", {"stop=\"2 steps\""}, {}, ""});
  for (const auto& [arm, idle] : {std::pair{"ours@slow", 1.5}, {"base@slow", 6.0}}) {
    runs.push_back(run(arm, 0, {9}));
    runs.back().cost = {{"seconds", 8.0}, {"idle_seconds", idle}, {"bytes", 3000.0}};
  }
}

}  // namespace etude::report::testing
