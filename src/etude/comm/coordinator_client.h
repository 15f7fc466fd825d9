#pragma once
// A rank's side of comm/coordinator.h.

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "etude/comm/coordinator.h"
#include "etude/comm/wire.h"

namespace etude {

/// One connection: any thread may use it, one at a time. Errors of all: Code::comms when the coordinator has gone.
class CoordinatorClient {
 public:
  /// Tries for `seconds`.
  CoordinatorClient(const std::string& host, int port, const std::string& secret, double seconds);

  // Words with which ranks find each other; they are bytes.
  void set(const std::string& key, const std::string& value);
  int64_t add(const std::string& key, int64_t value);
  bool erase(const std::string& key);
  int64_t count();
  /// The values of all keys, once all are there; nothing when some are missing after `milliseconds`.
  std::optional<std::vector<std::string>> wait(const std::vector<std::string>& keys, int64_t milliseconds);

  /// This connection is the rank's heart from now on. Returns how often this rank has died before. Errors: Code::comms
  /// too when there is such a rank already.
  int join(int rank, int size, const std::string& host);
  struct Beat {
    int64_t step = 0, begun = 0;
    std::string operation = {};
    bool frozen = false, leave = false;
  };
  struct News {
    std::vector<Member> members;
    bool leave_wanted = false;
    int64_t leave_at = -1;
  };
  News beat(const Beat& beat);
  void bye();

 private:
  nlohmann::json ask(const nlohmann::json& request);
  std::mutex mutex_;
  std::unique_ptr<Wire> wire_;
};

}  // namespace etude
