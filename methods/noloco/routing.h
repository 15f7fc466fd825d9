#pragma once
// Random pipeline routing (arXiv 2506.10911): a net is cut into stages, of which every replica holds its own copies,
// and each micro-batch takes a random path through the replicas. So replicas mix without sending weights.
//
// N replicas, S stages, u micro-batch, counted over the whole run, pi_{u,s} permutation between stages s and s + 1.

#include <cstdint>
#include <string>
#include <vector>

#include "etude/base/options.h"
#include "etude/train/hooks.h"

namespace etude::noloco {

/// pi_{u,s}: replica r sends micro-batch u from stage s to replica pi[r] of stage s + 1. Everybody computes the same
/// without a message. Required: replicas >= 1.
std::vector<int> route(uint64_t seed, int64_t u, int64_t s, int replicas);

struct PipelineOptions {
  std::string net = "model", routing = "random";
  int64_t stages = 2, micro = 1;
  bool recompute = false;
  template <class V>
  void fields(V& v) {
    v("net", net, "the net that is cut");
    v("stages", stages, at_least(1), "pipeline stages of each replica");
    v("routing", routing, one_of({"random", "fixed"}),
      "which replica's next stage a micro-batch goes to: a random one, or its own");
    v("micro", micro, at_least(1), "samples of a micro-batch");
    v("recompute", recompute, "a stage keeps its input only, and takes its forward again in the backward");
  }
};

/// Executor of a net in stages, in the order of GPipe (Huang et al. 2019): stage by stage, all micro-batches forward,
/// then all of them backward along the same paths. Gradients add up within a stage in the order of u: bits don't depend
/// on which rank hosts which replica. The loss of a sample has the denominators of the batch that it was drawn in.
/// Where replicas lie on several ranks, each rank hosts whole replicas, and one that is gone ends the run.
/// Evaluation takes the straight path.
class Pipeline : public Technique {
 public:
  explicit Pipeline(PipelineOptions options) : o_(std::move(options)) {}
  Contract contract() const override;
  /// Says how large the stages are.
  void on(Event event, Step& step) override;
  /// Counts what passes between replicas as bytes, messages and rounds, and FLOPs as if nothing were recomputed.
  /// Errors: Code::config when the net can't be cut, an objective doesn't read it, or ranks share a replica;
  /// Code::comms when a rank is gone.
  void execute_all(std::vector<Step>& steps) override;

 private:
  PipelineOptions o_;
  int64_t step_ = -1, passes_ = 0;  ///< passes taken in the current step; they only keep messages apart
};

}  // namespace etude::noloco
