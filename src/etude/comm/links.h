#pragma once
// Ranks as one rank sees them: messages of tensors under a tag, between any two, in any order. Nothing here ever
// waits for all. Over processes it is comm/process_links.h; links_in_memory() joins threads of one process.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "etude/base/error.h"
#include "etude/comm/peers.h"
#include "etude/tensor/tensor.h"

namespace etude {

/// What a rank is doing: errors name it, and the others are told.
struct Activity {
  int64_t step = 0;       ///< steps done
  std::string operation;  ///< "forward", "exchange", ...
};

/// The operation of words by which a rank that has returned asks to be told where the others stand. It is not at work
/// yet: they don't count as being heard of.
inline constexpr std::string_view kRejoin = "rejoin";

class Links {
 public:
  virtual ~Links() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// Hands tensors over. They are copied; it never waits, and is lost when `to` is not there. The part of a tag before
  /// its first '/' is the operation that its bytes are counted under. Sent again under the same tag, it takes the
  /// place of what has not been received. Required: another rank.
  virtual void send(int to, const std::string& tag, const std::vector<Tensor>& tensors) = 0;
  /// What `from` sent under this tag, once: waits until it is there. Nothing when `from` has left or died, or when the
  /// deadline has passed. From one who once let the deadline pass, nothing at once, until it is heard of again; what
  /// still comes under a tag that was given up is dropped.
  virtual std::optional<std::vector<Tensor>> receive(int from, const std::string& tag) = 0;
  /// The same, but waits whatever was before.
  virtual std::optional<std::vector<Tensor>> receive_patiently(int from, const std::string& tag) = 0;
  /// Whether receive() would return something at once.
  virtual bool arrived(int from, const std::string& tag) const = 0;
  /// Whether a rank is there, as far as this one knows; oneself always is.
  virtual bool present(int rank) const = 0;
  /// How often a rank has died and was started again. One that has finds the others at work.
  virtual int returned(int rank) const = 0;
  /// Why `rank` could not be waited for any longer: Code::comms, naming it, its host, the step and the operation.
  virtual Error missing(int rank) const = 0;

  /// Wishes that all ranks leave in order (somebody pressed Ctrl-C).
  virtual void ask_to_leave() = 0;
  /// To be asked before each step: whether this is the one before which all ranks leave. It is the same for all, the
  /// first that none had begun when somebody wished so. May wait until they agree.
  virtual bool leaves_before(int64_t step) = 0;

  /// What this rank does from now on.
  virtual void enter(const Activity& activity) = 0;
  /// What this rank has sent, by operation. A round is what is sent before something of that operation is received.
  virtual std::map<std::string, Traffic> traffic() const = 0;
  /// Seconds that receive() has waited.
  virtual double waited_seconds() const = 0;
};

/// The operation of a tag.
inline std::string operation_of(const std::string& tag) { return tag.substr(0, tag.find('/')); }

/// The books of what one rank sends, by operation.
class TrafficBooks {
 public:
  void sent(const std::string& operation, int64_t bytes) {
    Traffic& counted = traffic_[operation];
    counted += {bytes, 1, sending_.insert(operation).second ? 1 : 0};
  }
  void received(const std::string& operation) { sending_.erase(operation); }
  const std::map<std::string, Traffic>& traffic() const { return traffic_; }

 private:
  std::map<std::string, Traffic> traffic_;
  std::set<std::string> sending_;  ///< operations in whose round something has been sent
};

/// One object for each of `size` ranks that live in threads of this process. A rank leaves when its object goes.
std::vector<std::unique_ptr<Links>> links_in_memory(int size, double deadline_seconds);

}  // namespace etude
