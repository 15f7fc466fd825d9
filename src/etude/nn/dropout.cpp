#include "etude/base/torch_pch.h"

#include <cmath>
#include <span>
#include <vector>

#include "etude/base/error.h"
#include "etude/nn/context.h"

namespace etude {

Tensor dropout(const Tensor& x, double p, const Ctx& ctx, std::string_view site) {
  if (!ctx.train || p == 0 || x.numel() == 0) return x;
  ETUDE_CHECK(p > 0 && p < 1, "dropout's p must lie in [0, 1)");
  ETUDE_CHECK(ctx.id_B.defined() && x.dim() >= 1 && ctx.id_B.numel() == x.size(0),
              "dropout needs one sample id for each row of its input");
  const Tensor id_B = ctx.id_B.to(at::kCPU, at::kLong).contiguous();
  const Tensor mask = at::empty(x.sizes(), at::TensorOptions().dtype(at::kFloat));
  const auto width = static_cast<size_t>(x.numel() / x.size(0));
  const auto drop_below = static_cast<uint32_t>(std::ldexp(p, 32));
  const auto kept = static_cast<float>(1 / (1 - p));
  std::vector<uint32_t> words(width);
  float* out = mask.mutable_data_ptr<float>();
  for (int64_t b = 0; b < x.size(0); ++b, out += width) {
    Rng rng = ctx.rng(Purpose::dropout, id_B.const_data_ptr<int64_t>()[b], site);
    rng.fill_bits(words);
    for (size_t i = 0; i < width; ++i) out[i] = words[i] < drop_below ? 0.0f : kept;
  }
  return x * mask.to(x.options());
}

}  // namespace etude
