#include "etude/nn/recompute.h"

#include "etude/base/error.h"

namespace etude {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Block = std::function<Tensor(const Tensor&)>;

/// A block where autograd can keep it.
struct KeptBlock : torch::CustomClassHolder {
  explicit KeptBlock(Block b) : block(std::move(b)) {}
  Block block;
};

struct Recomputed : torch::autograd::Function<Recomputed> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const at::TensorList& parameters, const Block& block) {
    variable_list saved{x};
    saved.insert(saved.end(), parameters.begin(), parameters.end());
    ctx->save_for_backward(std::move(saved));
    ctx->saved_data["block"] = at::IValue::make_capsule(c10::make_intrusive<KeptBlock>(block));
    return block(x);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    ETUDE_CHECK(!at::GradMode::is_enabled(), "a block that is recomputed is not differentiable twice");
    const auto kept = at::static_intrusive_pointer_cast<KeptBlock>(ctx->saved_data["block"].toCapsule());
    variable_list inputs = ctx->get_saved_variables();
    inputs[0] = inputs[0].detach();
    variable_list wanted;
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (!ctx->needs_input_grad(i)) continue;
      if (i == 0) inputs[0].requires_grad_();
      wanted.push_back(inputs[i]);
    }
    Tensor y;
    {
      const at::AutoGradMode on(true);
      y = kept->block(inputs[0]);
    }
    const variable_list found = torch::autograd::grad({y}, wanted, gradients, /*retain_graph=*/false,
                                                      /*create_graph=*/false, /*allow_unused=*/true);
    variable_list all(inputs.size() + 1);
    auto next = found.begin();
    for (size_t i = 0; i < inputs.size(); ++i)
      if (ctx->needs_input_grad(i)) all[i] = *next++;
    return all;
  }
};

}  // namespace

Tensor recompute(const Block& block, const Tensor& x, const std::vector<Tensor>& parameters) {
  const at::TensorList list(parameters);
  return Recomputed::apply(x, list, block);
}

bool recomputes(const Ctx& ctx) {
  return ctx.recompute && at::GradMode::is_enabled() && !ctx.cache && !(ctx.taps && !ctx.taps->wanted.empty());
}

}  // namespace etude
