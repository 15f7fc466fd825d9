#include "etude/train/ema.h"

#include "etude/optim/averaging.h"
#include "etude/train/step.h"
#include "etude/train/variants.h"

namespace etude {
namespace {

constexpr const char* kName = "ema";

}  // namespace

Contract Ema::contract() const {
  return {.name = kName,
          .owns = {},
          .acts = {Event::begin, Event::follow},
          .requires_ = {},
          .refuses = {},
          .why = {},
          .gathers = false,
          .variants = {kName}};
}

void Ema::on(Event event, Step& step) {
  if (event == Event::begin) {
    for (const Parameter& p : step.all_parameters())
      step.store().tensor(variant_key(kName, p.name), begin_average(p.value));
    return;
  }
  for (const Learner* learner : step.learners()) {
    int64_t& updates = step.store().under(kName).integer("updates/" + learner->spec.name);
    if (++updates % options_.every != 0) continue;
    const double most = options_.decay.at(step.position());
    const double decay = options_.warmup ? warmed_up_decay(most, updates / options_.every - 1) : most;
    move_averages(variant_values(step.store(), kName, learner->parameters), values_of(learner->parameters), decay);
  }
}

}  // namespace etude
