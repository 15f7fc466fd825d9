#pragma once
// Tensors from our own keyed streams, and what identifies a tensor: its dtype's name and its bytes' hash.
// The default generator of ATen is never touched.

#include <ATen/core/Tensor.h>

#include <string>
#include <string_view>

#include "etude/base/rng.h"
#include "etude/tensor/tensor.h"

namespace etude {

/// Fills in place with values uniform in [low, high), in the order of the logical indices, whatever
/// strides, device or thread count: float64 tensors draw 53 bits each, all other floating types what
/// float32 draws, rounded. Advances the stream. Required: a floating dtype.
void fill_uniform_(const Tensor& into, Rng& rng, double low = 0, double high = 1);
/// Fills in place with mean + deviation * (standard normal), in the same order and precision.
void fill_normal_(const Tensor& into, Rng& rng, double mean = 0, double deviation = 1);

/// "float32", "bfloat16", "int64", "bool"; PyTorch's names.
std::string_view dtype_name(at::ScalarType type);
/// SHA-256 over dtype, shape and the bytes of the values in row-major order: the same for a view, its
/// copy, and a copy on another device.
std::string tensor_hash(const Tensor& tensor);

}  // namespace etude
