#pragma once
// Which rank holds what. R replicas on W ranks, in any ratio: with W <= R each rank hosts a range of replicas, with
// W > R each replica is shared by a range of ranks, which cut its batch among themselves. Nothing of this is part of
// a result: the same run goes on with another number of ranks.

#include <cstdint>
#include <utility>
#include <vector>

#include "etude/base/error.h"

namespace etude {

class Layout {
 public:
  Layout(int replicas, int ranks) : replicas_(replicas), ranks_(ranks) {
    ETUDE_CHECK(replicas >= 1 && ranks >= 1, "a layout needs a replica and a rank");
  }
  int replicas() const { return replicas_; }
  int ranks() const { return ranks_; }

  /// Replicas first .. last-1 that a rank hosts, or the one that it shares.
  std::pair<int, int> hosted(int rank) const {
    if (ranks_ <= replicas_) return {cut(rank, replicas_, ranks_), cut(rank + 1, replicas_, ranks_)};
    for (int r = 0;; ++r)
      if (rank < cut(r + 1, ranks_, replicas_)) return {r, r + 1};
  }
  /// Ranks that work for a replica, ascending; the first is its head, who speaks for it.
  std::vector<int> ranks_of(int replica) const {
    std::vector<int> found;
    if (ranks_ <= replicas_) {
      for (int rank = 0; rank < ranks_; ++rank)
        if (auto [first, last] = hosted(rank); first <= replica && replica < last) found.push_back(rank);
      return found;
    }
    for (int rank = cut(replica, ranks_, replicas_); rank < cut(replica + 1, ranks_, replicas_); ++rank)
      found.push_back(rank);
    return found;
  }
  int head(int replica) const { return ranks_of(replica).front(); }

 private:
  /// Where part `i` of `n` begins when `all` are cut into n parts that differ by one at most.
  static int cut(int i, int all, int n) { return static_cast<int>(static_cast<int64_t>(i) * all / n); }
  int replicas_, ranks_;
};

}  // namespace etude
