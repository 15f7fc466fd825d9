#pragma once
// The training steps that `etude bench` compares, and the task that both sides are given: our own process and that of a
// peer (bench/peers/peer.py) read the same weights and batches from the same two files.
//
// A side reads lines of JSON and answers each with one:
//
//   the task          {"net", "options", "weights", "batches", "format", "compile", "threads", "lr", "beta1", "beta2",
//                      "eps", "weight_decay", "no_decay", "clip"}
//     answer          {"ready", "parameters", "idle_bytes", "version"}
//   {"steps": N}      N steps on the batches in turn; time begins when the line is read
//     answer          {"seconds", "losses", "peak_bytes"}
//
// B batch, T time, N batches.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "etude/base/config.h"
#include "etude/data/batch.h"
#include "etude/nn/net.h"

namespace etude::cli {

/// A net and a batch.
struct StepShape {
  std::string name;  ///< "decoder-256"
  std::string net;   ///< decoder | encoder
  int64_t dim, layers, heads, ffn, length, batch, vocab;

  std::string text() const;  ///< "d=256 L=6 T=256 B=16 V=4096"
  int64_t tokens() const { return batch * length; }
  /// The options under their names in Etude's recipes and in the peer's constructors.
  nlohmann::json options() const;
  /// The net with weights of zero.
  std::shared_ptr<Net> make_net() const;
};

/// Those of the README's table.
const std::vector<StepShape>& step_shapes();
/// Errors: Code::usage with the nearest name.
const StepShape& find_step(const std::string& name);
/// From a task's "net" and "options".
std::shared_ptr<Net> make_net(const std::string& kind, const nlohmann::json& options);

inline constexpr int64_t kBatches = 4;
/// The share of tokens that a masked encoder is asked about.
inline constexpr double kMasked = 0.15;

/// Writes weights.safetensors and batches.safetensors into `folder` and returns the task, in float32 and without
/// "compile".
nlohmann::json write_task(const StepShape& shape, const std::string& folder, int64_t threads);
/// Batches of the second file: ids_BT and labels_BT; for an encoder the places and labels of what is masked too.
std::vector<Batch> read_batches(const std::string& path);

/// What the mathematics requires of a step's products: three forwards, attention's causal half, no look-ups.
double required_flops(const StepShape& shape);
/// Products of a step as M, N, K: rows of a batch through each of its weights.
std::vector<std::vector<int64_t>> product_shapes(const StepShape& shape);

}  // namespace etude::cli
