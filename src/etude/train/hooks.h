#pragma once
// The loop's events and what may be plugged into them. The picture of the loop is docs/loop.md; this is
// its order:
//
//   begin                        once per stage and replica, after weights were moved in and before step one;
//                                not again at a resume
//   early                        what may leave before the step is computed: post_early for all
//   per step, per pass that is due, for all replicas side by side:
//     batch                      a batch has been drawn; techniques and parts may change it
//     follow_before              followers that move before the forward
//     (norms, loss, backward)    the objective; accumulate_terms may weight or add terms
//   and when every replica has its gradients, per replica:
//     unscale privatise sync project clip guard       gradients, in this fixed order
//     (update)                   the optimizer of each learner
//     project_parameters follow quantise              parameters, in this fixed order
//   step_end                     per replica: running values, banks, books
//   exchange                     rounds of post for all, then collect for all
//   evaluate                     at its own cadence, once for all replicas
//   end                          once per stage and replica; again when the process dies before the result is kept
//
// At each event the objective comes first (those of all passes where there is no current one), then the
// techniques that name it in Contract::acts, in the order of the stage. Outside of batch and the gradients'
// events nothing is recorded for autograd. A pass whose update is skipped has the same events: see
// Step::skip_update.
//
// Clipping belongs to the update: where nobody looks at gradients at guard and the frame has the optimizer, they are
// scaled as the optimizer reads them, and .grad keeps what it was. So who wants clipped gradients asks for guard.

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "etude/comm/peers.h"
#include "etude/data/batch.h"
#include "etude/nn/context.h"

namespace etude {

class Step;
class Tokenizer;
class Evaluation;
struct Parameter;
struct RankGroup;

enum class Event {
  begin,
  batch,
  follow_before,
  unscale,
  privatise,
  sync,
  project,
  clip,
  guard,
  project_parameters,
  follow,
  quantise,
  step_end,
  end
};
std::string_view event_name(Event event);

/// Parts of a stage that have one owner at most. Two owners are refused before step one.
enum class Slot { plan, executor, sync, optimizer, precision };
std::string_view slot_name(Slot slot);

/// What a technique does to a stage, declared so that the stage can be refused before step one.
struct Contract {
  std::string name;  ///< "noloco"
  std::set<Slot> owns = {};
  std::set<Event> acts = {};               ///< events at which on() does something
  std::set<std::string> requires_ = {};    ///< traits that the stage must have: "replicas", "item_coupled", ...
  std::set<std::string> refuses = {};      ///< traits that it must not have: "batch_coupled", "accumulate", ...
  std::string why = {};                    ///< shown when a trait is refused or missing
  bool gathers = false;                    ///< evaluate() looks at the parameters of all replicas
  std::vector<std::string> variants = {};  ///< other values of the parameters that it keeps: etude/train/variants.h
};

/// How the items of a batch depend on each other in a loss.
enum class Coupling {
  item,   ///< not at all: any split of a batch gives the same sum
  micro,  ///< within what is forwarded together, by intention (batch statistics)
  batch   ///< over the whole batch of a replica (contrastive): cannot be cut into micro-batches
};

struct Needs {
  Coupling coupling = Coupling::item;
  std::vector<std::string> inputs;  ///< names in Batch::x that must be there after Event::batch
};

/// Global denominators by name.
using Norms = std::map<std::string, double>;

class Hooks {
 public:
  virtual ~Hooks() = default;
  virtual void on(Event, Step&) {}
};

/// Turns a batch into loss terms. It changes nothing: loss() may be called again under another context.
class Objective : public Hooks {
 public:
  virtual Needs needs() const { return {}; }
  /// The tokenizer of the stage's texts, told before norms() and loss() are called; not called where there is none.
  virtual void use(const Tokenizer& tokenizer) { (void)tokenizer; }
  /// Events at which on() does something. Default: all.
  virtual std::set<Event> acts() const;
  /// Denominators of one (micro-)batch; the frame adds them up before the forward. Default: {"items", B}.
  virtual Norms norms(const Batch& batch) const;
  virtual Terms loss(Step& step, const Batch& batch, Ctx& ctx) = 0;
  /// FLOPs of the loss and its backward on this batch. Default: three forwards of each net that the pass's learners
  /// hold a part of: the loss, the gradients of activations, those of weights. Who sends the batch through further
  /// nets adds a forward for each, and another where gradients flow back through it.
  virtual double flops(Step& step, const Batch& batch) const;
  /// Metrics from the evaluated total loss ("loss" is already there), for example perplexity.
  virtual void measure(std::map<std::string, double>& values) const { (void)values; }
};

/// Changes how a stage trains, whatever its objective.
class Technique : public Hooks {
 public:
  virtual Contract contract() const = 0;
  /// May weight, add or replace terms after the objective.
  virtual void terms(Step&, const Batch&, Terms&) {}
  /// Executor slot: forward and backward of a pass. The frame's own calls step.compute(batch) once; one that computes
  /// otherwise counts its FLOPs itself.
  virtual void execute(Step&, const Batch&) {}
  /// The same for all replicas that are here, in their order; for executors that lead a replica's samples through the
  /// nets of others. Default: execute() for each.
  virtual void execute_all(std::vector<Step>& steps);
  /// Plan slot: the number of samples that the replica draws in this step; -1: as the source says.
  virtual int64_t batch_size(Step&) { return -1; }
  /// Before the backward of a micro-batch; `last`: after it, the gradients of this rank's rows are whole.
  virtual void before_backward(Step&, bool last) { (void)last; }
  /// Sync slot, where ranks share a replica: the norm of all gradients, from that of those that this rank holds.
  /// Default: each rank holds all of them.
  virtual double gradient_norm(Step&, double own) { return own; }
  /// Optimizer slot, where ranks share a replica: those of a learner's parameters that this rank updates, and whose
  /// optimizer state it keeps. Default: all. Each must be kept by some rank.
  virtual std::vector<Parameter> kept(const std::vector<Parameter>& all, const RankGroup& group);
  /// Optimizer slot: takes the place of the learner's update. Gradients stand in .grad of step.parameters().
  virtual void update(Step&) {}
  /// Precision slot: the number format of the operands of products, in training and in evaluation.
  virtual Format format() const { return Format::float32; }
  /// Number of exchange rounds after this step; must be the same on every replica.
  virtual int rounds(Step&) { return 0; }
  /// As the step begins: what replicas can send before they have computed, for collect() after the step.
  virtual void post_early(Peers&, Step&) {}
  virtual void post(Peers&, Step&, int round) { (void)round; }
  virtual void collect(Peers&, Step&, int round) { (void)round; }
  virtual void evaluate(Evaluation&) {}
};

}  // namespace etude
