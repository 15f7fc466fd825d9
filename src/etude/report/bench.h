#pragma once
// What `etude bench` measured: training steps beside plain PyTorch's, as bench/results.json keeps them and as the
// README's table shows them. docs/bench.md says how they are measured.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "etude/report/run_record.h"

namespace etude::report {

/// Who took a step: Etude, or a peer in one of its modes ("eager", "eager, tcmalloc", "compile", "compile, tcmalloc").
struct BenchSide {
  std::string name;
  std::vector<double> seconds = {};  ///< of one step, a value a round
  double bytes = 0;                  ///< peak memory during the steps, above the process before it had a net
};

/// The peer as it comes from its registry.
inline constexpr std::string_view kAsInstalled = "eager";

/// A training step in a number format.
struct BenchRow {
  std::string name, format, shape;  ///< "decoder-256", "bf16", "d=256 L=6 T=256 B=16 V=4096"
  std::string date, commit;
  int64_t parameters = 0, tokens = 0;  ///< of the net; in a batch
  double flops = 0;                    ///< that the mathematics requires of a step's products
  double roof = 0;                     ///< FLOP/s of the best product in the same run
  std::string roof_product = {};       ///< which that was: "own 2048 x 2048 x 2048"
  double quiet = 1;                    ///< the least share of the cores that was free for the measures
  double curves = 0;                   ///< largest relative difference of the 50 losses; NaN: not compared
  BenchSide ours = {};
  std::vector<BenchSide> peers = {};

  /// The peer's mode with the smallest median; the one of that name, nullptr if it was not measured.
  const BenchSide& best_peer() const;
  const BenchSide* peer(std::string_view name) const;
};

/// Median, least and largest of a value a round.
struct Spread {
  double median = 0, low = 0, high = 0;
};
/// Required: at least one value.
Spread spread(std::span<const double> values);
/// How many times longer `peer` takes, round by round. Required: the same number of rounds.
Spread speedup(const BenchSide& ours, const BenchSide& peer);

struct BenchResults {
  std::string date, commit, peer;  ///< "PyTorch 2.15.0"
  Machine machine;
  std::vector<BenchRow> rows;
};

/// `older` with the rows of `newer` in the place of those of the same name and format. Where machine or peer differ,
/// rows can't stand beside each other: `newer` alone.
BenchResults merged(const BenchResults& older, const BenchResults& newer);

/// bench/results.json. Doubles survive to the bit. Errors of reading: Code::checkpoint with the place.
std::string to_json(const BenchResults& results);
BenchResults parse_bench(std::string_view text, const std::string& name);

/// The table in Markdown: a line a row, and where the numbers are from.
std::string bench_table(const BenchResults& results);
/// The page with the table between its lines <!-- bench --> and <!-- /bench --> renewed; fresh if this changes nothing.
/// Errors: Code::config if the page lacks them.
std::string with_bench(std::string_view page, const BenchResults& results, const std::string& name);

}  // namespace etude::report
