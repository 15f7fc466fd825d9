#include "etude/comm/process_links.h"

#include "etude/base/torch_pch.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <set>
#include <thread>
#include <tuple>

#include "etude/base/log.h"
#include "etude/base/text.h"
#include "etude/comm/agent_store.h"
#include "etude/comm/coordinator_client.h"
#include "etude/comm/pair_group.h"
#include "etude/comm/rehearsal.h"
#include "etude/tensor/bytes.h"
#include "etude/tensor/safetensors.h"

namespace etude {
namespace {

using Time = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

Time::duration span(double seconds) { return std::chrono::duration_cast<Time::duration>(Seconds(seconds)); }

/// What is sent before a message: its bytes; 0: nothing follows, I leave.
constexpr int64_t kGoodbye = 0;
/// More than any message has: a peer that says so is not one of ours.
constexpr int64_t kLongest = int64_t{1} << 42;
/// How long whoever misses a rank waits for what the coordinator knows of it.
constexpr double kLastNews = 0.5;
/// How soon the coordinator is asked again then.
constexpr auto kAgain = std::chrono::milliseconds(20);

std::string host_name() {
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  return name;
}

/// One value less than it had: what a peer with another net would send.
Tensor misshapen(const Tensor& value) { return value.numel() > 0 ? value.reshape({-1}).slice(0, 1) : value; }

class ProcessLinks : public Links {
 public:
  explicit ProcessLinks(const Joining& joining);
  ~ProcessLinks() override;
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  void send(int to, const std::string& tag, const std::vector<Tensor>& tensors) override;
  std::optional<std::vector<Tensor>> receive(int from, const std::string& tag) override;
  std::optional<std::vector<Tensor>> receive_patiently(int from, const std::string& tag) override;
  bool arrived(int from, const std::string& tag) const override;
  bool present(int rank) const override;
  int returned(int rank) const override;
  Error missing(int rank) const override;
  void ask_to_leave() override;
  bool leaves_before(int64_t step) override;
  void enter(const Activity& activity) override;
  std::map<std::string, Traffic> traffic() const override;
  double waited_seconds() const override;

 private:
  struct Message {
    std::vector<Tensor> tensors;
    Time::time_point ready;  ///< before then it counts as travelling
  };
  struct Peer {
    std::unique_ptr<PairGroup> pair;
    std::thread receiver, sender;
    std::deque<Tensor> outbox;
    std::map<std::string, Message> inbox;
    std::set<std::string> abandoned;  ///< tags that receive() has given up: what still comes is dropped
    int64_t received = 0;             ///< messages
    int64_t silent_since = -1;        ///< messages that had come when it let a deadline pass
    int returned = 0;                 ///< which of its processes this is
    bool connected = false, left = false, sent_all = false;
  };

  void leave();
  void wait_for_all();
  void connect(int other);
  void connect_again(int other);
  void receive_from(int from);
  void send_to(int to);
  void beat();
  void take(const CoordinatorClient::News& news);
  std::optional<std::vector<Tensor>> receive_within(int from, const std::string& tag, double seconds);
  bool is_gone(int rank) const;
  bool is_present(int rank) const;  ///< under the lock
  void check_that_we_belong() const;
  Peer& peer(int rank) const { return *peers_.at(static_cast<size_t>(rank)); }

  const int rank_, size_;
  const double deadline_;
  const std::string secret_;
  std::string host_;  ///< of the coordinator
  int port_ = 0;
  int own_returned_ = 0;
  Rehearsal rehearsal_;
  std::unique_ptr<Coordinator> coordinator_;  ///< where it runs here
  std::unique_ptr<CoordinatorClient> heart_;
  std::shared_ptr<PairDevice> device_;

  mutable std::mutex mutex_;  ///< guards what follows, but for the pairs and the threads
  mutable std::condition_variable changed_;
  std::condition_variable outgoing_;
  std::vector<std::unique_ptr<Peer>> peers_;  ///< by rank; null for oneself
  std::vector<Member> members_;
  TrafficBooks books_;
  Activity activity_;
  double waited_ = 0;
  int64_t activities_ = 0, told_ = 0;  ///< begun so far, and as the coordinator knows
  int64_t begun_ = 0, leave_at_ = -1;
  Time::time_point heard_ = Time::now();  ///< of the coordinator
  mutable bool refreshes_ = false;        ///< somebody wants to know now
  bool wants_to_leave_ = false, frozen_ = false, coordinator_lost_ = false, stops_ = false;
  bool watches_returns_ = false;
  std::vector<std::thread> returns_;
  std::thread beats_;
};

ProcessLinks::ProcessLinks(const Joining& joining)
    : rank_(joining.rank),
      size_(joining.size),
      deadline_(joining.deadline),
      secret_(joining.secret),
      host_(joining.host),
      port_(joining.port),
      rehearsal_(rehearsal().for_rank(joining.rank)) {
  const std::string address = address_of(joining.interface);
  if (!joining.coordinator_runs && rank_ == 0) {
    const bool port_is_taken = !joining.agent_store.empty();
    coordinator_ = std::make_unique<Coordinator>(size_, secret_, address, deadline_, port_is_taken ? 0 : port_);
    host_ = address;
    port_ = coordinator_->port();
    if (port_is_taken) publish_in_agent_store(joining.agent_store, host_, port_, deadline_);
  } else if (!joining.coordinator_runs && !joining.agent_store.empty()) {
    std::tie(host_, port_) = find_in_agent_store(joining.agent_store, deadline_);
  }
  heart_ = std::make_unique<CoordinatorClient>(host_, port_, secret_, deadline_);
  own_returned_ = heart_->join(rank_, size_, host_name());
  activity_.operation = "rendezvous";
  members_.resize(static_cast<size_t>(size_));
  for (int other = 0; other < size_; ++other) peers_.push_back(other == rank_ ? nullptr : std::make_unique<Peer>());
  beats_ = std::thread([this] { beat(); });
  try {
    rehearsal_.at(0, "rendezvous");
    wait_for_all();
    device_ = pair_device(address);
    // All meet the others in the order of the ranks, so that nobody waits in a circle.
    for (int other = 0; other < size_; ++other)
      if (other != rank_) connect(other);
  } catch (...) {
    leave();
    throw;
  }
  const std::lock_guard lock(mutex_);
  watches_returns_ = true;
}

/// Meets another rank, if it is there, and begins to listen and to send.
void ProcessLinks::connect(int other) {
  Member member;
  {
    const std::lock_guard lock(mutex_);
    member = members_[static_cast<size_t>(other)];
    peer(other).returned = member.returned;
  }
  if (member.state != Member::State::present) return;
  const auto name = [](int rank, int returned) { return std::to_string(rank) + "." + std::to_string(returned); };
  const std::string own = name(rank_, own_returned_), theirs = name(other, member.returned);
  const bool low = rank_ < other;
  try {
    CoordinatorClient words(host_, port_, secret_, deadline_);
    auto pair = join_pair(device_, words, "pair " + (low ? own + "-" + theirs : theirs + "-" + own), low ? 0 : 1,
                          deadline_, [&] { return is_gone(other); });
    const std::lock_guard lock(mutex_);
    Peer& met = peer(other);
    met.pair = std::move(pair);
    met.outbox.clear();
    // Of those that are back and those that had gone on nobody waits for the other before it is heard of.
    met.silent_since = member.returned > 0 || own_returned_ > 0 ? met.received : -1;
    met.connected = true;
    met.left = met.sent_all = false;
    met.receiver = std::thread([this, other] { receive_from(other); });
    met.sender = std::thread([this, other] { send_to(other); });
  } catch (const Error& error) {
    warn("rank " + std::to_string(other) + " is left out: " + error.message());
  }
}

/// A rank that had died was started again.
void ProcessLinks::connect_again(int other) {
  Peer& old = peer(other);
  if (old.pair) {
    old.pair->abort();
    old.receiver.join();
    old.sender.join();
  }
  connect(other);
  changed_.notify_all();
}

ProcessLinks::~ProcessLinks() { leave(); }

void ProcessLinks::leave() {
  {
    std::unique_lock lock(mutex_);
    stops_ = true;
    outgoing_.notify_all();
    changed_.notify_all();
    // What has been sent shall arrive; who is not there to take it is not waited for.
    const auto all_sent = [&] {
      for (int other = 0; other < size_; ++other)
        if (other != rank_ && is_present(other) && !peer(other).sent_all) return false;
      return true;
    };
    changed_.wait_for(lock, span(deadline_), all_sent);
  }
  beats_.join();
  for (std::thread& thread : returns_) thread.join();
  for (const auto& one : peers_)
    if (one && one->pair) one->pair->abort();
  for (const auto& one : peers_) {
    if (!one || !one->pair) continue;
    one->receiver.join();
    one->sender.join();
  }
}

bool ProcessLinks::is_gone(int rank) const {
  const std::lock_guard lock(mutex_);
  return members_[static_cast<size_t>(rank)].state == Member::State::gone;
}

/// Returns when every rank has joined. Errors: names those that have not.
void ProcessLinks::wait_for_all() {
  std::unique_lock lock(mutex_);
  const auto awaited = [&](const Member& m) { return m.state == Member::State::awaited; };
  changed_.wait_for(lock, span(deadline_),
                    [&] { return coordinator_lost_ || std::none_of(members_.begin(), members_.end(), awaited); });
  std::string names;
  for (size_t r = 0; r < members_.size(); ++r)
    if (awaited(members_[r])) names += (names.empty() ? "rank " : ", rank ") + std::to_string(r);
  if (!names.empty())
    throw Error(Code::comms, names + " did not come within the deadline of " + rounded_number(deadline_) + " s",
                "rank " + std::to_string(rank_) + ", rendezvous",
                "start it too, or give more time: --deadline, ETUDE_DEADLINE");
}

void ProcessLinks::receive_from(int from) {
  Peer& own = peer(from);
  Tensor head = torch::zeros({static_cast<int64_t>(sizeof(int64_t))}, torch::kUInt8);
  while (own.pair->receive(head)) {
    int64_t bytes = 0;
    std::memcpy(&bytes, head.const_data_ptr<uint8_t>(), sizeof bytes);
    if (bytes == kGoodbye) {
      const std::lock_guard lock(mutex_);
      own.left = true;
      break;
    }
    if (bytes < 0 || bytes > kLongest) break;
    try {
      Tensor payload = torch::empty({bytes}, torch::kUInt8);
      if (!own.pair->receive(payload)) break;
      const auto* const begin = reinterpret_cast<const char*>(payload.const_data_ptr<uint8_t>());
      SafetensorsFile file =
          parse_safetensors({begin, static_cast<size_t>(bytes)}, "a message of rank " + std::to_string(from));
      Message message{{}, Time::now()};
      message.tensors.resize(file.tensors.size());
      for (auto& [name, value] : file.tensors) message.tensors.at(std::stoul(name)) = std::move(value);
      const std::string tag = file.metadata["tag"];
      message.ready += span(rehearsal_.latency(from, rank_, tag));
      const std::lock_guard lock(mutex_);
      if (own.abandoned.erase(tag) == 0) own.inbox.insert_or_assign(tag, std::move(message));
      if (operation_of(tag) == kRejoin && own.silent_since == own.received) ++own.silent_since;
      ++own.received;
    } catch (const std::exception& error) {  // unreadable, or too large for the memory
      warn("rank " + std::to_string(from) + " is left out: " + error.what());
      break;
    }
    changed_.notify_all();
  }
  const std::lock_guard lock(mutex_);
  own.connected = false;
  changed_.notify_all();
  outgoing_.notify_all();
}

void ProcessLinks::send_to(int to) {
  Peer& own = peer(to);
  for (bool goes_on = true; goes_on;) {
    Tensor next;
    {
      std::unique_lock lock(mutex_);
      outgoing_.wait(lock, [&] { return stops_ || !own.outbox.empty() || !own.connected; });
      if (!own.connected) break;
      if (!own.outbox.empty()) {
        next = std::move(own.outbox.front());
        own.outbox.pop_front();
      }
    }
    const int64_t bytes = next.defined() ? next.numel() : kGoodbye;
    Tensor head = torch::empty({static_cast<int64_t>(sizeof bytes)}, torch::kUInt8);
    std::memcpy(head.data_ptr<uint8_t>(), &bytes, sizeof bytes);
    goes_on = own.pair->send(head) && next.defined() && own.pair->send(next);
  }
  const std::lock_guard lock(mutex_);
  own.outbox.clear();
  own.sent_all = true;
  changed_.notify_all();
}

void ProcessLinks::send(int to, const std::string& tag, const std::vector<Tensor>& tensors) {
  ETUDE_CHECK(to >= 0 && to < size_ && to != rank_, "a message to a rank that is no other one");
  const std::string operation = operation_of(tag);
  const auto strikes = [&](const auto& what) {
    return what(activity_.step, operation) || what(activity_.step, activity_.operation);
  };
  if (strikes([&](int64_t step, const std::string& phase) { return rehearsal_.drops(step, phase); })) return;
  const bool wrong = strikes([&](int64_t step, const std::string& phase) { return rehearsal_.misshapes(step, phase); });
  NamedTensors named;
  int64_t bytes = 0;
  for (const Tensor& t : tensors) {
    named.emplace_back(std::to_string(named.size()), wrong ? misshapen(t.detach()) : t.detach());
    bytes += static_cast<int64_t>(t.nbytes());
  }
  Tensor message = tensor_of(to_safetensors(named, {{"tag", tag}}));
  const std::lock_guard lock(mutex_);
  books_.sent(operation, bytes);
  if (!is_present(to)) return;
  peer(to).outbox.push_back(std::move(message));
  outgoing_.notify_all();
}

std::optional<std::vector<Tensor>> ProcessLinks::receive(int from, const std::string& tag) {
  bool gave_up = false;
  {
    const std::lock_guard lock(mutex_);
    gave_up = peer(from).silent_since == peer(from).received;
  }
  auto got = receive_within(from, tag, gave_up ? 0 : deadline_);
  const std::lock_guard lock(mutex_);
  const bool is_silent = !got && is_present(from);
  if (is_silent && !gave_up)
    warn("rank " + std::to_string(from) + " did not answer within " + rounded_number(deadline_) + " s in step " +
         std::to_string(activity_.step + 1) + ", " + activity_.operation + ": going on without it");
  if (is_silent) peer(from).abandoned.insert(tag);
  peer(from).silent_since = is_silent ? peer(from).received : -1;
  return got;
}

std::optional<std::vector<Tensor>> ProcessLinks::receive_patiently(int from, const std::string& tag) {
  return receive_within(from, tag, deadline_);
}

std::optional<std::vector<Tensor>> ProcessLinks::receive_within(int from, const std::string& tag, double seconds) {
  ETUDE_CHECK(from >= 0 && from < size_ && from != rank_, "a message from a rank that is no other one");
  const auto began = Time::now(), until = began + span(seconds);
  std::unique_lock lock(mutex_);
  Peer& own = peer(from);
  std::optional<std::vector<Tensor>> got;
  while (true) {
    check_that_we_belong();
    const auto now = Time::now();
    const auto found = own.inbox.find(tag);
    if (found != own.inbox.end() && found->second.ready <= now) {
      got = std::move(found->second.tensors);
      own.inbox.erase(found);
      break;
    }
    if (now >= until || (found == own.inbox.end() && !is_present(from))) break;
    changed_.wait_until(lock, found == own.inbox.end() ? until : std::min(until, found->second.ready));
  }
  waited_ += Seconds(Time::now() - began).count();
  if (got) books_.received(operation_of(tag));
  return got;
}

bool ProcessLinks::arrived(int from, const std::string& tag) const {
  const std::lock_guard lock(mutex_);
  const auto found = peer(from).inbox.find(tag);
  return found != peer(from).inbox.end() && found->second.ready <= Time::now();
}

bool ProcessLinks::present(int rank) const {
  const std::lock_guard lock(mutex_);
  check_that_we_belong();
  return rank == rank_ || is_present(rank);
}

int ProcessLinks::returned(int rank) const {
  const std::lock_guard lock(mutex_);
  return rank == rank_ ? own_returned_ : peer(rank).returned;
}

bool ProcessLinks::is_present(int rank) const {
  const Peer& own = peer(rank);
  const Member::State state = members_[static_cast<size_t>(rank)].state;
  return own.connected && !own.left && state != Member::State::gone;
}

/// A rank that was stopped for too long finds out here that the others have given it up.
void ProcessLinks::check_that_we_belong() const {
  const Member& own = members_[static_cast<size_t>(rank_)];
  if (own.state == Member::State::gone)
    throw Error(
        Code::comms, "the other ranks go on without this one: it was " + own.why,
        "rank " + std::to_string(rank_) + ", step " + std::to_string(activity_.step + 1) + ", " + activity_.operation,
        "a longer deadline (--deadline, ETUDE_DEADLINE) forgives longer pauses");
}

Error ProcessLinks::missing(int rank) const {
  std::unique_lock lock(mutex_);
  // A connection breaks before the coordinator knows of it; it may know more.
  refreshes_ = true;
  changed_.notify_all();
  changed_.wait_for(lock, std::min(span(deadline_), span(kLastNews)), [&] {
    return coordinator_lost_ || members_[static_cast<size_t>(rank)].state == Member::State::gone;
  });
  refreshes_ = false;
  const Member& member = members_[static_cast<size_t>(rank)];
  const Peer& own = peer(rank);
  std::string how = "does not answer within " + rounded_number(deadline_) + " s";
  if (member.state == Member::State::gone)
    how = "is gone: " + member.why;
  else if (own.left)
    how = "has left";
  else if (!own.connected)
    how = "is gone: its connection broke";
  return Error(
      Code::comms,
      "rank " + std::to_string(rank) + " on " + (member.host.empty() ? "an unknown host" : member.host) + " " + how +
          "; last heard of in step " + std::to_string(member.step + 1) + ", " + member.operation,
      "rank " + std::to_string(rank_) + ", step " + std::to_string(activity_.step + 1) + ", " + activity_.operation,
      "the same command goes on from the last checkpoint, with any number of ranks");
}

void ProcessLinks::ask_to_leave() {
  const std::lock_guard lock(mutex_);
  wants_to_leave_ = true;
  changed_.notify_all();
}

bool ProcessLinks::leaves_before(int64_t step) {
  std::unique_lock lock(mutex_);
  check_that_we_belong();
  // Begins nothing while the ranks agree on the step; each has told by now what it has begun.
  changed_.wait(lock, [&] { return !frozen_ || leave_at_ >= 0 || coordinator_lost_; });
  if (leave_at_ < 0 && coordinator_lost_ && (frozen_ || wants_to_leave_)) leave_at_ = begun_;
  if (leave_at_ >= 0) return step >= leave_at_;
  begun_ = step + 1;
  return false;
}

void ProcessLinks::enter(const Activity& activity) {
  {
    const std::lock_guard lock(mutex_);
    check_that_we_belong();
    activity_ = activity;
    ++activities_;
    changed_.notify_all();
  }
  if (!rehearsal_.faults().empty()) {  // what is rehearsed strikes when the others know where
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return coordinator_lost_ || told_ == activities_; });
  }
  rehearsal_.at(activity.step, activity.operation);
  // Whoever was stopped for long asks whether the others still count on it before it writes anything.
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return coordinator_lost_ || Time::now() - heard_ < span(deadline_); });
  check_that_we_belong();
}

std::map<std::string, Traffic> ProcessLinks::traffic() const {
  const std::lock_guard lock(mutex_);
  return books_.traffic();
}

double ProcessLinks::waited_seconds() const {
  const std::lock_guard lock(mutex_);
  return waited_;
}

void ProcessLinks::beat() {
  const auto pause = span(std::clamp(deadline_ / 10, 0.02, 1.0));
  try {
    for (bool last = false; !last;) {
      CoordinatorClient::Beat now;
      int64_t telling = 0;
      {
        const std::lock_guard lock(mutex_);
        now = {activity_.step, begun_, activity_.operation, frozen_, wants_to_leave_};
        telling = activities_;
        last = stops_;
      }
      const CoordinatorClient::News news = heart_->beat(now);
      std::unique_lock lock(mutex_);
      take(news);
      told_ = telling;
      const auto has_news = [&] {
        const bool strikes = !rehearsal_.faults().empty() && told_ != activities_;
        return stops_ || strikes || refreshes_ || frozen_ != now.frozen || wants_to_leave_ != now.leave;
      };
      changed_.wait_for(lock, pause, has_news);
      if (refreshes_) changed_.wait_for(lock, kAgain);
    }
    heart_->bye();
  } catch (const Error&) {
    const std::lock_guard lock(mutex_);
    coordinator_lost_ = true;  // training goes on; who is alive is known from the connections
    changed_.notify_all();
  }
}

void ProcessLinks::take(const CoordinatorClient::News& news) {
  for (int other = 0; other < size_; ++other) {
    const Member& was = members_[static_cast<size_t>(other)];
    const Member& is = news.members.at(static_cast<size_t>(other));
    if (other != rank_ && is.state == Member::State::gone && was.state != is.state)
      warn("rank " + std::to_string(other) + " on " + is.host + " is gone in step " + std::to_string(is.step + 1) +
           ", " + is.operation + ": " + is.why);
  }
  members_ = news.members;
  for (int other = 0; other < size_ && watches_returns_ && !stops_; ++other) {
    const Member& member = members_[static_cast<size_t>(other)];
    if (other == rank_ || member.state != Member::State::present || member.returned <= peer(other).returned) continue;
    peer(other).returned = member.returned;
    inform("rank " + std::to_string(other) + " has been started again, on " + member.host);
    returns_.emplace_back([this, other] { connect_again(other); });
  }
  heard_ = Time::now();
  frozen_ = frozen_ || news.leave_wanted;
  if (news.leave_at >= 0) leave_at_ = news.leave_at;
  changed_.notify_all();
}

}  // namespace

std::unique_ptr<Links> join(const Joining& joining) { return std::make_unique<ProcessLinks>(joining); }

}  // namespace etude
