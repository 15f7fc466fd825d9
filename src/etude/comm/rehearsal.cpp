#include "etude/comm/rehearsal.h"

#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cmath>
#include <csignal>
#include <ctime>
#include <set>
#include <thread>

#include "etude/base/error.h"
#include "etude/base/rng.h"
#include "etude/base/text.h"

namespace etude {
namespace {

using Kind = RankFault::Kind;

constexpr std::array<const char*, 6> kKinds = {"kill", "stop", "delay", "drop", "shape", "slow"};
const std::vector<std::string> kPhases = {"rendezvous", "broadcast", "forward",    "bucket",
                                          "exchange",   "save",      "evaluation", "shutdown"};
constexpr const char* kForms =
    "write rank:R:FAULT@STEP/PHASE with kill, stop=SECONDS, delay=SECONDS, drop or shape, rank:R:slow=FACTOR, "
    "net:latency=MILLISECONDS~SPREAD or chaos:SEED; for files io:N:kill, io:N:powercut, io:N:enospc or io:N:eio";
constexpr double kMostSeconds = 3600, kMostFactor = 1000, kMostMilliseconds = 60000, kMostSpread = 3;

Error refusal(std::string_view part, const std::string& why, const std::string& hint) {
  return Error(Code::usage, "'" + std::string(part) + "' rehearses no fault: " + why, "--inject", hint);
}

template <class Whole>
Whole whole(std::string_view part, std::string_view text, const std::string& what) {
  Whole value = 0;
  const auto [stop, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc() || stop != text.data() + text.size() || value < Whole{0})
    throw refusal(part, "'" + std::string(text) + "' is no " + what, "whole numbers count from 0");
  return value;
}

double number(std::string_view part, std::string_view text, double low, double high, const std::string& what) {
  double value = 0;
  const std::string range = plain_number(low) + " to " + plain_number(high);
  if (!parse_number(text, value) || value < low || value > high)
    throw refusal(part, "'" + std::string(text) + "' is no " + what, "a number of " + range);
  return value;
}

/// What stands before and behind the first `mark`; nothing behind if there is none.
std::pair<std::string_view, std::optional<std::string_view>> cut(std::string_view text, char mark) {
  const size_t at = text.find(mark);
  if (at == std::string_view::npos) return {text, std::nullopt};
  return {text.substr(0, at), text.substr(at + 1)};
}

/// A phase as methods may name one; one that is nearly one of the frame's is a slip.
std::string phase_of(std::string_view part, std::string_view text) {
  const std::string phase(text);
  const bool known = std::find(kPhases.begin(), kPhases.end(), phase) != kPhases.end();
  const std::string near = known ? "" : did_you_mean(phase, kPhases);
  if (phase.empty() || phase.find_first_of(" ,:/@") != std::string::npos || !near.empty()) {
    std::string all;
    for (const std::string& one : kPhases) all += (all.empty() ? "" : ", ") + one;
    throw refusal(part, "there is no phase '" + phase + "'", near.empty() ? "one of " + all : near);
  }
  return phase;
}

std::string fault_text(const RankFault& fault) {
  std::string text = "rank:" + std::to_string(fault.rank) + ":" + kKinds.at(static_cast<size_t>(fault.kind));
  if (fault.amount > 0) text += "=" + plain_number(fault.amount);
  if (fault.kind == Kind::slow) return text;
  return text + "@" + (fault.step == RankFault::kEveryStep ? "*" : std::to_string(fault.step)) + "/" + fault.phase;
}

void sleep_for(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

/// Stops this process. A process beside it wakes it: nothing of the program runs there, and it holds none of our
/// connections, so that nobody takes it for us, and dies with us.
void stop_for(double seconds) {
  const pid_t me = getpid();
  const double whole_seconds = std::floor(seconds);
  timespec pause = {static_cast<time_t>(whole_seconds), static_cast<long>((seconds - whole_seconds) * 1e9)};
  const timespec moment = {0, 10'000'000};
  const pid_t waker = _Fork();
  if (waker == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    syscall(SYS_close_range, 0u, ~0u, 0u);
    while (getppid() == me) {
      nanosleep(&pause, nullptr);
      pause = moment;  // again, should it not have been stopped yet
      kill(me, SIGCONT);
    }
    _exit(0);
  }
  if (waker < 0)
    throw Error(Code::io, "no process can be had to wake this one after " + plain_number(seconds) + " s", "--inject",
                "fewer processes at once, or delay instead of stop");
  raise(SIGSTOP);
  kill(waker, SIGKILL);
  waitpid(waker, nullptr, 0);
}

/// Draws faults such that each can be met: what happens once in a run has its own step, what has a cadence takes any.
std::vector<RankFault> draw(uint64_t seed, int ranks, int64_t steps) {
  Rng rng(Key{seed, purpose_of("chaos"), ranks, steps});
  std::vector<RankFault> faults;
  std::set<int> killed;
  const int64_t count = 1 + rng.below(3);
  for (int64_t i = 0; i < count; ++i) {
    RankFault fault;
    fault.rank = static_cast<int>(rng.below(ranks));
    fault.kind = static_cast<Kind>(rng.below(5));
    const bool last_one = killed.size() + 1 >= static_cast<size_t>(ranks) && !killed.count(fault.rank);
    if (fault.kind == Kind::kill && last_one) fault.kind = Kind::delay;
    if (fault.kind == Kind::kill) killed.insert(fault.rank);
    const bool message = fault.kind == Kind::drop || fault.kind == Kind::shape;
    const std::vector<std::string> with_messages = {"broadcast", "bucket", "exchange"};
    const std::vector<std::string>& phases = message ? with_messages : kPhases;
    fault.phase = phases[static_cast<size_t>(rng.below(static_cast<int64_t>(phases.size())))];
    const int64_t step = rng.below(steps);
    if (fault.phase == "rendezvous" || fault.phase == "broadcast")
      fault.step = 0;
    else if (fault.phase == "save" || fault.phase == "evaluation")
      fault.step = RankFault::kEveryStep;
    else
      fault.step = fault.phase == "shutdown" ? steps : step;
    const double seconds = static_cast<double>(1 + rng.below(20)) / 10;
    if (fault.kind == Kind::stop || fault.kind == Kind::delay) fault.amount = seconds;
    faults.push_back(std::move(fault));
  }
  return faults;
}

}  // namespace

Rehearsal Rehearsal::parse(std::string_view text) {
  Rehearsal rehearsal;
  for (std::optional<std::string_view> rest = text; rest;) {
    const auto [part, after] = cut(*rest, ',');
    rehearsal.add(part);
    rest = after;
  }
  return rehearsal;
}

void Rehearsal::add(std::string_view part) {
  const auto [kind, rest] = cut(part, ':');
  if (!rest) throw refusal(part, "it has none of the forms", kForms);
  if (kind == "rank")
    add_rank(part, *rest);
  else if (kind == "net")
    add_latency(part, *rest);
  else if (kind == "chaos")
    chaos_.push_back(whole<uint64_t>(part, *rest, "seed"));
  else
    throw refusal(part, "it has none of the forms", did_you_mean(kind, {"rank", "net", "chaos"}, kForms));
}

void Rehearsal::add_rank(std::string_view part, std::string_view rest) {
  const auto [rank, what] = cut(rest, ':');
  RankFault fault;
  fault.rank = whole<int>(part, rank, "rank");
  if (!what) throw refusal(part, "what happens to rank " + std::to_string(fault.rank) + " is missing", kForms);
  const auto [action, place] = cut(*what, '@');
  const auto [word, amount] = cut(action, '=');
  const std::vector<std::string> words(kKinds.begin(), kKinds.end());
  const auto found = std::find(words.begin(), words.end(), word);
  if (found == words.end())
    throw refusal(part, "unknown fault '" + std::string(word) + "'", did_you_mean(word, words, kForms));
  fault.kind = static_cast<Kind>(found - words.begin());

  const bool timed = fault.kind == Kind::stop || fault.kind == Kind::delay, slow = fault.kind == Kind::slow;
  if ((timed || slow) != amount.has_value())
    throw refusal(part,
                  *found + (amount ? " takes no number"
                            : slow ? " needs a factor"
                                   : " needs seconds"),
                  timed  ? "for example " + *found + "=5"
                  : slow ? "for example slow=10"
                         : kForms);
  if (timed) fault.amount = number(part, *amount, 0.001, kMostSeconds, "number of seconds");
  if (slow) fault.amount = number(part, *amount, 1, kMostFactor, "factor");

  if (slow == place.has_value())
    throw refusal(part, slow ? "slow has no step" : "the step and phase are missing",
                  slow ? "it holds all the time: rank:R:slow=FACTOR" : "@STEP/PHASE, for example @3/exchange");
  if (place) {
    const auto [step, phase] = cut(*place, '/');
    if (!phase) throw refusal(part, "the phase is missing", "@STEP/PHASE, for example @3/exchange");
    if (step != "*") fault.step = whole<int64_t>(part, step, "step");
    fault.phase = phase_of(part, *phase);
  }
  faults_.push_back(std::move(fault));
  struck_.push_back(-1);
}

void Rehearsal::add_latency(std::string_view part, std::string_view rest) {
  const auto [word, amount] = cut(rest, '=');
  if (word != "latency" || !amount)
    throw refusal(part, "a network has a latency", "net:latency=MILLISECONDS, or net:latency=MILLISECONDS~SPREAD");
  const auto [median, spread] = cut(*amount, '~');
  latency_seconds_ = number(part, median, 0, kMostMilliseconds, "number of milliseconds") / 1000;
  latency_spread_ = spread ? number(part, *spread, 0, kMostSpread, "spread") : 0;
}

std::string Rehearsal::text() const {
  std::string all;
  const auto append = [&](const std::string& part) { all += (all.empty() ? "" : ",") + part; };
  for (const RankFault& fault : faults_) append(fault_text(fault));
  if (latency_seconds_ > 0)
    append("net:latency=" + plain_number(latency_seconds_ * 1000) +
           (latency_spread_ > 0 ? "~" + plain_number(latency_spread_) : ""));
  for (const uint64_t seed : chaos_) append("chaos:" + std::to_string(seed));
  return all;
}

Rehearsal Rehearsal::resolved(int ranks, std::optional<int64_t> steps) const {
  Rehearsal all = *this;
  all.chaos_.clear();
  for (const RankFault& fault : faults_)
    if (fault.rank >= ranks)
      throw refusal(
          fault_text(fault), "there is no rank " + std::to_string(fault.rank),
          ranks == 1 ? "one process is rank 0; --nproc N starts more" : "ranks are 0 to " + std::to_string(ranks - 1));
  for (const uint64_t seed : chaos_) {
    if (!steps || *steps < 1)
      throw refusal("chaos:" + std::to_string(seed), "how many steps there will be is not known",
                    "a stop in steps, for example stop=\"100 steps\"");
    for (RankFault& fault : draw(seed, ranks, *steps)) {
      all.faults_.push_back(std::move(fault));
      all.struck_.push_back(-1);
    }
  }
  return all;
}

Rehearsal Rehearsal::for_rank(int rank) const {
  ETUDE_CHECK(chaos_.empty(), "chaos is drawn before ranks part");
  Rehearsal own;
  own.latency_seconds_ = latency_seconds_;
  own.latency_spread_ = latency_spread_;
  for (const RankFault& fault : faults_) {
    if (fault.rank != rank) continue;
    own.faults_.push_back(fault);
    own.struck_.push_back(-1);
  }
  return own;
}

void Rehearsal::at(int64_t step, std::string_view phase) {
  for (size_t i = 0; i < faults_.size(); ++i) {
    const RankFault& fault = faults_[i];
    if (fault.phase != phase || (fault.step != RankFault::kEveryStep && fault.step != step)) continue;
    if (struck_[i] == step) continue;
    struck_[i] = step;
    if (fault.kind == Kind::kill) raise(SIGKILL);
    if (fault.kind == Kind::stop) stop_for(fault.amount);
    if (fault.kind == Kind::delay) sleep_for(fault.amount);
  }
}

bool Rehearsal::meets(Kind kind, int64_t step, std::string_view phase) const {
  for (const RankFault& fault : faults_)
    if (fault.kind == kind && fault.phase == phase && (fault.step == RankFault::kEveryStep || fault.step == step))
      return true;
  return false;
}

double Rehearsal::slowness() const {
  double factor = 1;
  for (const RankFault& fault : faults_)
    if (fault.kind == Kind::slow) factor *= fault.amount;
  return factor;
}

void Rehearsal::slow_down(double seconds) const {
  if (const double factor = slowness(); factor > 1) sleep_for(seconds * (factor - 1));
}

double Rehearsal::latency(int from, int to, std::string_view tag) const {
  if (latency_seconds_ == 0) return 0;
  Rng rng = Rng(Key{0, Purpose::latency, from, to}).fork(tag);
  return latency_seconds_ * std::exp(latency_spread_ * rng.normal());
}

namespace {
Rehearsal& setting() {
  static Rehearsal* const instance = new Rehearsal;  // messages may be under way while the process ends
  return *instance;
}
}  // namespace

void rehearse(const Rehearsal& rehearsal) { setting() = rehearsal; }
Rehearsal& rehearsal() { return setting(); }

}  // namespace etude
