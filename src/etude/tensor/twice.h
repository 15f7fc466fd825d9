#pragma once
// The way out for nodes of autograd whose backward is a kernel: gradients that are themselves differentiable.

#include "etude/base/torch_pch.h"

#include <c10/util/FunctionRef.h>

namespace etude {

/// The gradients of `gradient` times the value of `compose`, a composition of ATen's operators that reads `inputs`: as
/// nodes of the graph, so that they can be differentiated again. Undefined for inputs that need none.
inline torch::autograd::variable_list differentiable_gradients(
    const torch::autograd::variable_list& inputs, const at::Tensor& gradient,
    c10::function_ref<at::Tensor(const torch::autograd::variable_list&)> compose) {
  const at::AutoGradMode on(true);
  // Views, so that inputs which are one and the same tensor have gradients of their own.
  torch::autograd::variable_list own, wanted;
  for (const at::Tensor& x : inputs) own.push_back(x.defined() ? x.view_as(x) : x);
  for (const at::Tensor& x : own)
    if (x.defined() && x.requires_grad()) wanted.push_back(x);
  const at::Tensor value = compose(own);
  auto found = torch::autograd::grad({value}, wanted, {gradient.to(value.scalar_type())}, true, true);
  torch::autograd::variable_list all;
  auto next = found.begin();
  for (const at::Tensor& x : own) all.push_back(x.defined() && x.requires_grad() ? *next++ : at::Tensor());
  return all;
}

}  // namespace etude
