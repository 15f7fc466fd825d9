#pragma once
// Files of token ids that others wrote: what their first bytes say.

#include <cstdint>
#include <string>
#include <string_view>

namespace etude::corpus {

/// Little-endian ids that follow each other in a file.
struct TokenRun {
  enum class Type { u2, u4, i4, i8 } type = Type::u2;
  int64_t offset = 0;  ///< of the first, in bytes
  int64_t count = 0;
  int64_t width() const { return type == Type::u2 ? 2 : type == Type::i8 ? 8 : 4; }
  bool operator==(const TokenRun&) const = default;
};

/// The bytes of a file that its reader wants: the whole of what token_run() may look at.
inline constexpr size_t kTokenHead = size_t{1} << 16;

/// `head`: the first kTokenHead bytes (all, of a shorter file) of a file of `size` bytes; `name` its name.
/// .npy (NumPy format 1.0 to 3.0): one dimension of uint16, uint32, int32 or int64. .bin: 256 int32 before the ids, of
/// which the first three are llm.c's magic number and version for uint16 (20240520, 1) or uint32 (20240801, 7) and the
/// count; else ids without a header, as nanoGPT's prepare.py writes them: uint16, or uint32 where the name ends in
/// .u32.bin or .uint32.bin.
/// Errors: Code::data at `name` with a hint: another type, byte order or shape, a header that doesn't fit, a size that
/// is not that of the ids, no ids.
TokenRun token_run(std::string_view head, int64_t size, const std::string& name);

/// Whether a name is that of such a file (.bin, .npy in any case).
bool is_token_name(std::string_view name);

/// Ids begin..begin + count - 1 out of the bytes of the file. Errors: Code::data for an id that is not in 0..limit-1,
/// with its number. Required: they lie within.
void read_tokens(std::string_view bytes, const TokenRun& run, int64_t begin, int64_t count, int64_t limit,
                 const std::string& name, int32_t* out);

}  // namespace etude::corpus
