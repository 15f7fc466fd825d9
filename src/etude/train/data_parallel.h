#pragma once
// Synchronous data parallel training as an owner of the slot `sync`. In one process the replica's whole batch
// is there, so that the average over ranks is the gradient already (losses have global denominators); what
// this technique adds is the account of what `ranks` machines would send.

#include "etude/base/options.h"
#include "etude/train/hooks.h"

namespace etude {

struct DataParallelOptions {
  int64_t ranks = 8;
  template <class V>
  void fields(V& v) {
    v("ranks", ranks, at_least(1), "machines that share the replica's batch");
  }
};

class DataParallel : public Technique {
 public:
  explicit DataParallel(DataParallelOptions options) : options_(options) {}
  Contract contract() const override;
  /// Counts a ring all-reduce of all gradients: every rank sends 2 (R-1)/R of them in 2 messages.
  void on(Event event, Step& step) override;

 private:
  DataParallelOptions options_;
};

}  // namespace etude
