#include "etude/tensor/fill.h"

#include "etude/base/torch_pch.h"

#include <span>

#include "etude/base/error.h"
#include "etude/base/file.h"

namespace etude {
namespace {

/// Draws into contiguous CPU memory, then moves there: `draw` gets a span of float or double.
template <class Draw>
void fill(const Tensor& into, double scale, double shift, const Draw& draw) {
  ETUDE_CHECK(at::isFloatingType(into.scalar_type()), "only floating tensors are filled with random numbers");
  at::NoGradGuard no_grad;
  const bool wide = into.scalar_type() == at::kDouble;
  const auto type = wide ? at::kDouble : at::kFloat;
  const bool direct = into.is_cpu() && into.is_contiguous() && into.scalar_type() == type;
  const Tensor drawn = direct ? into : at::empty(into.sizes(), at::TensorOptions().dtype(type));
  const auto n = static_cast<size_t>(drawn.numel());
  if (wide)
    draw(std::span(drawn.mutable_data_ptr<double>(), n));
  else
    draw(std::span(drawn.mutable_data_ptr<float>(), n));
  if (scale != 1) drawn.mul_(scale);
  if (shift != 0) drawn.add_(shift);
  if (!direct) into.copy_(drawn);
}

}  // namespace

void fill_uniform_(const Tensor& into, Rng& rng, double low, double high) {
  fill(into, high - low, low, [&](auto out) { rng.fill_uniform(out); });
}

void fill_normal_(const Tensor& into, Rng& rng, double mean, double deviation) {
  fill(into, deviation, mean, [&](auto out) { rng.fill_normal(out); });
}

std::string_view dtype_name(at::ScalarType type) {
  switch (type) {
    case at::kBool:
      return "bool";
    case at::kByte:
      return "uint8";
    case at::kChar:
      return "int8";
    case at::kShort:
      return "int16";
    case at::kInt:
      return "int32";
    case at::kLong:
      return "int64";
    case at::kHalf:
      return "float16";
    case at::kBFloat16:
      return "bfloat16";
    case at::kFloat:
      return "float32";
    case at::kDouble:
      return "float64";
    default:
      return c10::toString(type);
  }
}

std::string tensor_hash(const Tensor& tensor) {
  const Tensor plain = tensor.detach().cpu().contiguous();
  file::Sha256 hash;
  std::string head(dtype_name(plain.scalar_type()));
  for (const int64_t size : plain.sizes()) head += "," + std::to_string(size);
  hash.add(head + ";");
  hash.add(plain.const_data_ptr(), plain.nbytes());
  return hash.hex();
}

}  // namespace etude
