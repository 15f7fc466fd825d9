#pragma once
// Texts as tensors, for what travels between ranks.

#include <string>
#include <string_view>

#include "etude/tensor/tensor.h"

namespace etude {

/// The bytes of a text: uint8 [N], memory of its own.
Tensor tensor_of(std::string_view text);
/// The text again. Required: uint8 [N], contiguous, on the CPU.
std::string text_of(const Tensor& bytes);

}  // namespace etude
