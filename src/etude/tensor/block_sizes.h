#pragma once
// The sizes of small blocks of memory: multiples of 64 bytes up to 512, then eight steps from each power of two to the
// next, up to 256 KiB. No block is more than an eighth larger than what it was asked for, beyond the 64 bytes that
// vector loads are aligned to.

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace etude {

constexpr size_t kPageBytes = 4096;
constexpr size_t kBlockAlignment = 64;
constexpr size_t kLargestSmallBlock = size_t{256} << 10;

/// Which of the sizes holds `bytes`, 1 .. kLargestSmallBlock.
constexpr size_t block_kind(size_t bytes) {
  if (bytes <= 8 * kBlockAlignment) return (bytes + kBlockAlignment - 1) / kBlockAlignment - 1;
  const auto power = static_cast<size_t>(std::bit_width(bytes - 1)) - 1;  // 2^power < bytes <= 2^(power + 1)
  return 8 * (power - 8) + ((bytes - 1) >> (power - 3)) - 8;
}

constexpr size_t kBlockKinds = block_kind(kLargestSmallBlock) + 1;

/// The inverse: the bytes of a kind.
constexpr size_t small_block_bytes(size_t kind) {
  return kind < 8 ? (kind + 1) * kBlockAlignment : (kind % 8 + 9) << (kind / 8 + 5);
}

/// What an allocation of `bytes` takes: a small block, or whole pages.
constexpr size_t block_bytes(size_t bytes) {
  if (bytes == 0) return 0;
  if (bytes <= kLargestSmallBlock) return small_block_bytes(block_kind(bytes));
  return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
}

/// Pages that are cut into blocks of a kind: at least eight of them up to 32 KiB, one beyond.
constexpr uint32_t slab_pages(size_t kind) {
  const size_t bytes = small_block_bytes(kind), blocks = bytes > (size_t{32} << 10) ? 1
                                                         : bytes < 8192             ? 65536 / bytes
                                                                                    : 8;
  return static_cast<uint32_t>((blocks * bytes + kPageBytes - 1) / kPageBytes);
}

}  // namespace etude
