#pragma once
// What a hook sees of a step: one replica's nets, learners, state, randomness and books.

#include "etude/base/torch_pch.h"

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "etude/base/counters.h"
#include "etude/base/error.h"
#include "etude/base/schedule.h"
#include "etude/comm/layout.h"
#include "etude/comm/rank_group.h"
#include "etude/nn/net.h"
#include "etude/optim/optimizer.h"
#include "etude/train/hooks.h"
#include "etude/train/store.h"

namespace etude {

/// A set of parameters with one optimizer, as a recipe declares it.
struct LearnerSpec {
  std::string name = "model";
  std::vector<std::string> params = {"model"};  ///< nets, prefixes "net.layer.0", with tags "net:adapter"
  Part optimizer;                               ///< kind = adam, lr = ...
  Schedule clip = 0.0;                          ///< global gradient norm; 0: no clipping
  std::string on_nonfinite = "stop";            ///< stop | skip_step
  bool operator==(const LearnerSpec&) const = default;
  template <class V>
  void fields(V& v) {
    v("name", name, "how passes call it");
    v("params", params, "nets, or beginnings of parameter names; NET:TAG: those with a tag, such as model:adapter");
    v("optimizer", optimizer, "kind and options of the optimizer");
    v("clip", clip, at_least(0), "largest global gradient norm; 0: unlimited");
    v("on_nonfinite", on_nonfinite, one_of({"stop", "skip_step"}), "what to do when a gradient is not finite");
  }
};

/// A learner of one replica.
struct Learner {
  LearnerSpec spec;
  Parameters parameters;
  std::set<std::string> nets;  ///< that these are parameters of
  std::unique_ptr<Optimizer> optimizer;
  double gradient_scale = 1;  ///< by which the frame's update multiplies gradients: clipping that was left to it
};

/// What the loss of a whole batch is divided by; goes along with its parts, wherever they are computed.
struct Denominators {
  Norms norms;          ///< as Objective::norms() counts them
  int64_t samples = 0;  ///< terms of layers are weighed by a part's share of them
};

/// A logical copy of the model with its own learners and state.
struct Replica {
  int index = 0;
  std::map<std::string, std::shared_ptr<Net>> nets;
  std::map<std::string, Learner> learners;
  Store store;
  Store books;  ///< sums and counts of what was logged since the last line of metrics
};

struct PassState;  // trainer.cpp
class Trainer;

class Step {
 public:
  Step(Trainer& trainer, Replica& replica);

  int64_t number() const;            ///< steps done before this one: 0 in the first
  const Counters& counters() const;  ///< before this step, the same for every replica
  Position position() const;         ///< for schedules
  uint64_t seed() const;
  int replica() const { return replica_.index; }
  int replicas() const;
  const std::string& pass() const;  ///< name of the current pass

  Net& net(const std::string& name) const;
  template <class T>
  T& net(const std::string& name) const {
    T* typed = dynamic_cast<T*>(&net(name));
    if (!typed)
      throw Error(Code::config, "net '" + name + "' is not of the kind that is needed here", "net." + name,
                  "choose another kind for this net");
    return *typed;
  }
  Learner& learner(const std::string& name) const;
  /// Learners of the current pass.
  const std::vector<Learner*>& learners() const { return learners_; }
  /// Parameters of the current pass's learners, in order.
  std::vector<Parameter> parameters() const;
  /// Every trained parameter of this replica: all learners, in the order of their declaration.
  std::vector<Parameter> all_parameters() const;

  /// State of this replica, and state that the whole stage shares (an environment, a tokenizer).
  Store& store() const { return replica_.store; }
  Store& shared() const;
  /// The same step as another replica that this rank hosts sees it; for what acts once for all of them.
  Step other(int replica) const;
  /// Replicas first .. last-1 that this rank hosts: all of them in one process.
  std::pair<int, int> hosted() const;

  /// The other ranks; null in one process.
  Links* links() const;
  const Layout& layout() const;
  /// The ranks that share this replica and cut its batch among themselves; null unless there are several.
  RankGroup* group() const;

  /// A stream that depends on (seed, purpose, step, item) and on the replica only when asked to.
  Rng rng(Purpose purpose, int64_t item = 0) const { return Rng(Key{seed(), purpose, number(), item}); }
  Ctx context(const Batch& batch, bool train = true) const;

  /// The global denominator of that name, as Objective::norms() counts it: over all micro-batches of compute(), and
  /// outside of it over the batch that loss() was called with first; at least 1 item if nothing was counted.
  double norm(const std::string& name) const;
  /// Records a value of this step: the mean over replicas becomes a metric under this name.
  void log(const std::string& name, double value);
  void count(Unit unit, double amount);

  /// Forward and backward of the current pass over `batch` (cut into micro-batches), into .grad of its
  /// learners' parameters. Returns the loss. For owners of the executor slot.
  double compute(const Batch& batch);
  /// The current pass's objective under a context of the caller's, without backward, with the terms of layers
  /// (ctx.aux) and of techniques. A layer normalises its terms over what it was given; here they are weighed by its
  /// share of the samples, so that several micro-batches give their mean.
  Terms loss(const Batch& batch, Ctx& ctx);
  void zero_gradients();

  /// What compute() is made of, for owners of the executor slot that cut a pass up and run the backward themselves:
  /// denominators() of the batch that this replica drew, loss_of_part() for each part, finish() at the end.
  Denominators denominators(const Batch& whole);
  /// The loss of a part of a batch, of this or of another replica, with `instead` in the place of this replica's net of
  /// that name. Its terms are added to `values`. One that is not finite has the same consequences as in compute().
  Tensor loss_of_part(const Batch& part, const Denominators& of_whole, const std::string& net,
                      std::shared_ptr<Net> instead, std::map<std::string, double>& values);
  /// Logs the values, counts the FLOPs of `whole`, and makes gradients zero where the update is skipped.
  void finish(const Batch& whole, const std::map<std::string, double>& values);

  /// No update of this pass: set by an owner that wants none, and by the frame for on_nonfinite = "skip_step". All
  /// events still come; after a loss that is not finite they see gradients of zero.
  bool skip_update = false;
  Batch batch;  ///< what the current pass drew; hooks at Event::batch may change it

 private:
  friend class Trainer;
  Trainer& trainer_;
  Replica& replica_;
  std::vector<Learner*> learners_;
  void count_norms(const std::vector<Batch>& micro_batches);

  const struct Pass* pass_ = nullptr;
  Norms norms_;
  std::map<std::string, Batch> drawn_;                   ///< the newest batch of this step, by source
  int64_t samples_ = 0;                                  ///< that norms_ were counted over
  std::map<std::string, std::shared_ptr<Net>> instead_;  ///< of the replica's nets
};

}  // namespace etude
