// B batch, T time, K places of a row, D model width.

#include "etude/nn/masked_language_model.h"

#include "etude/base/error.h"
#include "etude/tensor/embedding.h"

namespace etude {

EncoderRows encoder_rows(const Batch& batch) {
  const auto optional = [&](const char* name) {
    const auto found = batch.x.find(name);
    return found == batch.x.end() ? Tensor() : found->second;
  };
  const Tensor ids_BT = optional("ids_BT");
  ETUDE_CHECK(ids_BT.defined(), "an encoder reads ids_BT");
  return {ids_BT, optional("length_B"), optional("type_BT"), optional("position_BT"), optional("segment_BT")};
}

Tensor at_places(const Tensor& x_BTD, const Tensor& place_BK) {
  const int64_t B = x_BTD.size(0), T = x_BTD.size(1), D = x_BTD.size(2);
  const Tensor row_B1 = at::arange(B, place_BK.options()).unsqueeze(1) * T;
  return embed_ids(x_BTD.reshape({B * T, D}), place_BK + row_B1);
}

Tensor MaskedLanguageModel::place_losses(const EncoderRows& rows, const Tensor& place_BK, const Tensor& labels_BK,
                                         Ctx& ctx) {
  const Tensor x_BKD = at_places(hidden(rows, ctx), place_BK);
  return head_losses(x_BKD.flatten(0, 1), labels_BK.flatten(), ctx).view_as(labels_BK);
}

}  // namespace etude
