// N any leading dimensions, I inputs, O outputs, R rank.

#include "etude/nn/linear.h"

#include "etude/base/error.h"

namespace etude {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// A codec where autograd can keep it.
struct KeptCodec : torch::CustomClassHolder {
  explicit KeptCodec(ActivationCodec c) : codec(std::move(c)) {}
  ActivationCodec codec;
};

struct CodecProduct : torch::autograd::Function<CodecProduct> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x_NI, const Tensor& weight_OI,
                        const ActivationCodec& codec) {
    variable_list saved = codec.encode(x_NI);
    saved.push_back(weight_OI);
    ctx->save_for_backward(std::move(saved));
    ctx->saved_data["codec"] = at::IValue::make_capsule(c10::make_intrusive<KeptCodec>(codec));
    return at::linear(x_NI, weight_OI);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    ETUDE_CHECK(!at::GradMode::is_enabled(), "a product with an activation codec is not differentiable twice");
    variable_list saved = ctx->get_saved_variables();
    const Tensor weight_OI = saved.back();
    saved.pop_back();
    const Tensor& g_NO = gradients.at(0);
    Tensor x_gradient, weight_gradient;
    if (ctx->needs_input_grad(0)) x_gradient = at::matmul(g_NO, weight_OI);
    if (ctx->needs_input_grad(1)) {
      const auto kept = at::static_intrusive_pointer_cast<KeptCodec>(ctx->saved_data["codec"].toCapsule());
      const Tensor x_NI = kept->codec.decode(saved);
      weight_gradient = g_NO.reshape({-1, g_NO.size(-1)}).t().mm(x_NI.reshape({-1, x_NI.size(-1)}));
    }
    return {x_gradient, weight_gradient, Tensor()};
  }
};

/// For products that are not ours, which take operands of one type only.
Operands of_one_type(const Operands& in) { return {in.x_NI.to(in.weight_OI.scalar_type()), in.weight_OI}; }

}  // namespace

Tensor linear_with_codec(const Tensor& x_NI, const Tensor& weight_OI, const ActivationCodec& codec) {
  return CodecProduct::apply(x_NI, weight_OI, codec);
}

Linear::Linear(std::string name, int64_t inputs, int64_t outputs, bool with_bias)
    : weight(register_parameter("weight", torch::zeros({outputs, inputs}))),
      name_(std::move(name)),
      tap_(name_ + ".output") {
  if (with_bias) bias = register_parameter("bias", torch::zeros({outputs}));
}

LinearSlots& Linear::slots() {
  if (!slots_) slots_ = std::make_unique<LinearSlots>();
  return *slots_;
}

Tensor Linear::forward(const Tensor& x_NI, Ctx& ctx, at::ScalarType type) {
  const Tensor y_NO = slots_ ? through_slots(x_NI, ctx, type)
                             : fused_linear(x_NI, weight, {.format = ctx.format, .bias_O = bias, .type = type});
  if (ctx.taps) ctx.taps->offer(tap_, y_NO);
  return y_NO;
}

Tensor Linear::through_slots(const Tensor& x_NI, Ctx& ctx, at::ScalarType type) const {
  const LinearSlots& s = *slots_;
  Operands in{x_NI, weight};
  if (s.weight) in.weight_OI = s.weight(in.weight_OI, ctx);
  if (s.slice) in.weight_OI = s.slice(in.weight_OI, ctx);
  LowRank low;
  if (s.low_rank) low = s.low_rank(ctx);
  if (low.up_OR.defined() && low.merged) {
    in.weight_OI = in.weight_OI + low.scale * at::mm(low.up_OR, low.down_RI);
  }
  if (s.quantise) in = s.quantise(in, ctx);
  const ActivationCodec* codec = s.codec ? &*s.codec : nullptr;
  Tensor y_NO;
  if (s.product || codec) {
    in = of_one_type(in);
    y_NO = s.product ? s.product(in, codec, ctx) : linear_with_codec(in.x_NI, in.weight_OI, *codec);
    if (bias.defined()) y_NO = y_NO + bias;
    if (y_NO.scalar_type() == at::kFloat) y_NO = y_NO.to(type);
  } else {
    y_NO = fused_linear(in.x_NI, in.weight_OI, {.format = ctx.format, .bias_O = bias, .type = type});
  }
  if (low.up_OR.defined() && !low.merged) {
    const Tensor read_NI = dropout(x_NI, low.dropout, ctx, name_ + ".low_rank");
    const Tensor down_NR = fused_linear(read_NI, low.down_RI, {.format = ctx.format});
    y_NO = y_NO + low.scale * fused_linear(down_NR, low.up_OR, {.format = ctx.format, .type = type});
  }
  return y_NO;
}

}  // namespace etude
