#include "etude/optim/averaging.h"

#include "etude/base/torch_pch.h"

#include <algorithm>

#include "etude/base/error.h"

namespace etude {

double warmed_up_decay(double decay, int64_t averaged) {
  const auto n = static_cast<double>(averaged);
  return std::min(decay, (1 + n) / (10 + n));
}

Tensor begin_average(const Tensor& value) {
  const bool is_narrow = value.is_floating_point() && value.element_size() < int64_t{sizeof(float)};
  return value.detach().to(is_narrow ? torch::kFloat32 : value.scalar_type(), /*non_blocking=*/false, /*copy=*/true);
}

void move_averages(const std::vector<Tensor>& averages, const std::vector<Tensor>& values, double decay) {
  ETUDE_CHECK(averages.size() == values.size(), "as many averages as values");
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < averages.size(); ++i)
    averages[i].mul_(decay).add_(values[i].detach().to(averages[i].scalar_type()), 1 - decay);
}

void UniformMean::add(const NamedTensors& state, const std::string& where) {
  const auto refuse = [&](const std::string& what) {
    throw Error(Code::checkpoint, what, where, "only states of the same nets have a mean");
  };
  const torch::NoGradGuard no_grad;
  if (count_ > 0 && state.size() != order_.size())
    refuse("there are " + std::to_string(state.size()) + " tensors here and " + std::to_string(order_.size()) +
           " in the state before");
  for (const auto& [name, value] : state) {
    const auto type = value.scalar_type();
    const auto [it, fresh] = sums_.try_emplace(name);
    Sum& sum = it->second;
    if (fresh) {
      if (count_ > 0) refuse("'" + name + "' is not in the state before");
      order_.push_back(name);
      sum = {value.is_floating_point() ? value.to(torch::kFloat64, false, /*copy=*/true) : value.clone(), type};
      continue;
    }
    if (value.sizes() != sum.total.sizes() || type != sum.type)
      refuse("'" + name + "' has another shape or type than in the state before");
    if (value.is_floating_point())
      sum.total.add_(value);
    else
      sum.total.copy_(value);
  }
  ++count_;
}

NamedTensors UniformMean::mean() const {
  ETUDE_CHECK(count_ > 0, "nothing was added");
  const torch::NoGradGuard no_grad;
  NamedTensors means;
  for (const std::string& name : order_) {
    const Sum& sum = sums_.at(name);
    const bool has_mean = c10::isFloatingType(sum.type);
    means.emplace_back(name, has_mean ? (sum.total / static_cast<double>(count_)).to(sum.type) : sum.total.clone());
  }
  return means;
}

}  // namespace etude
