#pragma once
// What residual blocks are made of, x + dropout(branch(norm(x))): the norm and the products that read it as one
// operator, the last product and the sum as another, wherever nothing stands between them that a layer's slots, dropout
// or a tap need.
//
// N any leading dimensions, D model width.

#include "etude/base/torch_pch.h"

#include <c10/util/FunctionRef.h>

#include <string>
#include <vector>

#include "etude/nn/context.h"
#include "etude/nn/linear.h"
#include "etude/tensor/linear.h"

namespace etude {

/// Whether somebody wants the intermediate value of that name.
inline bool is_watched(const Ctx& ctx, const std::string& tap) { return ctx.taps && ctx.taps->wanted.count(tap) > 0; }

/// x W_i^T + b_i of layers that are plain, of x or of its norm.
SharedLinears plain_linears(const std::optional<NormOf>& norm, const Tensor& x_ND, const std::vector<Linear*>& layers,
                            Ctx& ctx);
/// Whether all layers are plain, and all have a bias or none.
bool are_plain(const std::vector<Linear*>& layers, const Ctx& ctx);

/// What layers make of norm(x), and x for the sum past them. Norm: RmsNorm or LayerNorm.
template <class Norm>
SharedLinears normed_linears(Norm& norm, const Tensor& x_ND, const std::vector<Linear*>& layers, Ctx& ctx) {
  if (!is_watched(ctx, norm.tap()) && are_plain(layers, ctx)) return plain_linears(norm.of(), x_ND, layers, ctx);
  const Tensor normed_ND = norm.forward(x_ND, ctx);
  SharedLinears all{{}, x_ND};
  for (Linear* layer : layers) all.y.push_back(layer->forward(normed_ND, ctx));
  return all;
}

/// The end of a branch: y = last(...), tap, dropout, and the sum with the stream.
struct Branch {
  double dropout = 0;
  std::string site, tap;

  /// stream + dropout(last(x)).
  Tensor add(const Tensor& stream_ND, const Tensor& x, Linear& last, Ctx& ctx) const;
  /// The same where what `last` reads is made on the way: `fused` gives last(...) with options, `composed` with all
  /// that taps and slots need. `watched`: whether a tap wants what `last` reads.
  Tensor add(const Tensor& stream_ND, Linear& last, bool watched, Ctx& ctx,
             c10::function_ref<Tensor(const LinearOptions&)> fused, c10::function_ref<Tensor()> composed) const;
};

}  // namespace etude
