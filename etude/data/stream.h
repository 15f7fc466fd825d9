#pragma once
// A pure stream with read-ahead: while a step runs, a thread prepares the batches that the next one is expected
// to take. What it gives does not depend on whether they were ready.

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
  Stream(std::shared_ptr<const Dataset> data, std::unique_ptr<Plan> plan, uint64_t seed);
  ~Stream();
  Stream(const Stream&) = delete;

  /// The batch of this point: from the read-ahead if it was expected, else made here. Errors of the data set pass on.
  Batch take(const PlanPoint& point);
  /// Points that will probably be taken, in order; replaces earlier expectations that nobody took, but keeps those
  /// that stand in this list again.
  void expect(const std::vector<PlanPoint>& points);
  /// Seconds that take() spent on making batches or waiting for them.
  double waited_seconds() const { return waited_; }

 private:
  struct Ahead {
    PlanPoint point;
    bool started = false, done = false;
    Batch batch;
    std::exception_ptr error;
  };
  Batch make(const PlanPoint& point) const;
  void work();

  std::shared_ptr<const Dataset> data_;
  std::unique_ptr<Plan> plan_;
  uint64_t seed_;
  double waited_ = 0;
  std::mutex mutex_;
  std::condition_variable wake_, ready_;
  std::deque<std::shared_ptr<Ahead>> ahead_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace etude
