#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>
#include <tuple>

#include "etude/comm/links.h"

namespace etude {
namespace {

using Clock = std::chrono::steady_clock;

struct Hub {
  std::mutex mutex;
  std::condition_variable changed;
  std::map<std::tuple<int, int, std::string>, std::vector<Tensor>> messages;  // (from, to, tag)
  std::map<std::pair<int, int>, int64_t> sent;                                // messages so far, (from, to)
  std::set<int> gone;
  std::map<int, Activity> activities;
  int64_t begun = 0;      // the step that any rank has begun, counted from 1
  int64_t leave_at = -1;  // steps after which all leave; -1: nobody wishes to
};

class MemoryLinks : public Links {
 public:
  MemoryLinks(std::shared_ptr<Hub> hub, int rank, int size, double deadline)
      : hub_(std::move(hub)), rank_(rank), size_(size), deadline_(deadline) {}
  ~MemoryLinks() override {
    const std::lock_guard lock(hub_->mutex);
    hub_->gone.insert(rank_);
    hub_->changed.notify_all();
  }
  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void send(int to, const std::string& tag, const std::vector<Tensor>& tensors) override {
    ETUDE_CHECK(to >= 0 && to < size_ && to != rank_, "a message to a rank that is no other one");
    std::vector<Tensor> copies;
    int64_t bytes = 0;
    for (const Tensor& t : tensors) {
      copies.push_back(t.detach().clone());
      bytes += static_cast<int64_t>(t.nbytes());
    }
    books_.sent(operation_of(tag), bytes);
    const std::lock_guard lock(hub_->mutex);
    if (hub_->gone.count(to)) return;
    hub_->messages.insert_or_assign(std::tuple(rank_, to, tag), std::move(copies));
    ++hub_->sent[{rank_, to}];
    hub_->changed.notify_all();
  }

  std::optional<std::vector<Tensor>> receive(int from, const std::string& tag) override {
    const auto silent = silent_since_.find(from);
    const bool gave_up = silent != silent_since_.end() && silent->second == sent_by(from);
    auto got = receive_within(from, tag, gave_up ? 0 : deadline_);
    silent_since_.erase(from);
    if (!got) silent_since_[from] = sent_by(from);
    return got;
  }
  std::optional<std::vector<Tensor>> receive_patiently(int from, const std::string& tag) override {
    return receive_within(from, tag, deadline_);
  }

  std::optional<std::vector<Tensor>> receive_within(int from, const std::string& tag, double seconds) {
    const auto began = Clock::now();
    const auto until = began + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
    const auto key = std::tuple(from, rank_, tag);
    std::unique_lock lock(hub_->mutex);
    hub_->changed.wait_until(lock, until, [&] { return hub_->messages.count(key) > 0 || hub_->gone.count(from) > 0; });
    waited_ += std::chrono::duration<double>(Clock::now() - began).count();
    auto node = hub_->messages.extract(key);
    if (node.empty()) return std::nullopt;
    books_.received(operation_of(tag));
    return std::move(node.mapped());
  }

  bool arrived(int from, const std::string& tag) const override {
    const std::lock_guard lock(hub_->mutex);
    return hub_->messages.count(std::tuple(from, rank_, tag)) > 0;
  }
  bool present(int rank) const override {
    const std::lock_guard lock(hub_->mutex);
    return hub_->gone.count(rank) == 0;
  }
  int returned(int) const override { return 0; }
  Error missing(int rank) const override {
    const std::lock_guard lock(hub_->mutex);
    const Activity& activity = hub_->activities[rank];
    return Error(Code::comms,
                 "rank " + std::to_string(rank) + (hub_->gone.count(rank) ? " is gone" : " does not answer") +
                     ", last heard of in step " + std::to_string(activity.step + 1) + ", " + activity.operation,
                 "rank " + std::to_string(rank_));
  }
  void ask_to_leave() override {
    const std::lock_guard lock(hub_->mutex);
    if (hub_->leave_at < 0) hub_->leave_at = hub_->begun;
  }
  bool leaves_before(int64_t step) override {
    const std::lock_guard lock(hub_->mutex);
    if (hub_->leave_at >= 0) return step >= hub_->leave_at;
    hub_->begun = std::max(hub_->begun, step + 1);
    return false;
  }
  void enter(const Activity& activity) override {
    const std::lock_guard lock(hub_->mutex);
    hub_->activities[rank_] = activity;
  }
  std::map<std::string, Traffic> traffic() const override { return books_.traffic(); }
  double waited_seconds() const override { return waited_; }

 private:
  int64_t sent_by(int from) const {
    const std::lock_guard lock(hub_->mutex);
    return hub_->sent[{from, rank_}];
  }

  std::shared_ptr<Hub> hub_;
  int rank_, size_;
  double deadline_, waited_ = 0;
  TrafficBooks books_;
  std::map<int, int64_t> silent_since_;  ///< ranks that let a deadline pass, and what they had sent by then
};

}  // namespace

std::vector<std::unique_ptr<Links>> links_in_memory(int size, double deadline_seconds) {
  ETUDE_CHECK(size >= 1, "links need a rank");
  const auto hub = std::make_shared<Hub>();
  std::vector<std::unique_ptr<Links>> all;
  for (int rank = 0; rank < size; ++rank)
    all.push_back(std::make_unique<MemoryLinks>(hub, rank, size, deadline_seconds));
  return all;
}

}  // namespace etude
