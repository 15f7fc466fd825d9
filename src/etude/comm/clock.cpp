#include "etude/comm/clock.h"

#include "etude/base/torch_pch.h"

#include <algorithm>
#include <cmath>

#include "etude/base/error.h"
#include "etude/base/rng.h"

namespace etude {

class Clock::View : public Peers {
 public:
  View(Clock& clock, int me, int size) : clock_(clock), me_(me), size_(size) {}
  int me() const override { return me_; }
  int size() const override { return size_; }

  void send(int to, const std::string& tag, const std::vector<Tensor>& tensors) override {
    ETUDE_CHECK(to >= 0 && to < size_, "a message to a replica that does not exist");
    Message message{{}, now};
    int64_t bytes = 0;
    for (const Tensor& t : tensors) {
      message.tensors.push_back(t.detach().clone());
      bytes += static_cast<int64_t>(t.nbytes());
    }
    if (to != me_) {
      if (lost) return;
      link_free_ = std::max(now, link_free_) + static_cast<double>(bytes) / clock_.link_.bandwidth;
      message.arrival = link_free_ + clock_.latency(me_, to, tag);
      traffic_.bytes += bytes;
      traffic_.messages += 1;
      sent_ = true;
    }
    const bool fresh = clock_.messages_.emplace(std::tuple(me_, to, tag), std::move(message)).second;
    ETUDE_CHECK(fresh, "two messages under one tag in one round: " + tag);
  }

  std::vector<Tensor> receive(int from, const std::string& tag) override {
    auto node = clock_.messages_.extract(std::tuple(from, me_, tag));
    if (node.empty()) {
      wait_until(now + clock_.link_.deadline);
      return {};
    }
    wait_until(node.mapped().arrival);
    return std::move(node.mapped().tensors);
  }

  Traffic traffic() const override { return traffic_; }

  void wait_until(double time) {
    if (time <= now) return;
    idle += time - now;
    now = time;
  }
  void end_round() {
    if (sent_) traffic_.rounds += 1;
    sent_ = false;
  }

  double now = 0, idle = 0;
  bool lost = false;

 private:
  Clock& clock_;
  int me_, size_;
  double link_free_ = 0;
  Traffic traffic_;
  bool sent_ = false;
};

Clock::Clock(int replicas, const Link& link, uint64_t seed) : link_(link), seed_(seed) {
  ETUDE_CHECK(replicas >= 1, "a network needs a replica");
  ETUDE_CHECK(link.median >= 0 && link.spread >= 0 && link.bandwidth > 0 && link.deadline >= 0,
              "a link that cannot be");
  for (int r = 0; r < replicas; ++r) views_.push_back(std::make_unique<View>(*this, r, replicas));
}
Clock::~Clock() = default;

Peers& Clock::peers(int replica) { return *views_.at(static_cast<size_t>(replica)); }
void Clock::compute(int replica, double seconds) { views_.at(static_cast<size_t>(replica))->now += seconds; }
void Clock::lose(int replica) { views_.at(static_cast<size_t>(replica))->lost = true; }
double Clock::now(int replica) const { return views_.at(static_cast<size_t>(replica))->now; }
double Clock::idle(int replica) const { return views_.at(static_cast<size_t>(replica))->idle; }

double Clock::latest() const {
  double latest = 0;
  for (const auto& view : views_) latest = std::max(latest, view->now);
  return latest;
}

void Clock::end_round() {
  for (auto& view : views_) view->end_round();
  messages_.clear();
  ++round_;
}

double Clock::latency(int from, int to, const std::string& tag) const {
  Rng rng = Rng(Key{seed_, Purpose::latency, round_, (static_cast<int64_t>(from) << 32) | to}).fork(tag);
  return link_.median * std::exp(link_.spread * rng.normal());
}

double pair_exchange_seconds(double spread, int64_t draws, uint64_t seed) {
  double total = 0;
  for (int64_t i = 0; i < draws; ++i) {
    Rng rng(Key{seed, Purpose::latency, i, 2});
    const double there = std::exp(spread * rng.normal()), back = std::exp(spread * rng.normal());
    total += std::max(there, back);
  }
  return total / static_cast<double>(draws);
}

double tree_all_reduce_seconds(int replicas, double spread, int64_t draws, uint64_t seed) {
  ETUDE_CHECK(replicas >= 2 && (replicas & (replicas - 1)) == 0, "the tree needs a power of two");
  const auto N = static_cast<size_t>(replicas);
  double total = 0;
  for (int64_t i = 0; i < draws; ++i) {
    Rng rng(Key{seed, Purpose::latency, i, replicas});
    std::vector<double> clock(N, 0.0);
    const auto level = [&](size_t distance) {
      for (size_t r = 0; r < N; r += 2 * distance)
        clock[r] = clock[r + distance] = std::max(clock[r], clock[r + distance]) + std::exp(spread * rng.normal());
    };
    for (size_t d = 1; d < N; d *= 2) level(d);
    for (size_t d = N / 2; d >= 1; d /= 2) level(d);
    total += *std::max_element(clock.begin(), clock.end());
  }
  return total / static_cast<double>(draws);
}

}  // namespace etude
