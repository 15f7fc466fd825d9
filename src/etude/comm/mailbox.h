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
  /// What is sent until begin_rounds() is early: it stays until end_step().
  void begin_step() { early_ = true; }
  void begin_rounds() { early_ = false; }
  /// Counts a round for everyone who sent in it and drops what nobody received, but for what was sent early.
  void end_round();
  void end_step();

 private:
  class View;
  std::vector<std::unique_ptr<View>> views_;
  struct Message {
    std::vector<Tensor> tensors;
    bool early;
  };
  std::map<std::tuple<int, int, std::string>, Message> messages_;  // (from, to, tag)
  bool early_ = false;
};

}  // namespace etude
