#include "etude/tensor/bytes.h"

#include "etude/base/torch_pch.h"

#include <algorithm>

namespace etude {

Tensor tensor_of(std::string_view text) {
  Tensor bytes = torch::empty({static_cast<int64_t>(text.size())}, torch::kUInt8);
  std::copy(text.begin(), text.end(), reinterpret_cast<char*>(bytes.data_ptr<uint8_t>()));
  return bytes;
}

std::string text_of(const Tensor& bytes) {
  const auto* const begin = reinterpret_cast<const char*>(bytes.const_data_ptr<uint8_t>());
  return {begin, begin + bytes.numel()};
}

}  // namespace etude
