// The index of a checkpoint of several files.

#include "etude/tensor/safetensors_index.h"

#include <cstdint>
#include <cstdlib>

#include "etude/base/error.h"
#include "tests/fuzz/planted.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const etude::SafetensorsIndex index =
        etude::parse_safetensors_index({reinterpret_cast<const char*>(data), size}, "fuzz");
    for (const std::string& shard : index.shards) {
      if (shard.find('/') != std::string::npos || shard.front() == '.') abort();
    }
    for (const auto& [name, shard] : index.tensors) {
      if (shard >= index.shards.size()) abort();
    }
    if (etude::parse_safetensors_index(etude::safetensors_index(index), "again").tensors != index.tensors) abort();
    planted(index.shards.size() == 1 && index.total_size > 9U);
  } catch (const etude::Error&) {
  }
  return 0;
}
