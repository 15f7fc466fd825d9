#pragma once
// The safetensors format: 8 bytes little-endian header length, a JSON header, raw data. Written with the
// tensors in the order given, so that equal content is equal bytes. Read strictly: what the format's
// description forbids (holes, overlaps, keys that come twice, a header over 100 MB, sizes that do not
// match) is refused. Time and memory are linear in the file's size, whatever the file says.

#include <map>
#include <string>
#include <string_view>

#include "etude/tensor/tensor.h"

namespace etude {

using Metadata = std::map<std::string, std::string>;

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
