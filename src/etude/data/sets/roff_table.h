#pragma once
// Tables of tbl(1) within manual pages.

#include <string>
#include <vector>

#include "etude/data/sets/roff_text.h"

namespace etude {

/// The rows between .TS and .TE, cells with a tab between them; rules and formats are left out.
std::vector<std::string> roff_table(const std::vector<std::string>& lines, const RoffStrings& strings);

}  // namespace etude
