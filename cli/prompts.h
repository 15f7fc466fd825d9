#pragma once
// Prompts from files.

#include <string>
#include <vector>

namespace etude::cli {

/// A prompt a line; blank lines are left out. A file whose first line opens an object is JSON lines, each with the text
/// "prompt"; other keys are left alone. Errors: Code::io; Code::data naming file and line.
std::vector<std::string> read_prompts(const std::string& path);

}  // namespace etude::cli
