#pragma once
// What a safetensors file says of itself: 8 bytes little-endian header length, then that many of JSON,
//   {"__metadata__": {"key": "value"}, "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ...}
// then the data. Read strictly: what the format's description forbids (holes, overlaps, keys that come twice, a
// header over 100 MB, sizes that do not match) is refused. Time is linear and memory at most that of the header,
// whatever it says. Free of LibTorch, so that it can be fuzzed by itself.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace etude {

using Metadata = std::map<std::string, std::string>;

/// A tensor as a file describes it.
struct SafetensorsEntry {
  std::string name, dtype;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  ///< bytes of the data, end excluded
  uint64_t bytes() const { return end - begin; }
};

/// Bits of a value of a type that the format has ("F32", "BF16", "F4", ...); 0: it has no such type.
unsigned safetensors_bits(std::string_view dtype);
/// Bytes of a shape, or nothing if they, or the strides without the empty sides, are more than 2^63 - 1 or no whole
/// number of bytes.
std::optional<uint64_t> safetensors_bytes(std::string_view dtype, const std::vector<int64_t>& shape);

class SafetensorsHeader {
 public:
  /// `bytes` is the whole file, of which only the header is read, and is not needed afterwards.
  /// Errors: Code::checkpoint naming `file`, the tensor and what is wrong.
  SafetensorsHeader(std::string_view bytes, const std::string& file);

  size_t size() const { return records_.size(); }
  /// In the order of the data, 0 .. size() - 1.
  SafetensorsEntry entry(size_t i) const;
  std::optional<size_t> find(std::string_view name) const;
  const Metadata& metadata() const { return metadata_; }
  uint64_t data() const { return data_; }  ///< bytes before the data

 private:
  /// An entry, small: the format allows millions of them.
  struct Record {
    uint64_t begin, end;
    uint32_t name, name_size, shape;  ///< places in packed_
    uint8_t sides, dtype;
  };
  class Reader;

  std::string_view name(const Record& record) const;
  std::vector<int64_t> shape(const Record& record) const;

  uint64_t data_ = 0;
  std::string packed_;  ///< names; sides seven bits a byte, so that no shape takes more than its text did
  std::vector<Record> records_;
  std::vector<uint32_t> by_name_;
  Metadata metadata_;
};

/// The first bytes of a file, length and header, padded with spaces so that the data begins at a multiple of 8. The
/// entries' places count from 0 in their order. Required: names are UTF-8 and unique, types are the format's.
std::string safetensors_header(const std::vector<SafetensorsEntry>& entries, const Metadata& metadata);

}  // namespace etude
