// N any leading dimensions, D model width.

#include "etude/nn/residual.h"

#include <algorithm>

namespace etude {

bool are_plain(const std::vector<Linear*>& layers, const Ctx& ctx) {
  return std::all_of(layers.begin(), layers.end(), [&](const Linear* layer) {
    return layer->plain(ctx) && layer->bias.defined() == layers[0]->bias.defined();
  });
}

SharedLinears plain_linears(const std::optional<NormOf>& norm, const Tensor& x_ND, const std::vector<Linear*>& layers,
                            Ctx& ctx) {
  std::vector<Tensor> weights, biases;
  for (const Linear* layer : layers) {
    weights.push_back(layer->weight);
    if (layer->bias.defined()) biases.push_back(layer->bias);
  }
  return normed_linears(norm, x_ND, weights, biases, ctx.format);
}

Tensor Branch::add(const Tensor& stream_ND, const Tensor& x, Linear& last, Ctx& ctx) const {
  return add(
      stream_ND, last, false, ctx, [&](const LinearOptions& o) { return fused_linear(x, last.weight, o); },
      [&] { return last.forward_wide(x, ctx); });
}

Tensor Branch::add(const Tensor& stream_ND, Linear& last, bool watched, Ctx& ctx,
                   c10::function_ref<Tensor(const LinearOptions&)> fused, c10::function_ref<Tensor()> composed) const {
  LinearOptions options{.format = ctx.format, .bias_O = last.bias, .type = at::kFloat};
  const bool plain = !watched && last.plain(ctx), drops = ctx.train && dropout > 0;
  if (plain && !drops && !is_watched(ctx, tap)) {
    options.residual_NO = stream_ND;
    options.type = stream_ND.scalar_type();
    return fused(options);
  }
  const Tensor y_ND = plain ? fused(options) : composed();
  if (ctx.taps) ctx.taps->offer(tap, y_ND);
  return stream_ND + etude::dropout(y_ND, dropout, ctx, site);
}

}  // namespace etude
