#pragma once
// Faults of ranks on purpose: dead, stopped, late, mute, wrong or slow at a named step and phase. The same text is the
// same faults every time.
//
//   rank:R:kill@STEP/PHASE              rank R kills itself (SIGKILL) when it enters PHASE after STEP steps
//   rank:R:stop=SECONDS@STEP/PHASE      is stopped (SIGSTOP), and woken later
//   rank:R:delay=SECONDS@STEP/PHASE     sleeps
//   rank:R:drop@STEP/PHASE              its messages of that phase are lost
//   rank:R:shape@STEP/PHASE             its messages of that phase have tensors of a wrong shape
//   rank:R:slow=FACTOR                  each step takes it FACTOR times as long
//   net:latency=MILLISECONDS[~SPREAD]   every message arrives later by MILLISECONDS exp(SPREAD z), z standard normal
//   chaos:SEED                          one to three of the first five, drawn
//
// Several stand with commas between them. STEP counts from 0; * is every step. PHASE is an operation as errors name it:
// rendezvous, broadcast, forward, bucket, exchange, save, evaluation, shutdown, or one of a method's own.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace etude {

/// What happens to one rank.
struct RankFault {
  enum class Kind { kill, stop, delay, drop, shape, slow };
  static constexpr int64_t kEveryStep = -1;
  int rank = 0;
  Kind kind = Kind::kill;
  double amount = 0;  ///< seconds of a stop or delay; the factor of slow
  int64_t step = kEveryStep;
  std::string phase;  ///< "" for slow
  bool operator==(const RankFault&) const = default;
};

class Rehearsal {
 public:
  /// Errors: Code::usage with the part that is wrong.
  static Rehearsal parse(std::string_view text);
  /// parse(text()) is the same rehearsal; "" for none.
  std::string text() const;
  const std::vector<RankFault>& faults() const { return faults_; }
  bool has_chaos() const { return !chaos_.empty(); }

  /// With chaos drawn, for so many ranks and steps: at least one rank is never killed. `steps` is needed with chaos
  /// only. Errors: Code::usage for a rank that there isn't, and for chaos without steps.
  Rehearsal resolved(int ranks, std::optional<int64_t> steps) const;
  /// What concerns this rank, the network's latency included. Required: no chaos.
  Rehearsal for_rank(int rank) const;

  // Of the rank that for_rank() named:

  /// To be called when a phase is entered, after `step` steps, by one thread at a time: dies, is stopped or sleeps,
  /// once a step.
  void at(int64_t step, std::string_view phase);
  /// Whether messages of this phase are lost.
  bool drops(int64_t step, std::string_view phase) const { return meets(RankFault::Kind::drop, step, phase); }
  /// Whether messages of this phase have a wrong shape.
  bool misshapes(int64_t step, std::string_view phase) const { return meets(RankFault::Kind::shape, step, phase); }
  /// How many times as long each step takes: 1 where nothing is said.
  double slowness() const;
  /// Sleeps until what took `seconds` has taken slowness() times that.
  void slow_down(double seconds) const;
  /// Seconds by which a message arrives later: a function of its ends and its tag.
  double latency(int from, int to, std::string_view tag) const;

 private:
  bool meets(RankFault::Kind kind, int64_t step, std::string_view phase) const;
  void add(std::string_view part);
  void add_rank(std::string_view part, std::string_view rest);
  void add_latency(std::string_view part, std::string_view rest);

  std::vector<RankFault> faults_;
  std::vector<int64_t> struck_;  ///< of each fault: the step at which at() has obeyed it, or -1
  std::vector<uint64_t> chaos_;  ///< seeds that are not drawn yet
  double latency_seconds_ = 0, latency_spread_ = 0;
};

/// For the whole process.
void rehearse(const Rehearsal& rehearsal);
Rehearsal& rehearsal();

}  // namespace etude
