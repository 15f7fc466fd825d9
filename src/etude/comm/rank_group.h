#pragma once
// The ranks that work for one replica.

#include <algorithm>
#include <string>
#include <vector>

#include "etude/comm/links.h"

namespace etude {

struct RankGroup {
  Links& links;
  std::vector<int> ranks;  ///< ascending, with links.rank() in it
  std::string scope = {};  ///< part of all tags: other groups of the same ranks have another, a stage's name
  /// Place of this rank among them.
  int index() const {
    return static_cast<int>(std::lower_bound(ranks.begin(), ranks.end(), links.rank()) - ranks.begin());
  }
  int size() const { return static_cast<int>(ranks.size()); }
};

}  // namespace etude
