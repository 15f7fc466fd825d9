#pragma once
// Where ranks meet, and who knows of all whether they are alive. It keeps the few words with which ranks find each
// other, hears each rank's heart beat, and makes them leave before the same step. Training never waits for it: once
// ranks have met, they go on without it. It lives in the process that started the ranks (--nproc), else in rank 0.

#include <cstdint>
#include <memory>
#include <string>

namespace etude {

/// What is known of a rank.
struct Member {
  enum class State { awaited, present, left, gone } state = State::awaited;
  int64_t step = 0;
  int returned = 0;  ///< times that it died and was started again
  std::string operation = {}, host = {};
  std::string why = {};  ///< of one that is gone: "killed by signal 9"
};

class Coordinator {
 public:
  /// Listens at an address of this machine (digits), at any port for 0. A rank that is silent for `deadline` seconds is
  /// gone. Errors: Code::comms.
  Coordinator(int ranks, const std::string& secret, const std::string& address, double deadline, int port = 0);
  ~Coordinator();
  Coordinator(const Coordinator&) = delete;
  int port() const;
  /// A rank's process has ended, as its parent knows: "killed by signal 9".
  void left(int rank, const std::string& why);
  /// All ranks leave before the same step.
  void ask_to_leave();

 private:
  class Inside;
  std::unique_ptr<Inside> inside_;
};

}  // namespace etude
