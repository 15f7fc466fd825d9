#pragma once
// What tests of ranks share: ranks as threads of this process.

#include <exception>
#include <functional>
#include <thread>
#include <vector>

#include "etude/comm/rank_group.h"

namespace etude::test {

/// Runs a body on each of `ranks` ranks, which form one group, in a thread of its own; a rank leaves when its body
/// ends. What each body threw stands at its place.
inline std::vector<std::exception_ptr> outcomes_of_ranks(int ranks, const std::function<void(RankGroup&)>& body,
                                                         double deadline_seconds = 60) {
  auto links = links_in_memory(ranks, deadline_seconds);
  std::vector<int> all;
  for (int rank = 0; rank < ranks; ++rank) all.push_back(rank);
  std::vector<std::exception_ptr> outcomes(static_cast<size_t>(ranks));
  std::vector<std::thread> threads;
  for (size_t k = 0; k < links.size(); ++k)
    threads.emplace_back([&, k] {
      const std::unique_ptr<Links> own = std::move(links[k]);
      try {
        RankGroup group{*own, all};
        body(group);
      } catch (...) {
        outcomes[k] = std::current_exception();
      }
    });
  for (std::thread& thread : threads) thread.join();
  return outcomes;
}

/// The same for bodies that are to succeed: throws what the first of them threw.
inline void on_ranks(int ranks, const std::function<void(RankGroup&)>& body) {
  for (const std::exception_ptr& outcome : outcomes_of_ranks(ranks, body))
    if (outcome) std::rethrow_exception(outcome);
}

}  // namespace etude::test
