#include "etude/tensor/safetensors.h"

#include "etude/base/torch_pch.h"

#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "etude/base/error.h"
#include "etude/base/file.h"

namespace etude {
namespace {

constexpr uint64_t kLongestHeader = 100'000'000;

struct Dtype { const char* name; torch::ScalarType type; };
constexpr Dtype kDtypes[] = {{"F64", torch::kFloat64}, {"F32", torch::kFloat32}, {"F16", torch::kFloat16}, {"BF16", torch::kBFloat16}, {"I64", torch::kInt64},
                             {"I32", torch::kInt32},   {"I16", torch::kInt16},   {"I8", torch::kInt8},     {"U8", torch::kUInt8},      {"BOOL", torch::kBool}};

const char* name_of(torch::ScalarType type) {
  for (const Dtype& d : kDtypes)
    if (d.type == type) return d.name;
  throw Error(Code::checkpoint, "tensors of this type cannot be stored", c10::toString(type));
}

std::vector<Tensor> on_host(const NamedTensors& tensors) {
  std::vector<Tensor> host;
  for (const auto& [name, value] : tensors) host.push_back(value.detach().to(torch::kCPU).contiguous());
  return host;
}

std::string header(const NamedTensors& tensors, const std::vector<Tensor>& host, const Metadata& metadata) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  if (!metadata.empty()) json["__metadata__"] = metadata;
  uint64_t at = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const uint64_t end = at + host[i].nbytes();
    ETUDE_CHECK(!json.contains(tensors[i].first), "two tensors are called " + tensors[i].first);
    json[tensors[i].first] = {{"dtype", name_of(host[i].scalar_type())}, {"shape", host[i].sizes().vec()}, {"data_offsets", {at, end}}};
    at = end;
  }
  std::string text = json.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::string out(8, '\0');
  for (int i = 0; i < 8; ++i) out[static_cast<size_t>(i)] = static_cast<char>(text.size() >> (8 * i) & 0xff);
  return out + text;
}

/// Parses the header and refuses a key that comes twice, which a plain parse would hide.
nlohmann::ordered_json parse_header(std::string_view text, const std::string& name) {
  std::vector<std::set<std::string>> keys;
  std::string twice;
  auto look = [&](int, nlohmann::ordered_json::parse_event_t event, nlohmann::ordered_json& parsed) {
    using Event = nlohmann::ordered_json::parse_event_t;
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key && !keys.back().insert(parsed.get<std::string>()).second) twice = parsed.get<std::string>();
    return true;
  };
  nlohmann::ordered_json json;
  try {
    json = nlohmann::ordered_json::parse(text, look);
  } catch (const nlohmann::json::exception& e) {
    throw Error(Code::checkpoint, "the header is no JSON", name, "the file is damaged");
  }
  if (!twice.empty()) throw Error(Code::checkpoint, "the key '" + twice + "' stands twice in the header", name, "the file is damaged");
  return json;
}

}  // namespace

std::string to_safetensors(const NamedTensors& tensors, const Metadata& metadata) {
  const auto host = on_host(tensors);
  std::string out = header(tensors, host, metadata);
  for (const Tensor& t : host) out.append(static_cast<const char*>(t.const_data_ptr()), t.nbytes());
  return out;
}

std::string write_safetensors(const std::string& path, const NamedTensors& tensors, const Metadata& metadata) {
  const auto host = on_host(tensors);
  file::Writer out(path, file::Writer::Mode::create);
  file::Sha256 hash;
  const std::string head = header(tensors, host, metadata);
  out.write(head);
  hash.add(head);
  for (const Tensor& t : host) {
    if (t.nbytes() == 0) continue;
    out.write(t.const_data_ptr(), t.nbytes());
    hash.add(t.const_data_ptr(), t.nbytes());
  }
  out.sync();
  return hash.hex();
}

SafetensorsFile parse_safetensors(std::string_view bytes, const std::string& name) {
  auto bad = [&](const std::string& what, const std::string& where = {}) { return Error(Code::checkpoint, what, where.empty() ? name : name + ", tensor " + where, "the file is damaged or no safetensors file"); };
  if (bytes.size() < 8) throw bad("the file has " + std::to_string(bytes.size()) + " bytes, fewer than the 8 of the header's length");
  uint64_t length = 0;
  for (size_t i = 0; i < 8; ++i) length |= static_cast<uint64_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
  if (length > kLongestHeader) throw bad("the header claims " + std::to_string(length) + " bytes");
  if (length > bytes.size() - 8) throw bad("the header claims " + std::to_string(length) + " bytes, the file has " + std::to_string(bytes.size() - 8) + " left");
  const std::string_view head = bytes.substr(8, length);
  if (head.empty() || head.front() != '{') throw bad("the header does not begin with '{'");
  const std::string_view data = bytes.substr(8 + length);
  const nlohmann::ordered_json json = parse_header(head, name);

  SafetensorsFile file;
  struct Place { uint64_t begin, end; };
  std::vector<Place> places;
  for (const auto& [key, entry] : json.items()) {
    if (key == "__metadata__") {
      if (!entry.is_object()) throw bad("__metadata__ is no table");
      for (const auto& [k, v] : entry.items()) {
        if (!v.is_string()) throw bad("metadata '" + k + "' is no string");
        file.metadata[k] = v.get<std::string>();
      }
      continue;
    }
    if (!entry.is_object() || entry.size() != 3 || !entry.contains("dtype") || !entry.contains("shape") || !entry.contains("data_offsets")) throw bad("an entry needs exactly dtype, shape and data_offsets", key);
    const auto& offsets = entry["data_offsets"];
    if (!entry["dtype"].is_string() || !entry["shape"].is_array() || !offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() || !offsets[1].is_number_unsigned()) throw bad("an entry of the wrong form", key);
    const Dtype* dtype = nullptr;
    for (const Dtype& d : kDtypes)
      if (entry["dtype"] == d.name) dtype = &d;
    if (!dtype) throw bad("unknown dtype '" + entry["dtype"].get<std::string>() + "'", key);
    const Place place{offsets[0].get<uint64_t>(), offsets[1].get<uint64_t>()};
    if (place.begin > place.end || place.end > data.size()) throw bad("offsets beyond the file", key);
    if (place.begin != (places.empty() ? 0 : places.back().end)) throw bad("a hole or an overlap in the data", key);
    uint64_t bytes_needed = c10::elementSize(dtype->type);
    std::vector<int64_t> shape;
    if (entry["shape"].size() > 64) throw bad("more than 64 dimensions", key);
    bool empty = false;
    for (const auto& n : entry["shape"]) {
      if (!n.is_number_unsigned() || n.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) throw bad("a size that is no count", key);
      shape.push_back(n.get<int64_t>());
      empty = empty || shape.back() == 0;
    }
    for (int64_t n : shape)
      if (!empty && __builtin_mul_overflow(bytes_needed, static_cast<uint64_t>(n), &bytes_needed)) throw bad("the shape overflows", key);
    if (empty) bytes_needed = 0;
    if (bytes_needed != place.end - place.begin) throw bad("shape and offsets do not agree", key);
    Tensor value = torch::empty(shape, torch::TensorOptions(dtype->type));
    if (bytes_needed > 0) std::memcpy(value.data_ptr(), data.data() + place.begin, bytes_needed);
    file.tensors.emplace_back(key, std::move(value));
    places.push_back(place);
  }
  if ((places.empty() ? 0 : places.back().end) != data.size()) throw bad("bytes that belong to no tensor at the end");
  return file;
}

SafetensorsFile read_safetensors(const std::string& path) { return parse_safetensors(file::read(path), path); }

}  // namespace etude
