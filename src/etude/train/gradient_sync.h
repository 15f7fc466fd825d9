#pragma once
// Gradients of the ranks that share a replica, added up in buckets that leave while backward still runs (Li et al.
// 2020, "PyTorch Distributed", section 3.2). A loss has a global denominator and each rank computes its rows of it, so
// that the sum over ranks is the gradient of the whole batch; it has the same bits on every rank.

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "etude/comm/collectives.h"
#include "etude/optim/optimizer.h"

namespace etude {

class Step;

class GradientSync {
 public:
  /// What happened, for tests and traces.
  struct Moment {
    enum class Kind { gradient, departure } kind;
    size_t index;  ///< of the parameter whose gradient is whole on this rank, or of the bucket that left
  };
  struct Options {
    /// Bytes of gradients after which a bucket is full; the first, which nothing is hidden behind, is smaller.
    int64_t bucket = 25 << 20, first_bucket = 1 << 20;
    /// Places of the ranks that alone need a parameter's gradient, by its name; empty: all need all.
    std::map<std::string, int> owners = {};
    std::function<void(const Moment&)> observer = {};
  };
  /// Required: the group outlives it.
  GradientSync(const RankGroup& group, Options options);
  ~GradientSync();
  GradientSync(const GradientSync&) = delete;

  /// Before each backward of a pass; after the last one the gradients are whole on this rank, and buckets leave as soon
  /// as they are. May be left out altogether: everything leaves in finish() then.
  void before_backward(const Step& step, bool last);
  /// Once in each pass on every rank, with or without a backward: .grad of the pass's parameters is the sum over ranks.
  /// A gradient that some ranks don't have counts as 0 there; one that no rank has stays undefined. With owners,
  /// .grad is undefined but at its owner. Where an update is skipped on some rank it is on all, and where only some
  /// skipped it, gradients are 0. Each rank sends 2 (n-1)/n of its gradients' bytes under "gradients"; with owners
  /// (n-1)/n, on average over ranks; and a byte for each parameter to each other rank under "presence".
  /// Errors: links.missing(rank).
  void finish(Step& step);

  /// The same without a loop: the pass by its parameters, in their order of declaration, and by a place that all ranks
  /// call the same. finish() returns whether some rank skips.
  void begin(const Parameters& parameters, const std::string& place);
  bool finish(const Parameters& parameters, const std::string& place, bool skip);

  const RankGroup& group() const { return group_; }
  /// What tags of the last pass end in.
  const std::string& place() const { return place_; }
  /// Bytes of all gradients of the last pass, of one rank.
  int64_t bytes() const { return bytes_; }

 private:
  struct Hook;
  struct Bucket {
    std::vector<size_t> members;  ///< indices of parameters
    size_t waits_for = 0;         ///< members whose gradients are not whole yet
    int64_t bytes = 0;
    std::variant<std::monostate, AllReduce, ReduceScatter> sum = {};
  };
  struct Pass {
    Parameters parameters;
    std::vector<Bucket> buckets = {};
    std::map<const void*, size_t> index = {};  ///< of parameters
    std::vector<size_t> bucket_of = {};        ///< of parameters
    std::vector<bool> whole = {}, defined = {};
    size_t left = 0;  ///< buckets that have
  };
  void plan(const Parameters& parameters);
  void listen(bool on);
  void gradient_is_whole(const Tensor& parameter);
  void leave(size_t bucket);
  void take(Bucket& bucket, const std::vector<bool>& present);
  int owner(const Parameter& p) const;
  std::string place_of(const Step& step) const;

  const RankGroup& group_;
  Options options_;
  std::optional<Pass> pass_;
  std::string place_;
  int64_t bytes_ = 0, number_ = 0;  ///< number_: of the step, for errors
  int64_t step_ = -1, passes_ = 0;  ///< passes that were finished in this step
};

}  // namespace etude
