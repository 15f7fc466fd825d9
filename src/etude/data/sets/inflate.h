#pragma once
// zlib streams within data sets, whose unpacked size is written elsewhere.

#include <cstddef>
#include <string>
#include <string_view>

namespace etude {

/// A zlib stream that unpacks to exactly `size` bytes. Memory is taken as it unpacks, so that a wrong size costs
/// nothing. Errors: Code::data at `place`: damaged, cut, shorter or longer than `size`.
std::string inflated(std::string_view packed, size_t size, const std::string& place);

}  // namespace etude
