#pragma once
// The mean over a group of replicas, through nothing but post and collect. Two members swap what they hold
// (one round). More than two take two rounds: of the flattened values, cut into as many chunks as there are
// members, member k reduces chunk k and sends the result back, so that each replica sends 2 (n-1)/n of its
// values instead of n-1 times all of them. Both ways give the same bits.

#include <vector>

#include "etude/comm/peers.h"

namespace etude {

/// Mean of equal-shaped tensors as first + sum_j (x_j - first) / n, in the given order: where all members are
/// equal it is exactly their value. Required: at least one member.
Tensor group_mean(const std::vector<Tensor>& members);

/// One replica's side of one meeting. Whoever is not there is left out: a pair without its other half is a
/// group of one; a chunk that nobody sends back keeps one's own values.
class GroupMean {
 public:
  /// Rounds that groups of at most this size take.
  static int rounds(int64_t group_size) { return group_size <= 2 ? 1 : 2; }

  /// `group` in ascending order, with oneself in it. `own` is the same in all calls of a meeting.
  void post(Peers& peers, const std::vector<int>& group, const std::vector<Tensor>& own, int round);
  /// Of a pair: what is known of `own` before the rest, its last tensors, ahead of post(), which leaves it out then.
  void post_early(Peers& peers, const std::vector<int>& group, const std::vector<Tensor>& last);
  /// The mean, in the shapes of `own`, once the last round is collected; before that, nothing.
  /// Errors: Code::comms when a peer sends another number of values.
  std::vector<Tensor> collect(Peers& peers, const std::vector<int>& group, const std::vector<Tensor>& own, int round);

 private:
  std::vector<Tensor> swapped(Peers& peers, const std::vector<int>& group, const std::vector<Tensor>& own);
  Tensor reduced_;    ///< one's own chunk, between the two rounds
  size_t early_ = 0;  ///< tensors that have left already
};

}  // namespace etude
