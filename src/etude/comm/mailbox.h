#pragma once
// Replicas in one process: messages are copies in memory, counted as if they had travelled.

#include <map>
#include <memory>
#include <tuple>
#include <vector>

#include "etude/comm/peers.h"

namespace etude {

class Mailbox {
 public:
  explicit Mailbox(int replicas);
  ~Mailbox();
  Peers& peers(int replica);
  /// Counts a round for everyone who sent in it and drops what nobody received.
  void end_round();

 private:
  class View;
  std::vector<std::unique_ptr<View>> views_;
  std::map<std::tuple<int, int, std::string>, std::vector<Tensor>> messages_;  // (from, to, tag)
};

}  // namespace etude
