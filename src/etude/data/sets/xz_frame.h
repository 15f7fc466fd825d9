#pragma once
// LZMA2 data that stand without the container of an .xz file, as R's packages keep them.

#include <cstdint>
#include <string>
#include <string_view>

namespace etude {

/// The same data as an .xz file of one block, for whoever reads only those. `size`: unpacked bytes. The dictionary is
/// taken to have 64 MiB, the most that R writes. Layout: "The .xz File Format", version 1.1.0.
std::string as_xz(std::string_view lzma2, uint64_t size);

}  // namespace etude
