#include "etude/tensor/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "etude/base/error.h"
#include "etude/base/file.h"
#include "etude/base/text.h"
#include "etude/base/torch_pch.h"

namespace etude {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are stored as they lie in memory");

constexpr uint64_t kLongestHeader = 100'000'000;
constexpr size_t kMostDimensions = 64;  ///< more than LibTorch takes
constexpr const char* kMetadata = "__metadata__";

struct Dtype {
  const char* name;
  torch::ScalarType type;
};
constexpr Dtype kDtypes[] = {{"F64", torch::kFloat64},   {"F32", torch::kFloat32}, {"F16", torch::kFloat16},
                             {"BF16", torch::kBFloat16}, {"I64", torch::kInt64},   {"I32", torch::kInt32},
                             {"I16", torch::kInt16},     {"I8", torch::kInt8},     {"U8", torch::kUInt8},
                             {"BOOL", torch::kBool}};

const char* name_of(torch::ScalarType type, const std::string& tensor) {
  for (const Dtype& dtype : kDtypes) {
    if (dtype.type == type) return dtype.name;
  }
  throw Error(Code::checkpoint, std::string("safetensors has no type ") + c10::toString(type), "tensor " + tensor,
              "convert the tensor before it is stored");
}

std::string quoted(const std::string& text) {
  ETUDE_CHECK(valid_utf8(text), "names in a safetensors file must be UTF-8");
  return nlohmann::json(text).dump();
}

/// The header with its length, padded with spaces so that the data begins at a multiple of 8.
std::string header(const NamedTensors& tensors, const Metadata& metadata) {
  std::string json = "{";
  if (!metadata.empty()) {
    json += quoted(kMetadata) + ":{";
    for (const auto& [key, value] : metadata) json += quoted(key) + ":" + quoted(value) + ",";
    json.back() = '}';
    json += ",";
  }
  std::set<std::string_view> names = {kMetadata};
  uint64_t at = 0;
  for (const auto& [name, value] : tensors) {
    ETUDE_CHECK(value.defined(), "the tensor '" + name + "' is undefined");
    ETUDE_CHECK(names.insert(name).second, "two tensors are called '" + name + "'");
    ETUDE_CHECK(static_cast<size_t>(value.dim()) <= kMostDimensions, "'" + name + "' has too many dimensions");
    const uint64_t end = at + static_cast<uint64_t>(value.numel()) * value.element_size();
    json += quoted(name) + ":{\"dtype\":\"" + name_of(value.scalar_type(), name) + "\",\"shape\":[";
    for (int64_t d = 0; d < value.dim(); ++d) json += (d > 0 ? "," : "") + std::to_string(value.size(d));
    json += "],\"data_offsets\":[" + std::to_string(at) + "," + std::to_string(end) + "]},";
    at = end;
  }
  if (json.size() > 1) json.pop_back();
  json += "}";
  json.resize((json.size() + 7) / 8 * 8, ' ');
  ETUDE_CHECK(json.size() <= kLongestHeader, "too many tensors for one safetensors file");
  std::string length(8, '\0');
  const uint64_t size = json.size();
  std::memcpy(length.data(), &size, 8);
  return length + json;
}

/// Calls sink(data, size) with the pieces of the file in order.
template <class Sink>
void emit(const NamedTensors& tensors, const Metadata& metadata, const Sink& sink) {
  const std::string head = header(tensors, metadata);
  sink(head.data(), head.size());
  for (const auto& [name, value] : tensors) {
    const Tensor host = value.detach().to(torch::kCPU).resolve_neg().contiguous();
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

/// A tensor as the header describes it.
struct Entry {
  std::string name, dtype;
  std::vector<uint64_t> shape, offsets;
  unsigned fields = 0;  ///< which of the three were given
};

/// Reads the header's JSON event by event, so that what does not belong there is refused where it stands,
/// a key that comes twice is seen, and nothing is built for what is not used.
class HeaderReader {
 public:
  explicit HeaderReader(std::string file) : file_(std::move(file)) {}

  std::vector<Entry> entries;
  Metadata metadata;

  bool start_object(size_t) {
    if (depth_ > 1) refuse("a table stands where none belongs");
    if (depth_ == 1 && !in_metadata_) entries.push_back({key_, {}, {}, {}, 0});
    ++depth_;
    return true;
  }
  bool end_object() {
    if (depth_ == 2 && !in_metadata_ && entries.back().fields != 7) {
      refuse("an entry needs dtype, shape and data_offsets");
    }
    --depth_;
    return true;
  }
  bool key(std::string& text) {
    if (depth_ == 1) {
      in_metadata_ = text == kMetadata;
      if (in_metadata_ && had_metadata_) refuse("the key '__metadata__' stands twice in the header");
      had_metadata_ = had_metadata_ || in_metadata_;
    } else if (!in_metadata_) {
      field_ = text == "dtype" ? 1 : text == "shape" ? 2 : text == "data_offsets" ? 4 : 0;
      if (field_ == 0) refuse("an entry has no field '" + printable(text) + "'");
      if (entries.back().fields & field_) refuse("the key '" + text + "' stands twice");
      entries.back().fields |= field_;
    }
    key_ = std::move(text);
    return true;
  }
  bool string(std::string& text) {
    if (depth_ == 2 && in_metadata_) {
      if (!metadata.emplace(key_, std::move(text)).second) {
        refuse("the metadata key '" + printable(key_) + "' stands twice");
      }
    } else if (depth_ == 2 && field_ == 1) {
      entries.back().dtype = std::move(text);
    } else {
      refuse("a text stands where none belongs");
    }
    return true;
  }
  bool start_array(size_t) {
    if (depth_ != 2 || in_metadata_ || field_ == 1) refuse("a list stands where none belongs");
    in_list_ = true;
    depth_ = 3;
    return true;
  }
  bool end_array() {
    in_list_ = false;
    depth_ = 2;
    return true;
  }
  bool number_unsigned(uint64_t number) {
    if (!in_list_) refuse("a number stands where none belongs");
    std::vector<uint64_t>& list = field_ == 2 ? entries.back().shape : entries.back().offsets;
    if (list.size() == (field_ == 2 ? kMostDimensions : 2)) refuse("a list is too long");
    list.push_back(number);
    return true;
  }
  bool number_integer(int64_t number) { refuse("the negative number " + std::to_string(number)); }
  bool number_float(double, const std::string& text) { refuse("the number " + text + " is no count"); }
  bool null() { refuse("null stands where a value belongs"); }
  bool boolean(bool) { refuse("true or false stands where a value belongs"); }
  bool binary(nlohmann::json::binary_t&) { refuse("binary data in the header"); }
  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) {
    in_metadata_ = true;  // what follows speaks of no tensor
    refuse("the header is no JSON at byte " + std::to_string(position));
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    const std::string tensor = in_metadata_ || depth_ == 0 ? "" : depth_ == 1 ? key_ : entries.back().name;
    throw Error(Code::checkpoint, what, file_ + (tensor.empty() ? "" : ", tensor " + printable(tensor)),
                "the file is damaged or no safetensors file");
  }

  std::string file_, key_;
  int depth_ = 0;
  unsigned field_ = 0;
  bool in_metadata_ = false, had_metadata_ = false, in_list_ = false;
};

/// Where the tensors of a file lie, checked against its size.
class Layout {
 public:
  Layout(std::string_view bytes, const std::string& file) : file_(file) {
    if (bytes.size() < 8) {
      throw bad("the file has " + std::to_string(bytes.size()) + " bytes, fewer than the 8 of the header's length");
    }
    uint64_t length = 0;
    std::memcpy(&length, bytes.data(), 8);
    const std::string claim = "the header claims " + std::to_string(length) + " bytes";
    if (length > kLongestHeader) throw bad(claim + ", at most " + std::to_string(kLongestHeader) + " are allowed");
    if (length > bytes.size() - 8) throw bad(claim + ", " + std::to_string(bytes.size() - 8) + " are left");
    const std::string_view head = bytes.substr(8, length);
    if (head.empty() || head.front() != '{') throw bad("the header does not begin with '{'");
    data = bytes.substr(8 + length);
    HeaderReader reader(file);
    nlohmann::json::sax_parse(head, &reader);
    entries = std::move(reader.entries);
    metadata = std::move(reader.metadata);
    check_names();
    check_places();
  }

  Tensor tensor(const Entry& entry) const {
    const Dtype* dtype = std::find_if(std::begin(kDtypes), std::end(kDtypes),
                                      [&](const Dtype& known) { return entry.dtype == known.name; });
    if (dtype == std::end(kDtypes)) throw bad("unknown dtype '" + printable(entry.dtype) + "'", entry.name);
    // The product without zeros must fit as well: strides are made of it.
    uint64_t strides = c10::elementSize(dtype->type);
    bool empty = false;
    std::vector<int64_t> shape;
    for (const uint64_t n : entry.shape) {
      empty = empty || n == 0;
      if (__builtin_mul_overflow(strides, std::max<uint64_t>(n, 1), &strides) ||
          strides > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        throw bad("the shape is too large", entry.name);
      }
      shape.push_back(static_cast<int64_t>(n));
    }
    const uint64_t size = empty ? 0 : strides, begin = entry.offsets[0];
    if (size != entry.offsets[1] - begin) {
      throw bad("the shape needs " + std::to_string(size) + " bytes, the offsets give " +
                    std::to_string(entry.offsets[1] - begin),
                entry.name);
    }
    const char* const from = data.data() + begin;
    if (dtype->type == torch::kBool && std::any_of(from, from + size, [](char c) { return c != 0 && c != 1; })) {
      throw bad("a truth value is neither 0 nor 1", entry.name);
    }
    Tensor value = torch::empty(shape, torch::TensorOptions(dtype->type));
    if (size > 0) std::memcpy(value.mutable_data_ptr(), from, size);
    return value;
  }

  std::string_view data;
  std::vector<Entry> entries;
  Metadata metadata;

 private:
  Error bad(const std::string& what, const std::string& tensor = {}) const {
    return {Code::checkpoint, what, file_ + (tensor.empty() ? "" : ", tensor " + printable(tensor)),
            "the file is damaged or no safetensors file"};
  }

  void check_names() const {
    std::vector<std::string_view> names;
    for (const Entry& entry : entries) names.push_back(entry.name);
    std::sort(names.begin(), names.end());
    const auto twice = std::adjacent_find(names.begin(), names.end());
    if (twice != names.end()) throw bad("the key stands twice in the header", std::string(*twice));
  }

  /// Sorts by place. The data must be covered from its first byte to its last.
  void check_places() {
    for (const Entry& entry : entries) {
      if (entry.offsets.size() != 2) throw bad("data_offsets needs two numbers", entry.name);
      if (entry.offsets[0] > entry.offsets[1]) throw bad("the offsets run backwards", entry.name);
      if (entry.offsets[1] > data.size()) {
        throw bad("the data ends at byte " + std::to_string(entry.offsets[1]) + " of " + std::to_string(data.size()),
                  entry.name);
      }
    }
    std::stable_sort(entries.begin(), entries.end(),
                     [](const Entry& a, const Entry& b) { return a.offsets < b.offsets; });
    uint64_t at = 0;
    for (const Entry& entry : entries) {
      if (entry.offsets[0] > at) throw bad("a hole before the data", entry.name);
      if (entry.offsets[0] < at) throw bad("the data overlaps another tensor's", entry.name);
      at = entry.offsets[1];
    }
    if (at != data.size()) throw bad(std::to_string(data.size() - at) + " bytes at the end belong to no tensor");
  }

  const std::string& file_;
};

}  // namespace

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
  Layout layout(bytes, name);
  SafetensorsFile file;
  file.metadata = std::move(layout.metadata);
  for (Entry& entry : layout.entries) {
    Tensor value = layout.tensor(entry);
    file.tensors.emplace_back(std::move(entry.name), std::move(value));
  }
  return file;
}

SafetensorsFile read_safetensors(const std::string& path) { return parse_safetensors(file::read(path), path); }

}  // namespace etude
