#include "etude/tensor/safetensors_header.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <tuple>

#include "etude/base/error.h"
#include "etude/base/json_cursor.h"
#include "etude/base/text.h"

namespace etude {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are stored as they lie in memory");

constexpr uint64_t kLongestHeader = 100'000'000;
constexpr size_t kMostDimensions = 64;  ///< what LibTorch's operators take
constexpr size_t kMostMetadata = 65'536;
constexpr size_t kShortestEntry = std::string_view(R"("":{"dtype":"U8","shape":[],"data_offsets":[0,0]})").size();
constexpr const char* kMetadata = "__metadata__";

struct Dtype {
  std::string_view name;
  unsigned bits;
};
constexpr Dtype kDtypes[] = {{"F64", 64},        {"F32", 32},    {"F16", 16},        {"BF16", 16},   {"I64", 64},
                             {"I32", 32},        {"I16", 16},    {"I8", 8},          {"U64", 64},    {"U32", 32},
                             {"U16", 16},        {"U8", 8},      {"BOOL", 8},        {"C64", 64},    {"F8_E4M3", 8},
                             {"F8_E4M3FNUZ", 8}, {"F8_E5M2", 8}, {"F8_E5M2FNUZ", 8}, {"F8_E8M0", 8}, {"F6_E2M3", 6},
                             {"F6_E3M2", 6},     {"F4", 4}};

const Dtype* find_dtype(std::string_view name) {
  const auto found =
      std::find_if(std::begin(kDtypes), std::end(kDtypes), [&](const Dtype& known) { return known.name == name; });
  return found == std::end(kDtypes) ? nullptr : found;
}

std::string quoted(const std::string& text) {
  ETUDE_CHECK(valid_utf8(text), "names in a safetensors file must be UTF-8");
  return nlohmann::json(text).dump();
}

void pack(std::string& packed, uint64_t number) {
  for (; number > 127; number >>= 7) packed += static_cast<char>((number & 127) | 128);
  packed += static_cast<char>(number);
}

uint64_t unpack(std::string_view packed, size_t& at) {
  uint64_t number = 0;
  for (unsigned shift = 0;; shift += 7) {
    const auto byte = static_cast<unsigned char>(packed[at++]);
    number |= static_cast<uint64_t>(byte & 127) << shift;
    if (byte < 128) return number;
  }
}

/// So that numbers compare as names do.
uint64_t first_bytes(std::string_view name) {
  uint64_t bytes = 0;
  std::memcpy(&bytes, name.data(), std::min<size_t>(name.size(), 8));
  return __builtin_bswap64(bytes);
}

std::optional<uint64_t> bytes_of(uint64_t bits, const std::vector<int64_t>& shape) {
  // The product without zeros must fit as well: strides are made of it.
  uint64_t strides = std::max<uint64_t>(bits / 8, 1);
  bool empty = false;
  for (const int64_t n : shape) {
    const uint64_t side = std::max<uint64_t>(static_cast<uint64_t>(n), 1);
    empty = empty || n == 0;
    if (n < 0 || __builtin_mul_overflow(strides, side, &strides) ||
        strides > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return std::nullopt;
    }
  }
  if (empty) return 0;
  if (bits >= 8) return strides;
  if (__builtin_mul_overflow(strides, bits, &bits) || bits % 8 != 0) return std::nullopt;
  return bits / 8;
}

/// Where the header lies in a file.
std::string_view header_text(std::string_view bytes, const std::string& file) {
  const auto bad = [&](const std::string& what) {
    return Error(Code::checkpoint, what, file, "the file is damaged or no safetensors file");
  };
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
  return head;
}

}  // namespace

unsigned safetensors_bits(std::string_view dtype) {
  const Dtype* const known = find_dtype(dtype);
  return known ? known->bits : 0;
}

std::optional<uint64_t> safetensors_bytes(std::string_view dtype, const std::vector<int64_t>& shape) {
  return bytes_of(safetensors_bits(dtype), shape);
}

/// Takes the header apart and checks it.
class SafetensorsHeader::Reader {
 public:
  Reader(std::string_view head, uint64_t data_size, const std::string& file, SafetensorsHeader& header)
      : cursor_(head, "the header", [this](const std::string& what) { throw bad(what, place_); }),
        data_size_(data_size),
        file_(file),
        header_(header) {
    reserve(head);
    cursor_.table([&](std::string key) {
      if (key == kMetadata) {
        read_metadata();
      } else {
        place_ = std::move(key);
        read_entry();
      }
      place_.reset();
    });
    cursor_.finish();
    sort_by_place();
    check_names();
    check_places();
  }

 private:
  /// Pages that are not used cost nothing; what grows costs up to three times what it holds.
  void reserve(std::string_view head) const {
    const auto tables = static_cast<size_t>(std::count(head.begin(), head.end(), '{'));
    header_.records_.reserve(std::min(tables, head.size() / kShortestEntry + 1));
    header_.packed_.reserve(head.size());
  }

  Error bad(const std::string& what, const std::optional<std::string>& tensor = {}) const {
    return {Code::checkpoint, what, file_ + (tensor ? ", tensor " + shortened(*tensor) : ""),
            "the file is damaged or no safetensors file"};
  }

  void read_metadata() {
    if (had_metadata_) throw bad("the key '__metadata__' stands twice in the header");
    had_metadata_ = true;
    if (cursor_.null()) return;
    Metadata& metadata = header_.metadata_;
    cursor_.table([&](std::string key) {
      const auto [at, fresh] = metadata.emplace(std::move(key), "");
      if (!fresh) throw bad("the metadata key '" + shortened(at->first) + "' stands twice");
      if (metadata.size() > kMostMetadata) throw bad("more than " + std::to_string(kMostMetadata) + " metadata keys");
      at->second = cursor_.text();
    });
  }

  /// One of the three fields, once.
  void once(bool& had, const std::string& field) {
    if (had) throw bad("the key '" + field + "' stands twice", place_);
    had = true;
  }

  void read_entry() {
    const Dtype* dtype = nullptr;
    bool had_dtype = false, had_shape = false, had_offsets = false;
    shape_.clear();
    offsets_.clear();
    cursor_.table([&](const std::string& field) {
      if (field == "dtype") {
        once(had_dtype, field);
        const std::string text = cursor_.text();
        dtype = find_dtype(text);
        if (!dtype) throw bad("unknown dtype '" + shortened(text) + "'", place_);
      } else if (field == "shape") {
        once(had_shape, field);
        cursor_.list([&] { shape_.push_back(side()); });
      } else if (field == "data_offsets") {
        once(had_offsets, field);
        cursor_.list([&] {
          if (offsets_.size() == 2) throw bad("a list is too long: more than two offsets", place_);
          offsets_.push_back(cursor_.count());
        });
      } else {
        throw bad("an entry has no field '" + shortened(field) + "'", place_);
      }
    });
    if (!had_dtype || !had_shape || !had_offsets) throw bad("an entry needs dtype, shape and data_offsets", place_);
    check_size(*dtype);
    keep(*dtype);
  }

  int64_t side() {
    if (shape_.size() == kMostDimensions) {
      throw bad("a list is too long: more than " + std::to_string(kMostDimensions) + " sides", place_);
    }
    const uint64_t side = cursor_.count();
    if (side > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) throw bad("the shape is too large", place_);
    return static_cast<int64_t>(side);
  }

  void check_size(const Dtype& dtype) const {
    if (offsets_.size() != 2) throw bad("data_offsets needs two numbers", place_);
    const uint64_t begin = offsets_[0], end = offsets_[1];
    if (begin > end) throw bad("the offsets run backwards", place_);
    if (end > data_size_) {
      throw bad("the data ends at byte " + std::to_string(end) + " of " + std::to_string(data_size_), place_);
    }
    const std::optional<uint64_t> size = bytes_of(dtype.bits, shape_);
    if (!size) throw bad("the shape is too large or no whole number of bytes", place_);
    if (*size != end - begin) {
      throw bad("the shape needs " + std::to_string(*size) + " bytes, the offsets give " + std::to_string(end - begin),
                place_);
    }
  }

  void keep(const Dtype& dtype) {
    std::string& packed = header_.packed_;
    const auto name = static_cast<uint32_t>(packed.size());
    packed += *place_;
    const auto shape = static_cast<uint32_t>(packed.size());
    for (const int64_t side : shape_) pack(packed, static_cast<uint64_t>(side));
    header_.records_.push_back({offsets_[0], offsets_[1], name, shape - name, shape,
                                static_cast<uint8_t>(shape_.size()), static_cast<uint8_t>(&dtype - kDtypes)});
  }

  void sort_by_place() const {
    std::vector<Record>& records = header_.records_;
    // Empty tensors of one place stay in the header's order.
    const auto before = [](const Record& a, const Record& b) {
      return std::tuple(a.begin, a.end, a.name) < std::tuple(b.begin, b.end, b.name);
    };
    if (!std::is_sorted(records.begin(), records.end(), before)) std::sort(records.begin(), records.end(), before);
  }

  void check_names() const {
    // Sorted by the first eight bytes first, which decide mostly and lie together in memory.
    struct Key {
      uint64_t first;
      uint32_t record;
    };
    const auto name = [&](const Key& key) { return header_.name(header_.records_[key.record]); };
    std::vector<Key> keys;
    keys.reserve(header_.records_.size());
    for (uint32_t i = 0; i < header_.records_.size(); ++i)
      keys.push_back({first_bytes(header_.name(header_.records_[i])), i});
    std::sort(keys.begin(), keys.end(),
              [&](const Key& a, const Key& b) { return a.first != b.first ? a.first < b.first : name(a) < name(b); });
    const auto twice = std::adjacent_find(
        keys.begin(), keys.end(), [&](const Key& a, const Key& b) { return a.first == b.first && name(a) == name(b); });
    if (twice != keys.end()) throw bad("the key stands twice in the header", std::string(name(*twice)));
    header_.by_name_.reserve(keys.size());
    for (const Key& key : keys) header_.by_name_.push_back(key.record);
  }

  /// The data must be covered from its first byte to its last. Required: sorted by place.
  void check_places() const {
    uint64_t at = 0;
    for (const Record& record : header_.records_) {
      if (record.begin > at) throw bad("a hole before the data", std::string(header_.name(record)));
      if (record.begin < at) throw bad("the data overlaps another tensor's", std::string(header_.name(record)));
      at = record.end;
    }
    if (at != data_size_) throw bad(std::to_string(data_size_ - at) + " bytes at the end belong to no tensor");
  }

  JsonCursor cursor_;
  const uint64_t data_size_;
  const std::string& file_;
  SafetensorsHeader& header_;
  std::optional<std::string> place_;  ///< the tensor that is read
  std::vector<int64_t> shape_;        ///< and its fields
  std::vector<uint64_t> offsets_;
  bool had_metadata_ = false;
};

SafetensorsHeader::SafetensorsHeader(std::string_view bytes, const std::string& file) {
  const std::string_view head = header_text(bytes, file);
  data_ = 8 + head.size();
  Reader(head, bytes.size() - data_, file, *this);
}

std::string_view SafetensorsHeader::name(const Record& record) const {
  return std::string_view(packed_).substr(record.name, record.name_size);
}

std::vector<int64_t> SafetensorsHeader::shape(const Record& record) const {
  std::vector<int64_t> shape(record.sides);
  size_t at = record.shape;
  for (int64_t& side : shape) side = static_cast<int64_t>(unpack(packed_, at));
  return shape;
}

SafetensorsEntry SafetensorsHeader::entry(size_t i) const {
  const Record& record = records_.at(i);
  return {std::string(name(record)), std::string(kDtypes[record.dtype].name), shape(record), record.begin, record.end};
}

std::optional<size_t> SafetensorsHeader::find(std::string_view wanted) const {
  const auto at = std::lower_bound(by_name_.begin(), by_name_.end(), wanted,
                                   [&](uint32_t i, std::string_view text) { return name(records_[i]) < text; });
  if (at == by_name_.end() || name(records_[*at]) != wanted) return std::nullopt;
  return *at;
}

std::string safetensors_header(const std::vector<SafetensorsEntry>& entries, const Metadata& metadata) {
  std::string json = "{";
  if (!metadata.empty()) {
    json += quoted(kMetadata) + ":{";
    for (const auto& [key, value] : metadata) json += quoted(key) + ":" + quoted(value) + ",";
    json.back() = '}';
    json += ",";
  }
  std::set<std::string_view> names = {kMetadata};
  uint64_t at = 0;
  for (const SafetensorsEntry& entry : entries) {
    ETUDE_CHECK(names.insert(entry.name).second, "two tensors are called '" + entry.name + "'");
    ETUDE_CHECK(entry.shape.size() <= kMostDimensions, "'" + entry.name + "' has too many dimensions");
    const std::optional<uint64_t> bytes = safetensors_bytes(entry.dtype, entry.shape);
    ETUDE_CHECK(safetensors_bits(entry.dtype) > 0 && bytes, "'" + entry.name + "' has no size");
    json += quoted(entry.name) + ":{\"dtype\":\"" + entry.dtype + "\",\"shape\":[";
    for (size_t d = 0; d < entry.shape.size(); ++d) json += (d > 0 ? "," : "") + std::to_string(entry.shape[d]);
    json += "],\"data_offsets\":[" + std::to_string(at) + "," + std::to_string(at + *bytes) + "]},";
    at += *bytes;
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

}  // namespace etude
