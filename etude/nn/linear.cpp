// N any leading dimensions, I inputs, O outputs, R rank.

#include "etude/nn/linear.h"

#include "etude/base/error.h"

namespace etude {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct CodecProduct : torch::autograd::Function<CodecProduct> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x_NI, const Tensor& weight_OI,
                        const ActivationCodec& codec) {
    variable_list saved = codec.encode(x_NI);
    saved.push_back(weight_OI);
    ctx->save_for_backward(std::move(saved));
    ctx->saved_data["decode"] = torch::make_custom_class<Decoder>(codec.decode);
    return at::linear(x_NI, weight_OI);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grad) {
    variable_list saved = ctx->get_saved_variables();
    const Tensor weight_OI = saved.back();
    saved.pop_back();
    return {grad[0], weight_OI, {}};
  }

  struct Decoder : torch::CustomClassHolder {
    explicit Decoder(std::function<Tensor(const variable_list&)> f) : decode(std::move(f)) {}
    std::function<Tensor(const variable_list&)> decode;
  };
};

}  // namespace
}  // namespace etude
