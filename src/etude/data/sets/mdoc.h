#pragma once
// The macros of mdoc(7) that stand within lines: what ".Op Fl v Ar file" prints ("[-v file]").

#include <string>
#include <string_view>
#include <vector>

#include "etude/data/sets/roff_text.h"

namespace etude {

/// The text of a line that begins with `macro`; its arguments may be macros themselves. `name` is the page's, which Nm
/// prints. Macros that are unknown print their arguments.
std::string mdoc_text(std::string_view macro, const std::vector<std::string>& arguments, const std::string& name,
                      const RoffStrings& strings);

}  // namespace etude
