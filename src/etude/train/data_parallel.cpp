#include "etude/train/data_parallel.h"

#include "etude/train/step.h"

namespace etude {

Contract DataParallel::contract() const {
  return {
      .name = "data_parallel", .owns = {Slot::sync}, .acts = {Event::sync}, .requires_ = {}, .refuses = {}, .why = {}};
}

void DataParallel::on(Event, Step& step) {
  double bytes = 0;
  for (const Parameter& p : step.parameters())
    if (p.value.grad().defined()) bytes += static_cast<double>(p.value.grad().nbytes());
  const double ranks = static_cast<double>(options_.ranks);
  step.count(Unit::bytes, 2 * (ranks - 1) * bytes);
  step.count(Unit::messages, ranks * 2 * (ranks - 1));
  step.count(Unit::rounds, 2 * (ranks - 1) / step.replicas());  // replicas synchronise side by side
}

}  // namespace etude
