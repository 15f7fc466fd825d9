#pragma once
// One pass over the memory of many tensors: updates of parameters, and the norm of gradients. The tensors count as one
// long row, which threads share out by elements: a hundred small tensors cost what one of their size does, and one
// large tensor keeps all threads busy. Each element's arithmetic is its own, and sums are of blocks that lie where they
// lie whoever adds them up: the bits are the same for any number of threads.

#include <ATen/core/Tensor.h>

#include <vector>

namespace etude {

/// Whether the passes below take these: on the CPU and isa() != Isa::aten; values and states float32, gradients float32
/// or bfloat16; all tensors of a parameter dense, with the same strides. `states`: columns of one tensor a parameter.
bool has_update_pass(at::TensorList value, at::TensorList gradient, const std::vector<at::TensorList>& states);

struct AdamPass {
  double lr, beta1, beta2, eps, weight_decay;
  bool decoupled;         ///< AdamW: the decay is of the weights, not in the gradient
  double gradient_scale;  ///< by which gradients are multiplied as they are read
};
/// Kingma and Ba 2015, Algorithm 1, with weight decay as an L2 term; decoupled: Loshchilov and Hutter 2019, Algorithm 2
/// with lr times the decay, as PyTorch has it. `updates`: t >= 1 of each tensor, this update included.
/// Required: has_update_pass(value, gradient, {mean, square}).
void adam_pass(at::TensorList value, at::TensorList gradient, at::TensorList mean, at::TensorList square,
               const std::vector<double>& updates, const AdamPass& with);

struct SgdPass {
  double lr, momentum, weight_decay;
  bool nesterov;
  double gradient_scale;
};
/// Sutskever et al. 2013, equations 1, 2 and (nesterov) 3 and 4, as PyTorch writes them; see etude/optim/sgd.h.
/// `velocity` is empty where momentum is 0. Required: has_update_pass(value, gradient, {velocity} or {}).
void sgd_pass(at::TensorList value, at::TensorList gradient, at::TensorList velocity, const SgdPass& with);

/// Whether sum_of_squares() takes it: defined, dense, float32 or bfloat16, on the CPU; isa() != Isa::aten.
bool has_norm_pass(const at::Tensor& x);
/// The squares of all elements, added up in double: it does not overflow. Required: has_norm_pass() of each.
double sum_of_squares(at::TensorList tensors);

}  // namespace etude
