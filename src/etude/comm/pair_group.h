#pragma once
// c10d's side of the links: one process group for each pair of ranks, so that a peer that dies takes no other
// connection along. The only file that knows which backend it is.

#include <functional>
#include <memory>
#include <string>

#include "etude/comm/coordinator_client.h"
#include "etude/tensor/tensor.h"

namespace etude {

/// Where this rank's connections are bound: one device for all its pairs.
struct PairDevice;
/// `address`: digits of an address of this machine. Errors: Code::comms.
std::shared_ptr<PairDevice> pair_device(const std::string& address);

/// Two ranks. send() and receive() may be called by one thread each.
class PairGroup {
 public:
  virtual ~PairGroup() = default;
  /// Blocks until the bytes are on their way. False when the other has gone, or after abort().
  virtual bool send(const Tensor& bytes) = 0;
  /// Fills `bytes` (uint8, of the size that the other sends). False as send().
  virtual bool receive(Tensor& bytes) = 0;
  /// Ends what another thread waits for; nothing comes through any more.
  virtual void abort() = 0;
};

/// Meets the other rank in `words` under `name`, the same on both sides. `place`: 0 or 1; `gone`: whether there is no
/// more sense in waiting. Errors: Code::comms when the other does not come within `seconds`.
std::unique_ptr<PairGroup> join_pair(const std::shared_ptr<PairDevice>& device, CoordinatorClient& words,
                                     const std::string& name, int place, double seconds,
                                     const std::function<bool()>& gone);

}  // namespace etude
