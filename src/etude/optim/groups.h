#pragma once
// What optimizers share: learner groups, the check for fused kernels, and counts of updates.

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <vector>

#include "etude/optim/optimizer.h"

namespace etude {

/// Parameters with one learning rate and one weight decay.
struct LearnerGroup {
  Schedule lr;
  double weight_decay = 0;
  std::vector<size_t> members;  ///< indices into the optimizer's parameters
};

/// Cuts parameters into groups: each belongs to the first of `groups` that selects it, or to none. The weight
/// decay of a parameter tagged "no_decay" is 0 unless its group names one.
std::vector<LearnerGroup> learner_groups(const Parameters& parameters, const std::vector<GroupOptions>& groups,
                                         const Schedule& lr, double weight_decay);
/// Errors: Code::config for a group that is nobody's, with the place in `table` (the optimizer's own) and the nearest
/// names.
void check_groups(const Parameters& parameters, const std::vector<GroupOptions>& groups, const Config& table);

/// Tensors of an update, one entry a parameter: value, gradient, state tensors (in the optimizer's order).
using TensorColumns = std::vector<std::vector<Tensor>>;

/// Whether LibTorch's fused kernels take them: one device that has the kernels, one dtype, float32 or float64,
/// and dense memory of the same layout for all tensors of a parameter.
bool fusable(const TensorColumns& columns);

/// The gradient in the dtype and memory layout of its parameter; itself where it has them. bfloat16 on the CPU stays as
/// it is for a parameter of float32: the update widens it as it reads.
Tensor laid_out_as(const Tensor& gradient, const Tensor& parameter);
/// The gradient times `scale`; itself where that is 1.
Tensor scaled(const Tensor& gradient, double scale);
std::vector<Tensor> scaled(const std::vector<Tensor>& gradients, double scale);

/// Updates of each parameter so far: float32 scalars (exact up to 2^24) on the parameters' devices, all in one
/// memory where the parameters share a device.
class StepCounts {
 public:
  explicit StepCounts(const Parameters& parameters);
  /// One more for each parameter whose gradient is defined.
  void advance(const std::vector<Tensor>& gradients);
  const Tensor& of(size_t parameter) const { return counts_[parameter]; }

 private:
  Tensor all_;
  bool shared_;
  std::vector<Tensor> counts_;
};

}  // namespace etude
