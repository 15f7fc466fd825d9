// B batch, T time, V vocabulary.

#include "etude/nn/net.h"

#include "etude/tensor/cross_entropy.h"
#include "etude/tensor/embedding.h"

namespace etude {

Tensor LanguageModel::token_losses(const Tensor& ids_BT, const Tensor& position_BT, const Tensor& segment_BT,
                                   const Tensor& labels_BT, Ctx& ctx) {
  require_below(labels_BT, vocabulary(), "labels",
                "the vocabulary of the net (" + std::to_string(vocabulary()) +
                    ") must hold all labels: set the net's vocab to the tokenizer's",
                /*except=*/-1);
  const Tensor logits_BTV = logits(ids_BT, position_BT, segment_BT, ctx);
  const Tensor logits_NV = at_least_float32(logits_BTV.reshape({-1, logits_BTV.size(-1)}));
  return at::cross_entropy_loss(logits_NV, labels_BT.reshape({-1}), {}, at::Reduction::None, /*ignore_index=*/-1)
      .view_as(labels_BT);
}

}  // namespace etude
