#include "etude/base/error.h"
#include "etude/data/mixture.h"
#include "etude/data/source.h"

namespace etude {
namespace {

/// Record number p of endless epochs over `records` records from `first` on, shuffled anew in each.
int64_t in_epochs(int64_t p, int64_t first, int64_t records, bool shuffle, uint64_t seed, int64_t shard) {
  const int64_t epoch = p / records, within = p % records;
  return first + (shuffle ? permuted(within, records, Key{seed, Purpose::shuffle, epoch, shard}) : within);
}

void check(const PlanPoint& at) {
  ETUDE_CHECK(at.replicas >= 1 && at.replica >= 0 && at.replica < at.replicas, "no such replica");
  ETUDE_CHECK(at.position >= 0 && at.batch >= 0, "a plan counts from 0");
  if (at.records < 1) throw Error(Code::data, "the data set has no records", "data", "add data");
}

class EpochPlan : public Plan {
 public:
  explicit EpochPlan(bool shuffle) : shuffle_(shuffle) {}

  std::vector<int64_t> ids(const PlanPoint& at) const override {
    check(at);
    std::vector<int64_t> chosen;
    chosen.reserve(static_cast<size_t>(at.batch));
    const int64_t first = at.position + at.replica * at.batch;
    for (int64_t k = 0; k < at.batch; ++k) {
      chosen.push_back(in_epochs(first + k, 0, at.records, shuffle_, at.seed, 0));
    }
    return chosen;
  }

 private:
  bool shuffle_;
};

class ShardedPlan : public Plan {
 public:
  ShardedPlan(bool shuffle, int shards) : shuffle_(shuffle), shards_(shards) {
    ETUDE_CHECK(shards >= 1, "there is at least one shard");
  }

  std::vector<int64_t> ids(const PlanPoint& at) const override {
    check(at);
    const int64_t own = shards_ / at.replicas;
    refuse_if(shards_ % at.replicas != 0, at, "shards must be a multiple of replicas");
    refuse_if(at.batch % own != 0, at, "the batch must be a multiple of shards / replicas");
    refuse_if(at.records < shards_, at, "every shard needs a record");
    // As every step takes equally many from each shard, this is what each shard has given so far.
    const int64_t taken = at.position / shards_;
    refuse_if(at.position % shards_ != 0, at, "every step must take equally many samples from each shard");
    const int64_t each = at.batch / own;
    std::vector<int64_t> chosen;
    chosen.reserve(static_cast<size_t>(at.batch));
    for (int64_t s = at.replica * own; s < (at.replica + 1) * own; ++s) {
      const int64_t first = s * at.records / shards_, end = (s + 1) * at.records / shards_;
      for (int64_t k = 0; k < each; ++k) {
        // Salt 0 belongs to epoch_plan: the same for one shard, others for several.
        const int64_t salt = shards_ == 1 ? 0 : s + 1;
        chosen.push_back(in_epochs(taken + k, first, end - first, shuffle_, at.seed, salt));
      }
    }
    return chosen;
  }

 private:
  void refuse_if(bool bad, const PlanPoint& at, const char* rule) const {
    if (!bad) return;
    throw Error(Code::config,
                std::to_string(shards_) + " shards don't fit " + std::to_string(at.replicas) +
                    " replicas with batches of " + std::to_string(at.batch) + " out of " + std::to_string(at.records) +
                    " records",
                "source", rule);
  }

  bool shuffle_;
  int64_t shards_;
};

std::vector<double> weights_of(const std::vector<Share>& shares) {
  std::vector<double> weights;
  for (const Share& share : shares) weights.push_back(share.weight);
  return weights;
}

class MixedPlan : public Plan {
 public:
  MixedPlan(bool shuffle, std::vector<Share> shares)
      : shuffle_(shuffle), shares_(std::move(shares)), mixture_(weights_of(shares_)) {}

  std::vector<int64_t> ids(const PlanPoint& at) const override {
    check(at);
    for (const Share& share : shares_) {
      if (share.records < 1) throw Error(Code::data, "a part of the mixture has no records", "data.mix", "add data");
    }
    static const Purpose kTurns = purpose_of("turns of a mixture");
    const int64_t all = at.batch * at.replicas;
    std::vector<int64_t> chosen;
    chosen.reserve(static_cast<size_t>(at.batch));
    for (int64_t k = 0; k < at.batch; ++k) {
      const int64_t turn = at.replica * at.batch + k;
      const int64_t p = at.position + (shuffle_ ? permuted(turn, all, Key{at.seed, kTurns, at.position}) : turn);
      const Mixture::Place place = mixture_.at(p);
      const Share& share = shares_[place.source];
      const auto salt = static_cast<int64_t>(shares_.size() == 1 ? 0 : place.source + 1);
      chosen.push_back(in_epochs(place.number, share.first, share.records, shuffle_, at.seed, salt));
    }
    return chosen;
  }

 private:
  bool shuffle_;
  std::vector<Share> shares_;
  Mixture mixture_;
};

}  // namespace

std::unique_ptr<Plan> epoch_plan(bool shuffle) { return std::make_unique<EpochPlan>(shuffle); }

std::unique_ptr<Plan> sharded_plan(bool shuffle, int shards) { return std::make_unique<ShardedPlan>(shuffle, shards); }

std::unique_ptr<Plan> mixed_plan(bool shuffle, const std::vector<Share>& shares) {
  return std::make_unique<MixedPlan>(shuffle, shares);
}

}  // namespace etude
