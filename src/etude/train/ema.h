#pragma once
// An exponential moving average of the weights (Polyak and Juditsky 1992, with the forgetting that became usual): after
// each update of a learner, one that was skipped for a gradient that isn't finite included
//
//   average <- d * average + (1 - d) * weights,   from average = the weights before step one
//
// with d the decay, or with `warmup` min(decay, (1 + n) / (10 + n)) where n averagings were done before
// (warmed_up_decay() in etude/optim/averaging.h). Nothing that is trained sees it. Each replica averages its own
// weights; what an exchange changes is in them from the next update on. Evaluations show it as "ema/valid/loss", and it
// is published as the net "model@ema".

#include "etude/base/options.h"
#include "etude/train/hooks.h"

namespace etude {

struct EmaOptions {
  Schedule decay = 0.999;
  bool warmup = true;
  int64_t every = 1;
  template <class V>
  void fields(V& v) {
    v("decay", decay, half_open(0, 1), "share of the average that stays at an averaging");
    v("warmup", warmup, "no more than (1 + n) / (10 + n) of it after n averagings, so that the beginning is forgotten");
    v("every", every, at_least(1), "updates between two averagings");
  }
};

class Ema : public Technique {
 public:
  explicit Ema(EmaOptions options) : options_(std::move(options)) {}
  Contract contract() const override;
  void on(Event event, Step& step) override;

 private:
  EmaOptions options_;
};

}  // namespace etude
