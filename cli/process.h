#pragma once
// Programs of the system, started without a shell.

#include <functional>
#include <string>
#include <vector>

namespace etude::cli {

struct Ended {
  int code = 0;  ///< exit code; 128 + signal if one ended it
  std::string out, errors;
};

/// Runs a program found on PATH in `folder` ("": ours) with messages in English, and nothing to read. `meanwhile` is
/// called ten times a second; what it throws ends the program first. Errors: Code::io when the program can't be
/// started, with `missing` as the hint when there is no such program, and when it writes more than 512 MiB.
Ended run_program(const std::vector<std::string>& words, const std::string& folder,
                  const std::function<void()>& meanwhile, const std::string& missing);

}  // namespace etude::cli
