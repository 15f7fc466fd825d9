#include "etude/comm/coordinator.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <list>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "etude/base/error.h"
#include "etude/base/text.h"
#include "etude/comm/wire.h"

namespace etude {
namespace {

using Time = std::chrono::steady_clock;
using nlohmann::json;

constexpr int kLookMilliseconds = 50;
/// Strangers that may be greeted at once; more than these wait in the kernel's queue.
constexpr size_t kMostConnections = 4096;

}  // namespace

class Coordinator::Inside {
 public:
  Inside(int ranks, std::string secret, const std::string& address, double deadline, int port)
      : listener_(address, port), secret_(std::move(secret)), deadline_(deadline), ranks_(static_cast<size_t>(ranks)) {
    acceptor_ = std::thread([this] { accept(); });
  }

  ~Inside() {
    stop_ = true;
    acceptor_.join();
    {
      const std::lock_guard lock(mutex_);
      for (Connection& connection : connections_) connection.wire->hang_up();
      changed_.notify_all();
    }
    for (Connection& connection : connections_) connection.thread.join();
  }

  int port() const { return listener_.port(); }

  void left(int rank, const std::string& why) {
    const std::lock_guard lock(mutex_);
    Rank& known = ranks_.at(static_cast<size_t>(rank));
    if (known.member.state == Member::State::left) return;
    known.member.state = Member::State::gone;
    known.member.why = why;
    agree();
  }

  void ask_to_leave() {
    const std::lock_guard lock(mutex_);
    leave_wanted_ = true;
    agree();
  }

 private:
  struct Rank {
    Member member;
    Time::time_point heard = {};
    int64_t begun = 0;
    bool frozen = false;
  };
  /// Whose heart beats on a connection.
  struct Heart {
    int rank = -1, returned = 0;
  };
  struct Connection {
    std::unique_ptr<Wire> wire;
    std::thread thread;
    bool over = false;
  };

  void accept() {
    while (!stop_) {
      std::unique_ptr<Wire> wire = listener_.accept(kLookMilliseconds);
      const std::lock_guard lock(mutex_);
      look_for_silent();
      for (auto it = connections_.begin(); it != connections_.end();) {
        if (!it->over) {
          ++it;
          continue;
        }
        it->thread.join();
        it = connections_.erase(it);
      }
      if (!wire || connections_.size() >= kMostConnections) continue;
      Connection& connection = connections_.emplace_back();
      connection.wire = std::move(wire);
      connection.thread = std::thread([this, &connection] { serve(connection); });
    }
  }

  void serve(Connection& connection) {
    Heart heart;
    if (connection.wire->greet(secret_))
      for (std::optional<json> request; (request = connection.wire->receive());)
        if (const std::optional<json> reply = answer(*request, heart); !reply || !connection.wire->send(*reply)) break;
    const std::lock_guard lock(mutex_);
    if (heart.rank >= 0) {
      Member& member = ranks_[static_cast<size_t>(heart.rank)].member;
      if (member.state == Member::State::present && member.returned == heart.returned) {
        member.state = Member::State::gone;
        member.why = "its process has ended";
        agree();
      }
    }
    connection.over = true;
  }

  /// Nothing for what is no request of ours.
  std::optional<json> answer(const json& request, Heart& heart) {
    try {
      const std::string what = request.at("do");
      if (what == "join") return join(request, heart);
      if (what == "beat" && heart.rank >= 0) return beat(request, heart);
      if (what == "bye" && heart.rank >= 0) return bye(heart);
      return answer_about_words(what, request);
    } catch (const json::exception&) {
      return std::nullopt;
    }
  }

  json join(const json& request, Heart& heart) {
    const std::lock_guard lock(mutex_);
    const int wanted = request.at("rank"), size = request.at("size");
    if (size != static_cast<int>(ranks_.size()) || wanted < 0 || wanted >= size)
      return {{"refused", "rank " + std::to_string(wanted) + " of " + std::to_string(size) + " is none of " +
                              std::to_string(ranks_.size())}};
    Rank& known = ranks_[static_cast<size_t>(wanted)];
    if (known.member.state == Member::State::present || known.member.state == Member::State::left)
      return {{"refused", "there is a rank " + std::to_string(wanted) + " already, on " + known.member.host}};
    const int returned = known.member.state == Member::State::gone ? known.member.returned + 1 : 0;
    known = Rank();
    known.member.state = Member::State::present;
    known.member.returned = returned;
    known.member.host = request.at("host");
    known.member.operation = "rendezvous";
    known.heard = Time::now();
    heart = {wanted, returned};
    return {{"returned", returned}};
  }

  json beat(const json& request, const Heart& heart) {
    const std::lock_guard lock(mutex_);
    Rank& own = ranks_[static_cast<size_t>(heart.rank)];
    look_for_silent();
    const bool replaced = own.member.returned != heart.returned;
    if (own.member.state == Member::State::present && !replaced) {
      own.heard = Time::now();
      own.member.step = request.at("step");
      own.member.operation = request.at("operation");
      own.begun = request.at("begun");
      own.frozen = request.at("frozen");
      leave_wanted_ = leave_wanted_ || request.at("leave").get<bool>();
      agree();
    }
    json members = json::array();
    for (const Rank& one : ranks_)
      members.push_back({{"state", static_cast<int>(one.member.state)},
                         {"step", one.member.step},
                         {"returned", one.member.returned},
                         {"operation", one.member.operation},
                         {"host", one.member.host},
                         {"why", one.member.why}});
    if (replaced) {
      members[static_cast<size_t>(heart.rank)]["state"] = static_cast<int>(Member::State::gone);
      members[static_cast<size_t>(heart.rank)]["why"] = "silent for too long, and started again";
    }
    return {{"members", members}, {"leave_wanted", leave_wanted_}, {"leave_at", leave_at_}};
  }

  json bye(const Heart& heart) {
    const std::lock_guard lock(mutex_);
    Member& member = ranks_[static_cast<size_t>(heart.rank)].member;
    if (member.state == Member::State::present && member.returned == heart.returned) member.state = Member::State::left;
    agree();
    return {{"ok", true}};
  }

  json answer_about_words(const std::string& what, const json& request) {
    std::unique_lock lock(mutex_);
    if (what == "set") {
      words_[request.at("key")] = request.at("value");
      changed_.notify_all();
      return {{"ok", true}};
    }
    if (what == "add") {
      std::string& value = words_[request.at("key")];
      value = std::to_string((value.empty() ? 0 : std::stoll(value)) + request.at("value").get<int64_t>());
      changed_.notify_all();
      return {{"value", std::stoll(value)}};
    }
    if (what == "erase") return {{"value", words_.erase(request.at("key")) > 0}};
    if (what == "count") return {{"value", words_.size()}};
    if (what != "wait") return {{"refused", "there is no request '" + what + "'"}};
    const auto keys = request.at("keys").get<std::vector<std::string>>();
    const auto there = [&] {
      return stop_ || std::all_of(keys.begin(), keys.end(), [&](const auto& key) { return words_.count(key) > 0; });
    };
    const bool found =
        changed_.wait_for(lock, std::chrono::milliseconds(request.at("milliseconds").get<int64_t>()), there);
    json values = json::array();
    if (found && !stop_)
      for (const std::string& key : keys) values.push_back(words_[key]);
    return {{"found", found && !stop_}, {"values", values}};
  }

  void look_for_silent() {
    for (Rank& rank : ranks_) {
      const double silent = std::chrono::duration<double>(Time::now() - rank.heard).count();
      if (rank.member.state != Member::State::present || silent <= deadline_) continue;
      rank.member.state = Member::State::gone;
      rank.member.why = "silent for longer than the deadline of " + rounded_number(deadline_) + " s";
      agree();
    }
  }

  /// Once every rank has said which step it has begun, and begins no other: all leave after the last of these.
  void agree() {
    if (!leave_wanted_ || leave_at_ >= 0) return;
    int64_t last = -1;
    for (const Rank& rank : ranks_) {
      if (rank.member.state == Member::State::awaited) return;
      if (rank.member.state != Member::State::present) continue;
      if (!rank.frozen) return;
      last = std::max(last, rank.begun);
    }
    leave_at_ = last;
  }

  Listener listener_;
  const std::string secret_;
  const double deadline_;
  std::atomic<bool> stop_ = false;
  std::thread acceptor_;

  std::mutex mutex_;  ///< guards what follows
  std::condition_variable changed_;
  std::vector<Rank> ranks_;
  std::map<std::string, std::string> words_;
  std::list<Connection> connections_;
  bool leave_wanted_ = false;
  int64_t leave_at_ = -1;
};

Coordinator::Coordinator(int ranks, const std::string& secret, const std::string& address, double deadline, int port)
    : inside_(std::make_unique<Inside>(ranks, secret, address, deadline, port)) {}
Coordinator::~Coordinator() = default;
int Coordinator::port() const { return inside_->port(); }
void Coordinator::left(int rank, const std::string& why) { inside_->left(rank, why); }
void Coordinator::ask_to_leave() { inside_->ask_to_leave(); }

}  // namespace etude
