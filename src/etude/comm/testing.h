#pragma once
// What tests of ranks share: ranks as threads of this process.

#include <exception>
#include <functional>
#include <thread>
#include <vector>

#include "etude/comm/rank_group.h"

namespace etude::test {

enum class Leaving { when_it_ends, when_all_end };

/// Runs a body on each of `ranks` ranks, which form one group, in a thread of its own. What each body threw stands at
/// its place; a rank whose body throws leaves at once.
inline std::vector<std::exception_ptr> outcomes_of_ranks(int ranks, const std::function<void(RankGroup&)>& body,
                                                         Leaving leaving = Leaving::when_it_ends) {
  auto links = links_in_memory(ranks, 60);
  std::vector<int> all;
  for (int rank = 0; rank < ranks; ++rank) all.push_back(rank);
  std::vector<std::exception_ptr> outcomes(static_cast<size_t>(ranks));
  std::vector<std::thread> threads;
  for (size_t k = 0; k < links.size(); ++k)
    threads.emplace_back([&, k] {
      try {
        RankGroup group{*links[k], all};
        body(group);
      } catch (...) {
        outcomes[k] = std::current_exception();
      }
      if (outcomes[k] || leaving == Leaving::when_it_ends) links[k].reset();
    });
  for (std::thread& thread : threads) thread.join();
  return outcomes;
}

/// The same for bodies that are to succeed: throws what the first of them threw.
inline void on_ranks(int ranks, const std::function<void(RankGroup&)>& body) {
  for (const std::exception_ptr& outcome : outcomes_of_ranks(ranks, body, Leaving::when_all_end))
    if (outcome) std::rethrow_exception(outcome);
}

}  // namespace etude::test
