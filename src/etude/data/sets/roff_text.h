#pragma once
// A line of troff's input as the text that it prints: escape sequences resolved, fonts and sizes dropped.

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace etude {

/// Strings that a page defines, by name.
using RoffStrings = std::map<std::string, std::string, std::less<>>;

struct RoffLine {
  std::string text;
  bool goes_on = false;  ///< "\c": the next line follows without a space
};

/// Escape sequences as in groff(7) and groff_char(7); what is unknown prints nothing.
RoffLine roff_text(std::string_view line, const RoffStrings& strings);

/// The arguments of a request or macro: separated by blanks, in quotes where they have some. Escapes are not resolved;
/// what stands behind \" is left out.
std::vector<std::string> roff_arguments(std::string_view line);

}  // namespace etude
