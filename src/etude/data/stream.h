#pragma once
// A pure stream with read-ahead: while a step runs, a thread prepares the batches that the next one is expected
// to take. What it gives does not depend on whether they were ready: a batch is a function of (data, plan, point).
//
// Several objects may be used at once; one object by one thread at a time. LibTorch's default generator is not
// touched.

#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "etude/data/source.h"

namespace etude {

class Stream {
 public:
  /// `seed` is that of the views; the plan's stands in each point.
  Stream(std::shared_ptr<const Dataset> data, std::unique_ptr<Plan> plan, uint64_t seed);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  /// The batch of a point, made here and now. Errors of the data set and of the plan pass through.
  Batch make(const PlanPoint& point) const;
  /// The same batch: from the read-ahead if it was expected, with an error that making it met there, else made here.
  Batch take(const PlanPoint& point);
  /// Points that will probably be taken, soonest first. Takes the place of what was expected before; batches that
  /// are ready and still expected are kept. At most 256 MiB (and one batch) are held ready.
  void expect(const std::vector<PlanPoint>& points);

  /// Seconds that take() has spent on making batches or waiting for them.
  double waited_seconds() const { return waited_; }
  /// How many batches came out of the read-ahead, and how many had to be made in take().
  int64_t ready() const { return ready_count_; }
  int64_t missed() const { return missed_count_; }

 private:
  struct Ahead {
    PlanPoint point;
    bool started = false, done = false;
    Batch batch;
    int64_t bytes = 0;
    std::exception_ptr error;
  };
  using Queue = std::deque<std::shared_ptr<Ahead>>;

  Queue::iterator find(const PlanPoint& point);
  std::shared_ptr<Ahead> next_job();
  void work();

  std::shared_ptr<const Dataset> data_;
  std::unique_ptr<Plan> plan_;
  uint64_t seed_;
  double waited_ = 0;
  int64_t ready_count_ = 0, missed_count_ = 0;

  std::mutex mutex_;  ///< guards what follows and the members of every Ahead that is not done
  std::condition_variable wake_, ready_;
  Queue ahead_;
  bool stop_ = false;
  bool full_ = false;  ///< the thread waits for room
  std::thread thread_;
};

}  // namespace etude
