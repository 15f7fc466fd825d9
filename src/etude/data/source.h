#pragma once
// Sources give batches. The pure kind, a stream, is plan(i) -> ids, data set get(id), view, collate:
// batch i is a function of (data, seed, i), so a resume costs O(1) and nothing has to be stored.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "etude/base/counters.h"
#include "etude/base/rng.h"
#include "etude/data/batch.h"

namespace etude {

/// Where a data set comes from and what may be done with it.
struct DataCard {
  std::string name, licence, origin;
  std::string sha256;   ///< of the content, in hexadecimal
  int64_t bytes = 0;    ///< of the content
  int64_t records = 0;  ///< of a data set, its size(); of an entry of data_sets(), what its format calls a record
};

/// A part of a data set that is mixed with others: records first..first+records-1, and how many samples of a whole
/// come from there, in proportion to the other weights.
struct Share {
  int64_t first = 0, records = 0;
  double weight = 1;
};

/// Records by stable id, 0..size()-1. get() is pure and may be called from several threads.
class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual DataCard card() const = 0;
  virtual int64_t size() const = 0;
  /// The parts that it is mixed of, in the order of ids; none: all records come equally often.
  virtual std::vector<Share> shares() const { return {}; }
  /// The samples of these ids (0..size()-1; none is fine), collated on the CPU. `rng` is keyed by (seed, view,
  /// step) and never by a replica: random views fork it by id. May be called outside the main thread, so it
  /// keeps to plain loops: an ATen operator there would start a second team of OpenMP threads.
  virtual Batch get(const std::vector<int64_t>& ids, const Rng& rng) const = 0;
};

/// What a plan is told: all that a pure plan may depend on.
struct PlanPoint {
  uint64_t seed = 0;
  int64_t step = 0;      ///< of the stage
  int64_t position = 0;  ///< samples that all replicas together took before this step
  int replica = 0, replicas = 1;
  int64_t records = 0;  ///< of the data set
  int64_t batch = 1;    ///< samples of one replica in this step, the same on every replica
  bool operator==(const PlanPoint&) const = default;
};

/// Which samples a replica sees in a step; pure. `owner` of the slot "plan" may replace it.
class Plan {
 public:
  virtual ~Plan() = default;
  virtual std::vector<int64_t> ids(const PlanPoint& at) const = 0;
};

/// Every sample once per epoch whatever the number of replicas and however the batch size changes: sample k of
/// replica r is number p = position + r * batch + k; p counts through epochs of `records`; epoch e is the keyed
/// permutation (seed, shuffle, e), or the order of the records. An epoch may end within a batch.
/// Errors of ids(): Code::data when there are no records.
std::unique_ptr<Plan> epoch_plan(bool shuffle);
/// Replicas with different data: the records are cut into `shards` contiguous ranges of nearly equal length, and
/// replica r of R draws from ranges r*shards/R..(r+1)*shards/R-1, equally many samples of each per step. Each
/// range has epochs of its own, in which each of its records comes once. With one shard this is epoch_plan.
/// Errors of ids(): Code::config unless shards is a multiple of R, batch one of shards / R, and there are at
/// least as many records as shards.
std::unique_ptr<Plan> sharded_plan(bool shuffle, int shards);
/// Parts mixed by weight, each with epochs of its own in which each of its records comes once: sample number p is
/// the next of the part that Mixture::at(p) names. Those of a step, whoever takes them, are numbers position ..
/// position + replicas * batch - 1; if shuffled, which replica takes which is drawn anew in every step, so that none
/// meets one part more than others do. With one share this is epoch_plan, but for which replica takes which.
/// Errors of ids(): Code::data for a share without records. Of this: those of Mixture.
std::unique_ptr<Plan> mixed_plan(bool shuffle, const std::vector<Share>& shares);

}  // namespace etude
