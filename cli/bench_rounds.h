#pragma once
// A training step measured on both sides, in turn.

#include <cstdint>
#include <string>
#include <vector>

#include "cli/bench_child.h"
#include "cli/bench_task.h"
#include "etude/report/bench.h"

namespace etude::cli {

struct BenchSettings {
  int64_t rounds = 5, threads = 1;
  double seconds = 2;       ///< about so long each side computes in a round
  bool curves = false;      ///< losses of the first steps are compared
  bool tuned = true;        ///< with the peer's compiled modes and tcmalloc
  std::string python = {};  ///< with PyTorch
};

/// bench/peers/peer.py of the checkout around the program or the current folder. Errors: Code::usage.
std::string peer_program();
/// What `python` has: "2.15.0+cpu". Errors: Code::usage when it can't be started or has no PyTorch.
std::string torch_version(const std::string& python);
/// The library that tcmalloc comes as; "" where it is not installed.
std::string tcmalloc_library();

/// A folder for as long as the object lives.
class ScratchFolder {
 public:
  ScratchFolder();  ///< Errors: Code::io
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// Our own process of that kind, waiting for its task.
std::unique_ptr<BenchChild> start_our_side(const std::string& folder, const BenchSettings& settings);

/// Every side of a step warmed up, then rounds in which each takes the same number of steps after the other. Errors:
/// Code::config when the sides have different numbers of parameters, Code::numeric for losses that are too far apart;
/// those of BenchChild.
report::BenchRow measure_step(const StepShape& shape, const std::string& format, const BenchSettings& settings);

/// The path of every operator of a step on our side: {operator: {path: calls}}.
nlohmann::json explain_step(const StepShape& shape, const std::string& format, const BenchSettings& settings);

/// The share of the cores that nobody else uses right now, measured for a moment by threads that want all of them.
double free_share(int64_t threads, double seconds);
/// This process, and those that it starts, keep to the first of the cores that they may use.
void keep_to_cores(int64_t cores);

}  // namespace etude::cli
