// V vocabulary, D width.

#include "etude/nn/embedding.h"

namespace etude {

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
