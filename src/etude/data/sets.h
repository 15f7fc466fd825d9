#pragma once
// The data sets that the program carries inside itself.

#include <string>
#include <string_view>
#include <vector>

#include "etude/data/source.h"

namespace etude {

/// Their cards, sorted by name. A record of a text is a line.
std::vector<DataCard> data_sets();

/// The bytes of a built-in text, checked against its card; they live as long as the program.
/// Errors: Code::data for an unknown name (with the nearest) and for bytes whose hash is another.
std::string_view builtin_text(const std::string& name);

}  // namespace etude
