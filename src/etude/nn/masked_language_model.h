#pragma once
// Nets that read whole rows of tokens, in both directions, and tell what stands at hidden places: what masked-language
// objectives need.
//
// B batch, T time, K places of a row, N any leading dimensions, D model width, V vocabulary.

#include "etude/nn/net.h"

namespace etude {

/// Rows of tokens as an encoder reads them. All but ids_BT may be undefined.
struct EncoderRows {
  Tensor ids_BT;  ///< int64 in [0, vocabulary)
  Tensor length_B =
      {};  ///< int64: tokens that are there; those behind them are padding, which nobody sees. Else all are
  Tensor type_BT = {};  ///< int64: which of several texts of the row a token belongs to ([CLS] a [SEP] b [SEP]). Else 0
  Tensor position_BT = {};  ///< int64: place within the document. Else 0, 1, 2, ...
  Tensor segment_BT = {};   ///< int64: documents of a packed row, which do not see each other. Else all see each other
};

/// What a batch has under these names. Errors: Code::config where there are no ids_BT.
EncoderRows encoder_rows(const Batch& batch);

/// x_BTD at places, [B, K, D]. place_BK: int64 in [0, T).
Tensor at_places(const Tensor& x_BTD, const Tensor& place_BK);

class MaskedLanguageModel : public TokenNet {
 public:
  /// The last block's output, [B, T, D]; at padding, anything finite.
  /// Errors: Code::data for ids, types or positions out of range, and rows that are too long.
  virtual Tensor hidden(const EncoderRows& rows, Ctx& ctx) = 0;
  /// Logits of tokens from hidden values, [N, V].
  virtual Tensor head(const Tensor& x_ND, Ctx& ctx) = 0;
  /// -log softmax(head(x))[label] in float32, [N]; 0 for labels of -1. Others are in [0, vocabulary). Logits of all
  /// rows need not be there at once.
  virtual Tensor head_losses(const Tensor& x_ND, const Tensor& labels_N, Ctx& ctx) = 0;
  /// Products of head() for one row, 2 per multiply-add; flops() is of hidden() alone.
  virtual double head_flops() const = 0;

  /// head() of every token, [B, T, V].
  Tensor logits(const EncoderRows& rows, Ctx& ctx) { return head(hidden(rows, ctx), ctx); }
  /// head_losses() at places only, [B, K]: the head is the most costly part of a small net, and most tokens have none.
  Tensor place_losses(const EncoderRows& rows, const Tensor& place_BK, const Tensor& labels_BK, Ctx& ctx);
};

}  // namespace etude
