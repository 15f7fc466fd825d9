#pragma once
// A network with a clock, simulated event by event: the code that exchanges over Peers runs on it unchanged,
// and what it would have waited for is counted in virtual seconds. Each replica has a clock of its own. A
// message leaves when its sender's clock and link allow it, takes bytes / bandwidth on the link and then a
// random latency; its receiver's clock moves on to the arrival and counts the difference as idle.
// Latencies are keyed, so they depend on neither the order of calls nor the size of the network.

#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "etude/comm/peers.h"

namespace etude {

/// Latencies are median * exp(spread * standard normal).
struct Link {
  double median = 1;                                           ///< seconds
  double spread = 0;                                           ///< s of lognormal(0, s)
  double bandwidth = std::numeric_limits<double>::infinity();  ///< bytes a second of a replica's own link
  double deadline = 10;  ///< seconds that a receiver waits for one who is not there
};

class Clock {
 public:
  Clock(int replicas, const Link& link, uint64_t seed);
  ~Clock();
  Peers& peers(int replica);
  /// A replica works: its clock moves on.
  void compute(int replica, double seconds);
  /// From now on nothing arrives from this replica, and everybody waits for it until the deadline.
  void lose(int replica);
  /// Counts a round for everyone who sent in it and drops what nobody received.
  void end_round();

  double now(int replica) const;
  double idle(int replica) const;  ///< seconds that a replica spent waiting for messages
  double latest() const;           ///< the clock of the slowest

 private:
  class View;
  struct Message {
    std::vector<Tensor> tensors;
    double arrival;
  };
  double latency(int from, int to, const std::string& tag) const;

  Link link_;
  uint64_t seed_;
  int64_t round_ = 0;
  std::vector<std::unique_ptr<View>> views_;
  std::map<std::tuple<int, int, std::string>, Message> messages_;  // (from, to, tag)
};

/// Pure clock functions: no tensor travels, latencies are lognormal(0, spread) seconds, mean of `draws`.
/// Two replicas that send to each other at once are done when the later message is there; expected
/// exp(s^2/2) (1 + erf(s/2)).
double pair_exchange_seconds(double spread, int64_t draws, uint64_t seed);
/// A tree that reduces to one root and broadcasts back: 2 log2 N dependent levels. At each level a pair that
/// is ready takes one message time, and both go on when it has arrived. Required: N is a power of two.
double tree_all_reduce_seconds(int replicas, double spread, int64_t draws, uint64_t seed);

}  // namespace etude
