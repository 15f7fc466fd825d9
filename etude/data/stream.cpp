#include "etude/data/stream.h"

#include <algorithm>
#include <chrono>

namespace etude {
namespace {

bool same(const PlanPoint& a, const PlanPoint& b) {
  return a.step == b.step && a.position == b.position && a.replica == b.replica && a.replicas == b.replicas && a.batch == b.batch && a.seed == b.seed && a.records == b.records;
}

}  // namespace

Stream::Stream(std::shared_ptr<const Dataset> data, std::unique_ptr<Plan> plan, uint64_t seed) : data_(std::move(data)), plan_(std::move(plan)), seed_(seed), thread_([this] { work(); }) {}

Stream::~Stream() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

Batch Stream::make(const PlanPoint& point) const { return data_->get(plan_->ids(point), Rng(Key{seed_, Purpose::crop, point.step, point.replica})); }

Batch Stream::take(const PlanPoint& point) {
  const auto started = std::chrono::steady_clock::now();
  std::shared_ptr<Ahead> found;
  {
    std::unique_lock lock(mutex_);
    auto it = std::find_if(ahead_.begin(), ahead_.end(), [&](const auto& a) { return same(a->point, point); });
    if (it != ahead_.end()) {
      found = *it;
      ahead_.erase(it);
      // One that the thread has not begun is made here and now instead of waiting for its turn.
      if (found->started) ready_.wait(lock, [&] { return found->done; });
      else found = nullptr;
    }
  }
  Batch batch;
  if (found && found->error) std::rethrow_exception(found->error);
  batch = found ? std::move(found->batch) : make(point);
  waited_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  return batch;
}

void Stream::expect(const std::vector<PlanPoint>& points) {
  {
    const std::lock_guard lock(mutex_);
    std::deque<std::shared_ptr<Ahead>> next;
    for (const PlanPoint& point : points) {
      auto it = std::find_if(ahead_.begin(), ahead_.end(), [&](const auto& a) { return same(a->point, point); });
      if (it != ahead_.end()) next.push_back(*it);
      else {
        next.push_back(std::make_shared<Ahead>());
        next.back()->point = point;
      }
    }
    ahead_ = std::move(next);
  }
  wake_.notify_all();
}

void Stream::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    auto next = std::find_if(ahead_.begin(), ahead_.end(), [](const auto& a) { return !a->started; });
    if (stop_) return;
    if (next == ahead_.end()) {
      wake_.wait(lock);
      continue;
    }
    const std::shared_ptr<Ahead> job = *next;
    job->started = true;
    lock.unlock();
    try {
      job->batch = make(job->point);
    } catch (...) {
      job->error = std::current_exception();
    }
    lock.lock();
    job->done = true;
    ready_.notify_all();
  }
}

}  // namespace etude
