#pragma once
// What passes between replicas in the middle of a step: micro-batches and gradients, in memory between replicas of one
// rank, over links between others.

#include <map>
#include <string>
#include <vector>

#include "etude/comm/layout.h"
#include "etude/comm/links.h"
#include "etude/train/step.h"

namespace etude::noloco {

/// A micro-batch on its way.
struct Parcel {
  Batch batch;
  Denominators of_whole;  ///< of the batch that it was cut from
  Tensor x;               ///< what the stage before gave; undefined before the first
};

/// Tensors that say everything about a parcel.
std::vector<Tensor> packed(const Parcel& parcel);
/// Errors: Code::comms for what packed() doesn't give; `place` says where it came from.
Parcel unpacked(const std::vector<Tensor>& tensors, const std::string& place);

class Carrier {
 public:
  /// Null: all replicas are here.
  Carrier(Links* links, const Layout& layout) : links_(links), layout_(layout) {}
  /// From the step's replica to another or to itself. Each tag is used once. Counted as bytes and as a message of the
  /// step if it leaves the replica.
  void send(Step& from, int to, const std::string& tag, std::vector<Tensor> tensors);
  /// Waits. Errors: Code::comms when the sender is gone.
  std::vector<Tensor> receive(int from, const std::string& tag);

 private:
  bool here(int replica) const { return !links_ || layout_.head(replica) == links_->rank(); }
  Links* links_;
  const Layout& layout_;
  std::map<std::string, std::vector<Tensor>> in_memory_;  ///< by tag
};

}  // namespace etude::noloco
