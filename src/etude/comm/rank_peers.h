#pragma once
// Replicas that live on several ranks: messages between two of one rank stay in memory, others go over Links. Where
// ranks share a replica, its head alone sends and receives, and hands what it received on to the others, so that all
// of them take the same decisions.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "etude/comm/layout.h"
#include "etude/comm/links.h"
#include "etude/comm/mailbox.h"

namespace etude {

class RankPeers {
 public:
  /// `links`: null where one process hosts all replicas.
  RankPeers(const Layout& layout, Links* links);
  ~RankPeers();
  /// Required: a replica that this rank hosts.
  Peers& peers(int replica);

  /// Names what is sent until end_step(); before begin_exchange() it is early: see comm/peers.h. Required: no number
  /// of a step twice while the ranks are joined.
  void begin_step(int64_t step);
  void begin_exchange();
  /// Whose messages follow: techniques may use the same tags.
  void begin_technique(int index) { technique_ = std::to_string(index) + "/"; }
  void end_round();
  void end_step() { memory_.end_step(); }

 private:
  class View;
  Layout layout_;
  Links* links_;
  Mailbox memory_;
  std::vector<std::unique_ptr<View>> views_;  ///< by replica; null for those of other ranks
  std::string step_, technique_;              ///< beginnings of tags
};

}  // namespace etude
