// V vocabulary, D width.

#include "etude/nn/embedding.h"

#include <algorithm>

#include "etude/base/error.h"

namespace etude {
namespace {

/// "[3, 17]" of a flat index.
std::string coordinates(int64_t flat, at::IntArrayRef sizes) {
  std::string text;
  for (size_t d = sizes.size(); d-- > 0;) {
    text = std::to_string(flat % sizes[d]) + (text.empty() ? "" : ", " + text);
    flat /= sizes[d];
  }
  return "[" + text + "]";
}

}  // namespace

void require_below(const Tensor& values, int64_t limit, std::string_view tensor, const std::string& hint) {
  ETUDE_CHECK(values.scalar_type() == at::kLong, std::string(tensor) + " must be int64");
  if (values.numel() == 0) return;
  const auto outside = [limit](int64_t v) { return v < 0 || v >= limit; };
  if (!values.is_cpu() && !values.lt(0).logical_or_(values.ge(limit)).any().item<bool>()) return;
  const Tensor host = values.cpu().contiguous();
  const int64_t* begin = host.const_data_ptr<int64_t>();
  const int64_t* end = begin + host.numel();
  const int64_t* bad = std::find_if(begin, end, outside);
  if (bad == end) return;
  throw Error(Code::data,
              std::string(tensor) + " holds " + std::to_string(*bad) + ", outside 0 to " + std::to_string(limit - 1),
              std::string(tensor) + coordinates(bad - begin, host.sizes()), hint);
}

Embedding::Embedding(std::string name, int64_t vocabulary, int64_t dim)
    : weight(register_parameter("weight", torch::zeros({vocabulary, dim}))),
      name_(std::move(name)),
      tap_(name_ + ".output") {}

Tensor Embedding::forward(const Tensor& ids, Ctx& ctx) {
  require_below(ids, weight.size(0), "ids",
                "the vocabulary of the net (" + std::to_string(weight.size(0)) +
                    ") must hold all ids of the tokenizer: set the net's vocab");
  const Tensor x = at::embedding(weight, ids);
  if (ctx.taps) ctx.taps->offer(tap_, x);
  return x;
}

}  // namespace etude
