// V vocabulary, D width.

#include "etude/nn/embedding.h"

#include "etude/base/error.h"

namespace etude {

int64_t row_length(const Tensor& ids_BT, int64_t longest) {
  ETUDE_CHECK(ids_BT.defined() && ids_BT.dim() == 2, "ids_BT has two dimensions");
  const int64_t T = ids_BT.size(1);
  if (T > longest)
    throw Error(
        Code::data,
        "a row of " + std::to_string(T) + " tokens is longer than the net's length of " + std::to_string(longest),
        "ids_BT", "raise length of the net or cut shorter rows");
  return T;
}

Embedding::Embedding(std::string name, int64_t vocabulary, int64_t dim)
    : weight(register_parameter("weight", torch::zeros({vocabulary, dim}))),
      name_(std::move(name)),
      tap_(name_ + ".output") {}

Tensor Embedding::forward(const Tensor& ids, Ctx& ctx) {
  require_below(ids, weight.size(0), "ids",
                "the vocabulary of the net (" + std::to_string(weight.size(0)) +
                    ") must hold all ids of the tokenizer: set the net's vocab");
  const Tensor x = embed_ids(weight, ids);
  if (ctx.taps) ctx.taps->offer(tap_, x);
  return x;
}

}  // namespace etude
