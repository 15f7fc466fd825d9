#pragma once
// Optimizers as plain functions on tensors with their state in named tensors, so that the run state
// holds all of it. Default options are those of the papers cited at each.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "etude/base/options.h"
#include "etude/tensor/tensor.h"

namespace etude {

/// A parameter under its full name "net.layer.weight", with tags such as "no_decay".
struct Parameter {
  std::string name;
  Tensor value;
  std::set<std::string> tags;
};
using Parameters = std::vector<Parameter>;
/// Their values, in this order: they share the memory, and nothing is recorded of them.
std::vector<Tensor> values_of(const Parameters& parameters);

/// A group overrides some values for the parameters that it selects: by tag or by a prefix of the name.
struct GroupOptions {
  std::string match;  ///< "tag:no_decay" or a name prefix
  std::optional<Schedule> lr;
  std::optional<double> weight_decay;
  template <class V>
  void fields(V& v) {
    v("match", match, "tag:NAME or the beginning of a parameter's name");
    v("lr", lr, at_least(0), "learning rate of this group");
    v("weight_decay", weight_decay, at_least(0), "weight decay of this group");
  }
};

/// Updates values in place from gradients. Gradients may be undefined: such a parameter is not touched.
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  /// One update with the learning rates of this position; one gradient a parameter, in their order. Gradients count
  /// `gradient_scale` times, without being changed: clip_factor() of their norm.
  virtual void step(const Position& position, const std::vector<Tensor>& gradients, double gradient_scale = 1) = 0;
  /// State tensors by name ("exp_avg/<parameter>", "step"), made at construction, restored in place.
  virtual NamedTensors state() = 0;
  virtual double learning_rate(const Position& position) const = 0;
  const Parameters& parameters() const { return parameters_; }

 protected:
  explicit Optimizer(Parameters parameters) : parameters_(std::move(parameters)) {}
  Parameters parameters_;
};

/// kind = sgd | adam | adamw with the options of sgd.h and adam.h (lr, momentum, nesterov, beta1, beta2, eps,
/// weight_decay, groups). Errors: Code::config with the place for an unknown kind or option, and for a
/// group that selects no parameter.
std::unique_ptr<Optimizer> make_optimizer(const Part& spec, Parameters parameters);
/// The same for some of a learner's parameters, maybe none: it keeps state of these only, and groups must select
/// something in the whole learner.
std::unique_ptr<Optimizer> make_optimizer(const Part& spec, Parameters some, const Parameters& of_learner);

/// The part with every option of its kind written out. Errors: as make_optimizer().
Part complete_optimizer(const Part& spec);

/// "sgd", "adam", "adamw".
std::vector<std::string> optimizer_kinds();
/// The options of a kind, for help. Required: one of optimizer_kinds().
std::vector<OptionInfo> describe_optimizer(const std::string& kind);

/// sqrt of the sum of squares of all gradients, in double for the sum over tensors; on the CPU float32 and bfloat16 in
/// one pass, in double throughout. Undefined ones count as 0.
double global_norm(const std::vector<Tensor>& gradients);
/// What gradients of this norm are multiplied by so that it is at most `limit` >= 0 (Pascanu et al. 2013, section 3.2);
/// 1 where the norm is not finite.
double clip_factor(double norm, double limit);
/// Scales gradients in place so that their global norm is at most `limit` (Pascanu et al. 2013, section 3.2);
/// returns the norm before. Leaves them as they are when that norm is not finite.
double clip_global_norm(const std::vector<Tensor>& gradients, double limit);
/// The same where the global norm is known: of more gradients than these, which others hold.
void clip_from_norm(const std::vector<Tensor>& gradients, double norm, double limit);

}  // namespace etude
