// safetensors_rewrite FROM TO SHARD_BYTES: reads a checkpoint and writes it again, every second tensor as a tensor, the
// others byte for byte.

#include <cstdio>
#include <exception>
#include <string>

#include "etude/base/torch_pch.h"
#include "etude/tensor/tensor_files.h"

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  try {
    const auto from = etude::open_tensors(argv[1]);
    std::vector<etude::TensorSource> tensors;
    for (const std::string& name : from->names()) {
      tensors.push_back(tensors.size() % 2 == 0 ? etude::source_of(name, from->get(name))
                                                : etude::source_of(*from, name));
    }
    etude::write_tensors(argv[2], tensors, from->metadata(), std::stoll(argv[3]));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
