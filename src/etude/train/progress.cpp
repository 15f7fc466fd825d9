// What the live line shows: rates, the latest values, and the time that is left.

#include <cmath>

#include "etude/train/loop.h"
#include "etude/train/progress.h"

namespace etude {

/// A training metric: its mean since the last line of metrics, else what that line says, else NaN.
double Trainer::latest(const std::string& metric) {
  double sum = 0, count = 0;
  for (const auto& replica : replicas_) {
    Store& books = replica->books;
    if (!books.has_number(metric + "/count")) continue;
    sum += books.number(metric + "/sum");
    if (books.has_number(metric + "/share")) sum += books.number(metric + "/share");
    count += books.number(metric + "/count");
  }
  if (count > 0) return sum / count;
  const auto it = fit_.values.find(metric);
  return it == fit_.values.end() ? std::nan("") : it->second;
}

namespace {

/// How often what has this cadence has been due, and how often it will be.
std::pair<double, double> times_due(const Count& every, const Counters& done, double steps_left) {
  if (every.amount <= 0) return {0, 0};
  const double now = done[every.unit];
  const double end = now * (1 + steps_left / static_cast<double>(done.step()));
  const double times = std::floor(now / every.amount);
  return {times, std::floor(end / every.amount + 1e-9) - times};
}

}  // namespace

double seconds_left(const Pace& pace) {
  const double done = pace.done[pace.stop.unit];
  if (done <= 0) return std::nan("");
  const double steps = std::max(0.0, (pace.stop.amount - done) / done * static_cast<double>(pace.done.step()));
  double seconds = steps * pace.step_seconds;
  for (const auto& [cadence, spent] : pace.besides)
    if (const auto [past, coming] = times_due(cadence.of(pace.stop), pace.done, steps); past > 0)
      seconds += coming * spent / past;
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
  progress.seconds_left =
      seconds_left({.done = counters_,
                    .stop = stage_.stop,
                    .step_seconds = steady_steps_ > 0 ? steady_seconds_ / steady_steps_ : step_seconds,
                    .besides = {{stage_.evaluate, fit_.cost.evaluate_seconds},
                                {stage_.checkpoint.every, fit_.cost.checkpoint_seconds}}});
  progress.resumed = resumed_;
  progress.leads = !links_ || first_in_line() == rank();
  around_.progress(progress);
}

}  // namespace etude
