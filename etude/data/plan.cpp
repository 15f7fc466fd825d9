#include "etude/base/error.h"
#include "etude/data/source.h"

namespace etude {
namespace {

/// Record number p of endless epochs over `records` from `first`, shuffled anew in each.
int64_t in_epochs(int64_t p, int64_t first, int64_t records, bool shuffle, uint64_t seed, int64_t shard) {
  const int64_t epoch = p / records, within = p % records;
  return first + (shuffle ? permuted(within, records, Key{seed, Purpose::shuffle, epoch, shard}) : within);
}

class EpochPlan : public Plan {
 public:
  explicit EpochPlan(bool shuffle) : shuffle_(shuffle) {}
  std::vector<int64_t> ids(const PlanPoint& at) const override {
    std::vector<int64_t> chosen;
    for (int64_t k = 0; k < at.batch; ++k) chosen.push_back(in_epochs(at.position + at.replica * at.batch + k, 0, at.records, shuffle_, at.seed, 0));
    return chosen;
  }

 private:
  bool shuffle_;
};

class ShardedPlan : public Plan {
 public:
  ShardedPlan(bool shuffle, int shards) : shuffle_(shuffle), shards_(shards) {}
  std::vector<int64_t> ids(const PlanPoint& at) const override {
    const int64_t own = shards_ / at.replicas;
    if (shards_ % at.replicas != 0 || at.batch % own != 0 || at.records < shards_)
      throw Error(Code::config, std::to_string(shards_) + " shards do not fit " + std::to_string(at.replicas) + " replicas with batches of " + std::to_string(at.batch) + " from " + std::to_string(at.records) + " records", "source",
                  "shards must be a multiple of replicas, batch a multiple of shards / replicas, and every shard needs a record");
    const int64_t each = at.batch / own;
    const int64_t taken = at.position / shards_;   // of every shard, before this step
    std::vector<int64_t> chosen;
    for (int64_t s = at.replica * own; s < (at.replica + 1) * own; ++s) {
      const int64_t first = s * at.records / shards_, last = (s + 1) * at.records / shards_;
      for (int64_t k = 0; k < each; ++k) chosen.push_back(in_epochs(taken + k, first, last - first, shuffle_, at.seed, s + 1));
    }
    return chosen;
  }

 private:
  bool shuffle_;
  int64_t shards_;
};

}  // namespace

std::unique_ptr<Plan> epoch_plan(bool shuffle) { return std::make_unique<EpochPlan>(shuffle); }
std::unique_ptr<Plan> sharded_plan(bool shuffle, int shards) { return std::make_unique<ShardedPlan>(shuffle, shards); }

}  // namespace etude
