// What the live line shows: rates, the latest values, and the time that is left.

#include <cmath>

#include "etude/train/loop.h"

namespace etude {

/// A training metric: its mean since the last line of metrics, else what that line says, else NaN.
double Trainer::latest(const std::string& metric) {
  if (books_.has_number(metric + "/count")) return books_.number(metric + "/sum") / books_.number(metric + "/count");
  const auto it = fit_.values.find(metric);
  return it == fit_.values.end() ? std::nan("") : it->second;
}

/// How often what has this cadence has been due, and how often it will be.
std::pair<double, double> Trainer::times_due(const Count& cadence, double steps_left) const {
  const Count every = cadence.of(stage_.stop);
  if (every.amount <= 0) return {0, 0};
  const double done = counters_[every.unit];
  const double end = done * (1 + steps_left / static_cast<double>(counters_.step()));
  const double times = std::floor(done / every.amount);
  return {times, std::floor(end / every.amount + 1e-9) - times};
}

double Trainer::seconds_left(double step_seconds) const {
  const double done = counters_[stage_.stop.unit];
  if (done <= 0) return std::nan("");
  const double steps = (stage_.stop.amount - done) / done * static_cast<double>(counters_.step());
  double seconds = std::max(0.0, steps) * step_seconds;
  for (const auto& [cadence, spent] : {std::pair{stage_.evaluate, fit_.cost.evaluate_seconds},
                                       std::pair{stage_.checkpoint.every, fit_.cost.checkpoint_seconds}})
    if (const auto [past, coming] = times_due(cadence, steps); past > 0) seconds += coming * spent / past;
  return seconds;
}

void Trainer::show_progress(double step_seconds) {
  // The first step of a process pays for allocations and lazy set-up: it says nothing about the rest. Those before a
  // resume do.
  if (steps_here_++ == 0) {
    restored_step_seconds_ = resumed_ ? fit_.cost.step_seconds - step_seconds : 0;
    steady_seconds_ = restored_step_seconds_;
    steady_steps_ = resumed_ ? static_cast<double>(counters_.step() - 1) : 0;
  } else {
    steady_seconds_ += step_seconds;
    steady_steps_ += 1;
    recent_seconds_ = recent_seconds_ > 0 ? 0.9 * recent_seconds_ + 0.1 * step_seconds : step_seconds;
  }
  double waited = 0;
  for (const auto& [name, source] : stage_.sources) waited += source->waited_seconds();
  fit_.cost.wait_seconds = waited;
  const double now = now_seconds();
  if (!around_.progress || (now - shown_at_ < 0.1 && !stage_.stop.reached(counters_))) return;
  shown_at_ = now;
  const std::string& pass = stage_.passes.front().name;
  const Step first(*this, *replicas_.front());
  Progress progress;
  progress.stage = stage_.name;
  progress.counters = counters_;
  progress.stop = stage_.stop;
  progress.loss = latest(pass + "/loss");
  progress.grad_norm = latest(pass + "/grad_norm");
  for (const auto& [name, learner] : replicas_.front()->learners)
    if (name == stage_.passes.front().learners.front())
      progress.learning_rate = learner.optimizer->learning_rate(first.position());
  progress.step_seconds = recent_seconds_ > 0 ? recent_seconds_ : step_seconds;
  progress.wait_fraction = waited / std::max(1e-9, fit_.cost.step_seconds - restored_step_seconds_);
  progress.seconds_left = seconds_left(steady_steps_ > 0 ? steady_seconds_ / steady_steps_ : step_seconds);
  progress.resumed = resumed_;
  around_.progress(progress);
}

}  // namespace etude
