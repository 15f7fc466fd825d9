#pragma once
// Prompts from files.

#include <cstdint>
#include <string>
#include <vector>

namespace etude::cli {

struct Prompt {
  std::string text;
  std::vector<int64_t> ids{};  ///< in place of the text
};

/// A prompt a line; blank lines are left out. A file whose first line opens an object is JSON lines, each with the text
/// "prompt", or with the tokens "ids"; other keys are left alone. Errors: Code::io; Code::data naming file and line.
std::vector<Prompt> read_prompts(const std::string& path);

}  // namespace etude::cli
