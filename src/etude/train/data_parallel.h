#pragma once
// Synchronous data parallel training as an owner of the slot `sync`: the ranks that share a replica compute rows of
// its batch each, and their gradients are added up (losses have global denominators). In one process the whole batch
// is there; what this technique then adds is the account of what `ranks` machines would send, which is the same
// however many there are.
//
// Optionally the redundancy between ranks is removed (ZeRO, Rajbhandari et al. 2020, sections 5.1 and 5.2): each rank
// updates whole parameters of its own, about 1/R of all, and sends their new values to the others.

#include <memory>
#include <optional>

#include "etude/base/options.h"
#include "etude/train/gradient_sync.h"
#include "etude/train/hooks.h"

namespace etude {

struct DataParallelOptions {
  int64_t ranks = 8;
  std::optional<int64_t> bucket;  ///< unset: as GradientSync's
  std::optional<std::string> shard;
  template <class V>
  void fields(V& v) {
    v("ranks", ranks, at_least(1), "machines that share the replica's batch, in the account of bytes");
    v("bucket", bucket, at_least(1),
      "bytes of gradients that leave together while backward goes on; default: 26214400");
    v("shard", shard, one_of({"optimizer", "gradients"}),
      "what each rank keeps a part of only: optimizer state (ZeRO-1), or gradients too (ZeRO-2); default: none");
  }
};

class DataParallel : public Technique {
 public:
  explicit DataParallel(DataParallelOptions options) : options_(std::move(options)) {}
  Contract contract() const override;
  void before_backward(Step& step, bool last) override;
  /// Adds gradients up over the ranks that share the replica. Counts rings of R = `ranks` machines with gradients of P
  /// bytes, on each machine:
  ///   none        all-reduce of gradients                            2 (R-1)/R P bytes in 2 messages
  ///   optimizer   the same, and all-gather of values                 3 (R-1)/R P bytes in 3 messages
  ///   gradients   reduce-scatter of gradients, all-gather of values  2 (R-1)/R P bytes in 2 messages
  /// The ranks that are really there send as many bytes, with R their number, on average over them.
  void on(Event event, Step& step) override;
  double gradient_norm(Step& step, double own) override;
  /// Largest first, each to the rank that holds least.
  Parameters kept(const Parameters& all, const RankGroup& group) override;
  void update(Step& step) override;

  /// Sees when gradients exist and buckets leave.
  void observe(std::function<void(const GradientSync::Moment&)> observer) { observer_ = std::move(observer); }

 private:
  GradientSync& sync(const RankGroup& group);
  bool shards_gradients() const { return options_.shard == "gradients"; }
  DataParallelOptions options_;
  std::map<std::string, int> owners_;  ///< places in the group, by parameter; empty without `shard`
  std::function<void(const GradientSync::Moment&)> observer_;
  std::unique_ptr<GradientSync> sync_;
  int64_t norms_ = 0;  ///< that were asked for in this pass
};

}  // namespace etude
