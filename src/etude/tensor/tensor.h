#pragma once
// The tensor type under a short name. Sizes are int64_t; shapes stand in names as suffixes, for
// example logits_BTV: B batch, T time, V vocabulary, D model width, H heads.

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace etude {
using at::Tensor;
/// Tensors under names, in a fixed order.
using NamedTensors = std::vector<std::pair<std::string, Tensor>>;
}  // namespace etude
