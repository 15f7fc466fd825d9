#pragma once
// Tensors in the safetensors format (safetensors_header.h): written in the order given, so that equal content is equal
// bytes; read at once. Files that are read a tensor at a time are in tensor_files.h.

#include <string>
#include <string_view>

#include "etude/tensor/safetensors_header.h"
#include "etude/tensor/tensor.h"

namespace etude {

/// The format's name of a type. Errors: Code::checkpoint naming the tensor for types that the format lacks.
std::string safetensors_dtype(at::ScalarType type, const std::string& tensor);
/// A tensor as it lies in a file: contiguous, on the CPU, without pending conjugation or negation.
Tensor as_stored(const Tensor& value);
/// The tensor of an entry, memory of its own. Errors: Code::checkpoint for types that LibTorch has no tensors of (F4
/// and F6 values), and for truth values other than 0 and 1.
Tensor stored_tensor(const SafetensorsEntry& entry, std::string_view bytes, const std::string& file);

/// The file's bytes. Tensors are made contiguous and moved to the CPU, one at a time. Names must be unique.
/// Errors: Code::checkpoint for types that the format lacks.
std::string to_safetensors(const NamedTensors& tensors, const Metadata& metadata = {});
/// Writes through etude/base/file.h and syncs the file, not its directory; returns the SHA-256.
std::string write_safetensors(const std::string& path, const NamedTensors& tensors, const Metadata& metadata = {});

/// The same, aside first: readers find the old or the new file, and it is durable when it returns.
void write_safetensors_atomically(const std::string& path, const NamedTensors& tensors, const Metadata& metadata = {});
/// SHA-256 and size that the file would have. Writes nothing.
struct SafetensorsMeasure {
  std::string sha256;
  int64_t bytes = 0;
};
SafetensorsMeasure measure_safetensors(const NamedTensors& tensors, const Metadata& metadata = {});

struct SafetensorsFile {
  NamedTensors tensors;  ///< in the order of their data; own memory
  Metadata metadata;
};
/// Errors: Code::checkpoint naming the file, the tensor and what is wrong.
SafetensorsFile parse_safetensors(std::string_view bytes, const std::string& name);
SafetensorsFile read_safetensors(const std::string& path);

}  // namespace etude
