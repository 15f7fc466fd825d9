#pragma once
// What is in a file or folder of whatever known kind, and whether it is whole.

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/tensor_groups.h"
#include "etude/base/error.h"

namespace etude::cli {

struct Inspection {
  std::string path, format;
  int64_t bytes = 0;
  std::vector<std::pair<std::string, nlohmann::json>> facts;  ///< what else there is to say, in order
  TensorGroups tensors;
  std::map<std::string, int64_t> dtypes;  ///< tensors of each type
  std::map<std::string, std::string> metadata;
  /// Every byte was compared with a hash that is kept beside it. Else `checked` says what was looked at.
  bool verified = false;
  std::string checked;
  std::optional<Error> problem;   ///< why it can't be used
  std::vector<Inspection> parts;  ///< of a folder

  /// Its own problem, or the first of a part.
  const Error* first_problem() const;
};

/// Never throws for what is in the file: that becomes the inspection's problem. Errors: Code::io if there is nothing,
/// Code::data for what is none of the known kinds.
Inspection inspect(const std::string& path);

}  // namespace etude::cli
