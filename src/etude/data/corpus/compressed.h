#pragma once
// What gzip, zstd and xz have packed, unpacked a piece at a time.

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "etude/data/corpus/bytes.h"

namespace etude::corpus {

enum class Packing { none, gzip, zstd, xz };

/// By the end of a name (".gz", ".zst", ".xz" in any case).
Packing packing_of(std::string_view name);

/// A text hardly ever shrinks to a hundredth. What unpacks to more than `ratio` times its bytes (and `free` bytes that
/// every file may have) was made to fill the machine.
struct UnpackLimits {
  int64_t ratio = 200;
  int64_t free = int64_t{64} << 20;
};

/// The bytes within. Several packed files one after the other are one text, as `zcat` has it.
/// Errors: Code::data with the file and a hint: not packed so, damaged (check sums are verified), cut, followed by
/// other bytes, beyond the limits. Memory: some hundred kB for gzip, what the file asks for, at most 128 MiB, for zstd
/// and 1 GiB for xz.
std::unique_ptr<Bytes> unpacked(std::unique_ptr<Bytes> packed, Packing packing, const UnpackLimits& limits = {});

}  // namespace etude::corpus
