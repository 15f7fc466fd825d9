#include "etude/data/sets/xz_frame.h"

#include <zlib.h>

namespace etude {
namespace {

constexpr char kLzma2 = 0x21;
constexpr char kDictionary = 28;  // 2^26 bytes

std::string little32(uint64_t value) {
  std::string bytes;
  for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(value >> shift);
  return bytes;
}

/// Seven bits a byte, the lowest first.
std::string variable(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}

void pad_to_four(std::string& bytes) { bytes.append((4 - bytes.size() % 4) % 4, '\0'); }

std::string with_checksum(std::string bytes) {
  const auto sum = crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size()));
  return bytes + little32(sum);
}

}  // namespace

std::string as_xz(std::string_view lzma2, uint64_t size) {
  constexpr std::string_view kNoCheck("\0\0", 2);
  const std::string block_header = with_checksum({2, 0, kLzma2, 1, kDictionary, 0, 0, 0});

  std::string index("\0\1", 2);  // of one block
  index += variable(block_header.size() + lzma2.size());
  index += variable(size);
  pad_to_four(index);
  index = with_checksum(index);

  const std::string footer = little32(index.size() / 4 - 1) + std::string(kNoCheck);
  const std::string footer_checksum = with_checksum(footer).substr(footer.size());

  std::string xz(
      "\xfd"
      "7zXZ\0",
      6);
  xz += with_checksum(std::string(kNoCheck));
  xz += block_header;
  xz += lzma2;
  pad_to_four(xz);
  return xz + index + footer_checksum + footer + "YZ";
}

}  // namespace etude
