#pragma once
// Recomputation (Chen et al. 2016, "Training deep nets with sublinear memory cost", section 4): a block of a net that
// keeps its input only, and runs forward once more in backward.

#include "etude/base/torch_pch.h"

#include <functional>
#include <vector>

#include "etude/nn/context.h"

namespace etude {

/// block(x) as one node of the graph. `parameters` are all tensors with gradients that the block reads besides x. It
/// must compute the same each time it is called, which dropout from keyed streams does, and hold alive what it uses.
/// Gradients have the bits that they have without recomputation. Not differentiable twice.
Tensor recompute(const std::function<Tensor(const Tensor& x)>& block, const Tensor& x,
                 const std::vector<Tensor>& parameters);

/// Whether a block of this context is to be run through recompute(): not where nothing is kept anyway, nor where taps
/// or a cache take values out of it.
bool recomputes(const Ctx& ctx);

}  // namespace etude
