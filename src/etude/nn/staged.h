#pragma once
// Nets that can be cut into pipeline stages.

#include <cstdint>
#include <string>
#include <vector>

#include "etude/nn/context.h"

namespace etude {

struct Batch;

/// Stage `index` of `count`.
struct PipelineStage {
  int64_t index = 0, count = 1;
  bool first() const { return index == 0; }
  bool last() const { return index + 1 == count; }
};

/// What a net implements that can be cut. A stage uses only parameters of its own.
class Staged {
 public:
  virtual ~Staged() = default;
  /// Errors: Code::config when it can't be cut into so many stages. Required: count >= 1.
  virtual void check_stages(int64_t count) const = 0;
  /// The first stage reads the batch's inputs, every other one `x`, which the stage before gave for the same batch;
  /// from this the last one gives what the net gives. x has the samples in its first dimension. Required:
  /// check_stages(stage.count).
  virtual Tensor run_stage(const PipelineStage& stage, const Batch& batch, const Tensor& x, Ctx& ctx) = 0;
  /// The last stage and what each label costs, by the operators that LanguageModel::token_losses() takes. Undefined
  /// where these begin with logits: then run_stage() gives them.
  virtual Tensor stage_losses(const PipelineStage&, const Batch&, const Tensor& x, const Tensor& labels_BT, Ctx&) {
    (void)x, (void)labels_BT;
    return {};
  }
  /// Names of the parameters that a stage uses. Every parameter belongs to one stage.
  virtual std::vector<std::string> stage_parameters(const PipelineStage& stage) const = 0;
};

}  // namespace etude
