#include "etude/tensor/safetensors.h"

#include <algorithm>
#include <cstring>

#include "etude/base/error.h"
#include "etude/base/file.h"
#include "etude/base/json_cursor.h"
#include "etude/base/mapped_file.h"
#include "etude/base/torch_pch.h"

namespace etude {
namespace {

struct Dtype {
  const char* name;
  torch::ScalarType type;
};
/// F4 and the F6 types pack several values into a byte; tensors here hold none of them.
constexpr Dtype kDtypes[] = {
    {"F64", torch::kFloat64},
    {"F32", torch::kFloat32},
    {"F16", torch::kFloat16},
    {"BF16", torch::kBFloat16},
    {"I64", torch::kInt64},
    {"I32", torch::kInt32},
    {"I16", torch::kInt16},
    {"I8", torch::kInt8},
    {"U64", torch::kUInt64},
    {"U32", torch::kUInt32},
    {"U16", torch::kUInt16},
    {"U8", torch::kUInt8},
    {"BOOL", torch::kBool},
    {"C64", torch::kComplexFloat},
    {"F8_E4M3", torch::kFloat8_e4m3fn},
    {"F8_E4M3FNUZ", torch::kFloat8_e4m3fnuz},
    {"F8_E5M2", torch::kFloat8_e5m2},
    {"F8_E5M2FNUZ", torch::kFloat8_e5m2fnuz},
    {"F8_E8M0", torch::kFloat8_e8m0fnu},
};

std::vector<SafetensorsEntry> entries_of(const NamedTensors& tensors) {
  std::vector<SafetensorsEntry> entries;
  for (const auto& [name, value] : tensors) {
    ETUDE_CHECK(value.defined(), "the tensor '" + name + "' is undefined");
    entries.push_back({name, safetensors_dtype(value.scalar_type(), name), value.sizes().vec()});
  }
  return entries;
}

/// Calls sink(data, size) with the pieces of the file in order.
template <class Sink>
void emit(const NamedTensors& tensors, const Metadata& metadata, const Sink& sink) {
  const std::string head = safetensors_header(entries_of(tensors), metadata);
  sink(head.data(), head.size());
  for (const auto& [name, value] : tensors) {
    const Tensor host = as_stored(value);
    if (host.numel() > 0) sink(static_cast<const char*>(host.const_data_ptr()), host.nbytes());
  }
}

/// Returns the SHA-256.
std::string write_to(file::Writer& out, const NamedTensors& tensors, const Metadata& metadata) {
  file::Sha256 hash;
  emit(tensors, metadata, [&](const char* data, size_t size) {
    hash.add(data, size);
    out.write(data, size);
  });
  return hash.hex();
}

}  // namespace

std::string safetensors_dtype(at::ScalarType type, const std::string& tensor) {
  for (const Dtype& dtype : kDtypes) {
    if (dtype.type == type) return dtype.name;
  }
  throw Error(Code::checkpoint, std::string("safetensors has no type ") + c10::toString(type), "tensor " + tensor,
              "convert the tensor before it is stored");
}

Tensor as_stored(const Tensor& value) {
  return value.detach().to(torch::kCPU).resolve_conj().resolve_neg().contiguous();
}

Tensor stored_tensor(const SafetensorsEntry& entry, std::string_view bytes, const std::string& file) {
  const std::string where = file + ", tensor " + shortened(entry.name);
  const Dtype* dtype = std::find_if(std::begin(kDtypes), std::end(kDtypes),
                                    [&](const Dtype& known) { return entry.dtype == known.name; });
  if (dtype == std::end(kDtypes)) {
    throw Error(Code::checkpoint, "values of type " + entry.dtype + " can't be read as a tensor", where,
                "convert the file to BF16, F16 or F32 with the program that wrote it");
  }
  ETUDE_CHECK(bytes.size() == entry.bytes(), "the bytes of another tensor");
  if (dtype->type == torch::kBool && std::any_of(bytes.begin(), bytes.end(), [](char c) { return c != 0 && c != 1; })) {
    throw Error(Code::checkpoint, "a truth value is neither 0 nor 1", where,
                "the file is damaged or no safetensors file");
  }
  Tensor value = torch::empty(entry.shape, torch::TensorOptions(dtype->type));
  if (!bytes.empty()) std::memcpy(value.mutable_data_ptr(), bytes.data(), bytes.size());
  return value;
}

std::string to_safetensors(const NamedTensors& tensors, const Metadata& metadata) {
  std::string out;
  emit(tensors, metadata, [&](const char* data, size_t size) { out.append(data, size); });
  return out;
}

std::string write_safetensors(const std::string& path, const NamedTensors& tensors, const Metadata& metadata) {
  file::Writer out(path, file::Writer::Mode::create);
  const std::string hash = write_to(out, tensors, metadata);
  out.sync();
  return hash;
}

void write_safetensors_atomically(const std::string& path, const NamedTensors& tensors, const Metadata& metadata) {
  file::write_atomically(path, [&](file::Writer& out) { write_to(out, tensors, metadata); });
}

SafetensorsMeasure measure_safetensors(const NamedTensors& tensors, const Metadata& metadata) {
  file::Sha256 hash;
  int64_t bytes = 0;
  emit(tensors, metadata, [&](const char* data, size_t size) {
    hash.add(data, size);
    bytes += static_cast<int64_t>(size);
  });
  return {hash.hex(), bytes};
}

SafetensorsFile parse_safetensors(std::string_view bytes, const std::string& name) {
  const SafetensorsHeader header(bytes, name);
  SafetensorsFile file;
  file.metadata = header.metadata();
  for (size_t i = 0; i < header.size(); ++i) {
    const SafetensorsEntry entry = header.entry(i);
    file.tensors.emplace_back(entry.name,
                              stored_tensor(entry, bytes.substr(header.data() + entry.begin, entry.bytes()), name));
  }
  return file;
}

SafetensorsFile read_safetensors(const std::string& path) {
  const file::Mapped mapped(path, file::Mapped::Access::sequential);
  SafetensorsFile file = parse_safetensors(mapped.bytes(), path);
  mapped.require_whole();
  return file;
}

}  // namespace etude
