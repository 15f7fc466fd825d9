// N any leading dimensions, I inputs, O outputs, F hidden width.

#include "etude/tensor/linear.h"

#include "etude/base/torch_pch.h"

#include "etude/base/error.h"
#include "etude/tensor/linear_blocks.h"
#include "etude/tensor/paths.h"
#include "etude/tensor/product.h"
#include "etude/tensor/twice.h"

namespace etude {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Everything about y = after(before(inputs) W^T + bias) + residual but the tensors. Two inputs are gate and up.
struct Plan {
  Format format;
  Activation before, after;
  at::ScalarType type;
  bool formats_rule = true;  ///< and not ATen's types
  bool keep = false;         ///< for backward what `after` read

  std::vector<int64_t> numbers() const {
    return {static_cast<int64_t>(format), static_cast<int64_t>(before), static_cast<int64_t>(after),
            static_cast<int64_t>(type)};
  }
  static Plan of(const std::vector<int64_t>& n) {
    return {static_cast<Format>(n.at(0)), static_cast<Activation>(n.at(1)), static_cast<Activation>(n.at(2)),
            static_cast<at::ScalarType>(n.at(3))};
  }
};

bool is_plain(const variable_list& inputs, const Plan& plan) {
  return inputs.size() == 1 && plan.before == Activation::none;
}

/// What is multiplied by W^T.
Tensor operand(const variable_list& inputs, const Plan& plan) {
  const at::ScalarType storage = storage_of(plan.format);
  if (is_plain(inputs, plan)) return with_rows(inputs[0]);
  return inputs.size() == 2 ? swiglu_forward(inputs[0], inputs[1], storage)
                            : activation_forward(plan.before, inputs[0], storage);
}

/// x W^T + b in float32, of operands in a format.
Tensor composed_product(const Tensor& x, const Tensor& weight, const Tensor& bias, Format format) {
  const at::ScalarType storage = storage_of(format);
  const Tensor y = at::linear(x.to(storage), weight.to(storage)).to(at::kFloat);
  return bias.defined() ? y + bias : y;
}

/// The same of ATen's operators.
Tensor composed(const variable_list& inputs, const Tensor& weight, const Tensor& bias, const Tensor& residual,
                const Plan& plan) {
  const auto in = [&](size_t i) { return plan.formats_rule ? inputs[i].to(at::kFloat) : inputs[i]; };
  const Tensor hidden = is_plain(inputs, plan) ? inputs[0]
                        : inputs.size() == 2   ? at::silu(in(0)) * in(1)
                                               : activate(plan.before, in(0));
  if (!plan.formats_rule) {
    const Tensor y =
        activate(plan.after, at::linear(hidden, weight, bias.defined() ? std::optional(bias) : std::nullopt));
    return residual.defined() ? y + residual : y;
  }
  const Tensor y = activate(plan.after, composed_product(hidden, weight, bias, plan.format));
  return (residual.defined() ? y + residual : y).to(plan.type);
}

/// Gradients of the inputs, and before(inputs) again; undefined where not wanted.
struct InputGradients {
  variable_list inputs;
  Tensor operand;
};
InputGradients input_gradients(const MatrixView& gradient_NO, const variable_list& inputs, const Tensor& weight,
                               const Plan& plan, bool wanted) {
  InputGradients found{variable_list(inputs.size()), {}};
  if (!wanted) {
    found.operand = operand(inputs, plan);
    return found;
  }
  const auto like = [](const Tensor& x) { return at::empty(x.sizes(), x.options()); };
  const MatrixView w_OF = MatrixView::of(weight);
  if (inputs.size() == 2) {
    const Tensor gate = with_rows(inputs[0]), up = with_rows(inputs[1].to(gate.scalar_type()));
    // The two gradients beside each other in memory are one operand for the products that gave gate and up.
    std::vector<int64_t> both = gate.sizes().vec();
    both.back() *= 2;
    const std::vector<Tensor> halves = at::empty(both, gate.options()).chunk(2, -1);
    found.operand = like(gate);
    const SwigluRows rows{rows_of(gate), rows_of(up), rows_of(halves[0]), rows_of(halves[1]), rows_of(found.operand)};
    multiply(gradient_NO, w_OF, plan.format, [&](const ProductBlock& block) { swiglu_block(block, rows); });
    found.inputs = {halves[0], halves[1].to(inputs[1].scalar_type())};
    return found;
  }
  found.operand = operand(inputs, plan);
  const bool plain = is_plain(inputs, plan);
  const Tensor g_NF = product(gradient_NO, w_OF, plan.format, plain ? inputs[0].scalar_type() : storage_of(plan.format))
                          .view(inputs[0].sizes());
  found.inputs = {plain ? g_NF : activation_backward(plan.before, g_NF, inputs[0])};
  return found;
}

struct Affine : torch::autograd::Function<Affine> {
  static Tensor forward(AutogradContext* ctx, const at::TensorList& inputs, const Tensor& weight,
                        const std::optional<Tensor>& bias, const std::optional<Tensor>& residual, const Plan& plan) {
    const Tensor x_NI = operand(inputs.vec(), plan);
    std::vector<int64_t> sizes = x_NI.sizes().vec();
    sizes.back() = weight.size(0);
    const auto room = [&](at::ScalarType type) { return at::empty(sizes, weight.options().dtype(type)); };
    const Tensor y_NO = room(plan.type), kept = plan.keep ? room(storage_of(plan.format)) : Tensor();
    const Tensor past = residual ? with_rows(*residual) : Tensor();
    const Rows to = rows_of(y_NO), keep = kept.defined() ? rows_of(kept) : Rows{};
    const Rows added = past.defined() ? rows_of(past) : Rows{};
    const Tensor b = bias ? bias->contiguous() : Tensor();
    const float* const b_O = bias ? b.const_data_ptr<float>() : nullptr;
    multiply(view_of(rows_of(x_NI)), MatrixView::of(weight).t(), plan.format, [&](const ProductBlock& block) {
      const float* const of_columns = b_O ? b_O + block.col : nullptr;
      if (plan.after == Activation::none)
        return store_block(block, of_columns, part_at(added, block), part_at(to, block));
      if (of_columns) store_block(block, of_columns, {}, rows_of(block));
      if (keep.data) store_block(block, nullptr, {}, part_at(keep, block));
      activate_block(plan.after, block.data, block.rows, block.cols, block.stride);
      store_block(block, nullptr, part_at(added, block), part_at(to, block));
    });
    variable_list saved = inputs.vec();
    saved.insert(saved.end(), {weight, bias ? *bias : Tensor(), kept});
    ctx->save_for_backward(std::move(saved));
    ctx->saved_data["plan"] = plan.numbers();
    ctx->saved_data["residual"] = residual.has_value();
    return y_NO;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    const variable_list saved = ctx->get_saved_variables();
    const size_t n = saved.size() - 3;
    const variable_list inputs(saved.begin(), saved.begin() + static_cast<std::ptrdiff_t>(n));
    const Tensor &weight = saved[n], &bias = saved[n + 1], &kept = saved[n + 2], &g_NO = gradients.at(0);
    const Plan plan = Plan::of(ctx->saved_data["plan"].toIntVector());
    const Tensor past = ctx->saved_data["residual"].toBool() ? g_NO : Tensor();
    if (at::GradMode::is_enabled()) {
      took_path("linear backward", "aten: double backward");
      variable_list all =
          differentiable_gradients(variable_list(saved.begin(), saved.end() - 1), g_NO, [&](const variable_list& in) {
            return composed({in.begin(), in.begin() + static_cast<std::ptrdiff_t>(n)}, in[n], in[n + 1], {}, plan);
          });
      all.insert(all.end(), {past, Tensor()});
      return all;
    }
    took_path("linear backward", plan.format == Format::bfloat16 ? "own: bfloat16" : "own: float32");
    const Tensor z_NO = with_rows(plan.after == Activation::none ? g_NO : activation_backward(plan.after, g_NO, kept));
    const MatrixView z = view_of(rows_of(z_NO));
    bool inputs_wanted = false;
    for (size_t i = 0; i < n; ++i) inputs_wanted |= ctx->needs_input_grad(i);
    InputGradients found = input_gradients(z, inputs, weight, plan, inputs_wanted);
    variable_list all = std::move(found.inputs);
    all.push_back(ctx->needs_input_grad(n) ? product(z.t(), view_of(rows_of(found.operand)), plan.format) : Tensor());
    all.push_back(bias.defined() && ctx->needs_input_grad(n + 1) ? column_sums(z) : Tensor());
    all.insert(all.end(), {past, Tensor()});
    return all;
  }
};

Tensor affine(const variable_list& inputs, const Tensor& weight, const LinearOptions& o, Activation before) {
  const auto known = [](const Tensor& t) {
    return !t.defined() || t.scalar_type() == at::kFloat || t.scalar_type() == at::kBFloat16;
  };
  const Tensor &bias = o.bias_O, &residual = o.residual_NO;
  Plan plan{o.format, before, o.activation,
            o.type               ? *o.type
            : residual.defined() ? residual.scalar_type()
                                 : storage_of(o.format)};
  const char* why_not = why_not_rows({inputs[0], inputs.back(), weight, bias, residual});
  plan.formats_rule = known(inputs[0]) && known(inputs.back()) && known(residual) &&
                      weight.scalar_type() == at::kFloat && (!bias.defined() || bias.scalar_type() == at::kFloat);
  if (!why_not && !plan.formats_rule) why_not = "aten: type";
  if (!why_not && (inputs[0].numel() == 0 || weight.numel() == 0)) why_not = "aten: empty";
  took_path("linear", why_not ? why_not : o.format == Format::bfloat16 ? "own: bfloat16" : "own: float32");
  if (why_not) return composed(inputs, weight, bias, residual, plan);
  ETUDE_CHECK(weight.dim() == 2 && inputs[0].dim() >= 1 && inputs[0].size(-1) == weight.size(1) &&
                  inputs.back().sizes() == inputs[0].sizes(),
              "the inputs of a linear layer are as wide as its weight");
  ETUDE_CHECK(!bias.defined() || bias.sizes() == weight.sizes().slice(0, 1), "a bias for each output");
  if (residual.defined()) {
    std::vector<int64_t> sizes = inputs[0].sizes().vec();
    sizes.back() = weight.size(0);
    ETUDE_CHECK(residual.sizes() == sizes, "a residual has the shape of the result");
  }
  bool differentiable = weight.requires_grad() || (bias.defined() && bias.requires_grad());
  for (const Tensor& x : inputs) differentiable |= x.requires_grad();
  plan.keep = o.activation != Activation::none && differentiable && at::GradMode::is_enabled();
  const auto optional = [](const Tensor& t) { return t.defined() ? std::optional<Tensor>(t) : std::nullopt; };
  const std::optional<Tensor> b = optional(bias), r = optional(residual);
  const at::TensorList list(inputs);
  return Affine::apply(list, weight, b, r, plan);
}

}  // namespace

Tensor fused_linear(const Tensor& x_NI, const Tensor& weight_OI, const LinearOptions& options) {
  return affine({x_NI}, weight_OI, options, Activation::none);
}

Tensor activated_linear(Activation activation, const Tensor& hidden_NF, const Tensor& weight_OF,
                        const LinearOptions& options) {
  return affine({hidden_NF}, weight_OF, options, activation);
}

Tensor swiglu_linear(const Tensor& gate_NF, const Tensor& up_NF, const Tensor& weight_OF,
                     const LinearOptions& options) {
  return affine({gate_NF, up_NF}, weight_OF, options, Activation::none);
}

}  // namespace etude
