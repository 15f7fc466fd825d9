#pragma once
// Number formats of the operands of products. Sums are float32 in both.

#include <c10/core/ScalarType.h>

namespace etude {

enum class Format { float32, bfloat16 };

inline at::ScalarType storage_of(Format format) {
  return format == Format::float32 ? at::ScalarType::Float : at::ScalarType::BFloat16;
}

}  // namespace etude
