#include "etude/data/stream.h"

#include <algorithm>
#include <chrono>
#include <system_error>

#include "etude/base/torch_pch.h"

namespace etude {
namespace {

constexpr int64_t kReadyBytes = int64_t{256} << 20;

int64_t bytes_of(const Batch& batch) {
  int64_t bytes = batch.id_B.defined() ? static_cast<int64_t>(batch.id_B.nbytes()) : 0;
  for (const auto& [name, value] : batch.x) bytes += static_cast<int64_t>(value.nbytes());
  for (const auto& [name, inner] : batch.part) bytes += bytes_of(inner);
  for (const auto& [name, strings] : batch.text) {
    for (const std::string& s : strings) bytes += static_cast<int64_t>(s.size());
  }
  return bytes;
}

/// Adds the time until its end, however that comes about, to a sum.
class Timed {
 public:
  explicit Timed(double& sum) : sum_(sum) {}
  ~Timed() { sum_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count(); }
  Timed(const Timed&) = delete;

 private:
  double& sum_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace

Stream::Stream(std::shared_ptr<const Dataset> data, std::unique_ptr<Plan> plan, uint64_t seed)
    : data_(std::move(data)), plan_(std::move(plan)), seed_(seed) {}

Stream::~Stream() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

Batch Stream::make(const PlanPoint& point) const {
  return data_->get(plan_->ids(point), Rng(Key{seed_, Purpose::crop, point.step, 0}));
}

Stream::Queue::iterator Stream::find(const PlanPoint& point) {
  return std::find_if(ahead_.begin(), ahead_.end(), [&](const auto& ahead) { return ahead->point == point; });
}

Batch Stream::take(const PlanPoint& point) {
  const Timed timed(waited_);
  std::shared_ptr<Ahead> found;
  bool makes_room = false;
  {
    std::unique_lock lock(mutex_);
    const auto it = find(point);
    if (it != ahead_.end()) {
      // One that the thread has not begun is made here instead of waiting for its turn.
      if ((*it)->started) found = *it;
      ahead_.erase(it);
    }
    if (found) ready_.wait(lock, [&] { return found->done; });
    makes_room = full_;
  }
  if (makes_room) wake_.notify_all();
  if (!found) {
    ++missed_count_;
    return make(point);
  }
  ++ready_count_;
  if (found->error) std::rethrow_exception(found->error);
  return std::move(found->batch);
}

void Stream::expect(const std::vector<PlanPoint>& points) {
  Queue dropped;  // is freed outside the lock
  {
    const std::lock_guard lock(mutex_);
    Queue wanted;
    for (const PlanPoint& point : points) {
      const auto it = find(point);
      if (it != ahead_.end()) {
        wanted.push_back(*it);
        ahead_.erase(it);
      } else {
        wanted.push_back(std::make_shared<Ahead>());
        wanted.back()->point = point;
      }
    }
    dropped = std::exchange(ahead_, std::move(wanted));
  }
  wake_.notify_all();
  if (!thread_.joinable() && !points.empty()) {
    try {
      thread_ = std::thread([this] { work(); });
    } catch (const std::system_error&) {
      // The system gives no more threads: every batch is made in take().
    }
  }
}

/// The first batch that nobody has begun, if there is room for it. Required: mutex_ is held.
std::shared_ptr<Stream::Ahead> Stream::next_job() {
  int64_t held = 0;
  for (const auto& ahead : ahead_) held += ahead->bytes;
  full_ = held > kReadyBytes;
  if (full_) return nullptr;
  const auto it = std::find_if(ahead_.begin(), ahead_.end(), [](const auto& ahead) { return !ahead->started; });
  return it == ahead_.end() ? nullptr : *it;
}

void Stream::work() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    const std::shared_ptr<Ahead> job = next_job();
    if (!job) {
      wake_.wait(lock);
      continue;
    }
    job->started = true;
    lock.unlock();
    Batch batch;
    std::exception_ptr error;
    try {
      batch = make(job->point);
    } catch (...) {
      error = std::current_exception();
    }
    const int64_t bytes = bytes_of(batch);
    lock.lock();
    job->batch = std::move(batch);
    job->error = error;
    job->bytes = bytes;
    job->done = true;
    ready_.notify_all();
  }
}

}  // namespace etude
