#pragma once
// How replicas meet: a split-phase mailbox. In every round all hosted replicas first post, then all
// collect; nothing else passes between replicas. What is known before may leave when the step begins, so that it
// travels while the step is computed. The same code runs over memory (comm/mailbox.h), over a simulated network with
// a clock (comm/clock.h) and over processes (comm/rank_peers.h).

#include <cstdint>
#include <string>
#include <vector>

#include "etude/tensor/tensor.h"

namespace etude {

/// Bytes, messages and rounds that one replica sent.
struct Traffic {
  int64_t bytes = 0, messages = 0, rounds = 0;
  Traffic& operator+=(const Traffic& o) {
    bytes += o.bytes;
    messages += o.messages;
    rounds += o.rounds;
    return *this;
  }
};

/// The other replicas as one replica sees them.
class Peers {
 public:
  virtual ~Peers() = default;
  virtual int me() const = 0;
  virtual int size() const = 0;
  /// Hands tensors to a replica. They are copied: the sender may change its own at once. A message to
  /// oneself is allowed and costs nothing.
  virtual void send(int to, const std::string& tag, const std::vector<Tensor>& tensors) = 0;
  /// The tensors that `from` sent under this tag in this round's post, or early in this step. Empty when that replica
  /// is not there (it died or timed out): the caller goes on without it.
  virtual std::vector<Tensor> receive(int from, const std::string& tag) = 0;
  /// What this replica has sent since the beginning.
  virtual Traffic traffic() const = 0;
};

}  // namespace etude
