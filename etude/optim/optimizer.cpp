// The algorithms as their papers write them; fused kernels of LibTorch where they exist.

#include "etude/optim/optimizer.h"

#include "etude/base/torch_pch.h"

#include <cmath>

#include "etude/base/error.h"

namespace etude {
namespace {

/// Learning rate and weight decay of one parameter's group.
struct Place {
  std::optional<Schedule> lr;
  double weight_decay;
};

bool matches(const std::string& match, const Parameter& p) {
  if (match.rfind("tag:", 0) == 0) return p.tags.count(match.substr(4)) > 0;
  return p.name.rfind(match, 0) == 0;
}

std::vector<Place> places(const Parameters& parameters, const std::vector<GroupOptions>& groups, double weight_decay) {
  std::vector<Place> found;
  std::vector<bool> used(groups.size());
  for (const Parameter& p : parameters) {
    Place place{std::nullopt, weight_decay};
    for (size_t g = 0; g < groups.size(); ++g) {
      if (!matches(groups[g].match, p)) continue;
      used[g] = true;
      place.lr = groups[g].lr;
      place.weight_decay = groups[g].weight_decay.value_or(weight_decay);
      break;
    }
    found.push_back(std::move(place));
  }
  for (size_t g = 0; g < groups.size(); ++g)
    if (!used[g]) throw Error(Code::config, "no parameter belongs to the group '" + groups[g].match + "'", "optimizer.groups", "tag:NAME or the beginning of a parameter's name, such as 'model.lm_head'");
  return found;
}

struct SgdOptions {
  Schedule lr = 0.1;
  double momentum = 0, weight_decay = 0;
  bool nesterov = false;
  std::vector<GroupOptions> groups;
  template <class V> void fields(V& v) {
    v("lr", lr, at_least(0), "learning rate");
    v("momentum", momentum, half_open(0, 1), "of the velocity (Sutskever et al. 2013, section 2)");
    v("nesterov", nesterov, "look ahead along the velocity");
    v("weight_decay", weight_decay, at_least(0), "added to the gradient as weight_decay * parameter");
    v("groups", groups, "other values for some parameters; the first match counts");
  }
};

struct AdamOptions {
  Schedule lr = 1e-3;
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  std::vector<GroupOptions> groups;
  template <class V> void fields(V& v) {
    v("lr", lr, at_least(0), "learning rate (alpha of Kingma & Ba 2015, Algorithm 1)");
    v("beta1", beta1, half_open(0, 1), "decay of the first moment");
    v("beta2", beta2, half_open(0, 1), "decay of the second moment");
    v("eps", eps, positive(), "added to the root of the second moment");
    v("weight_decay", weight_decay, at_least(0), "adam: in the gradient; adamw: decoupled (Loshchilov & Hutter 2019, Algorithm 2)");
    v("groups", groups, "other values for some parameters; the first match counts");
  }
};

class Sgd : public Optimizer {
 public:
  Sgd(SgdOptions options, Parameters parameters) : Optimizer(std::move(parameters)), o_(std::move(options)), places_(places(parameters_, o_.groups, o_.weight_decay)) {
    if (o_.nesterov && o_.momentum == 0) throw Error(Code::config, "nesterov needs momentum > 0", "optimizer", "e.g. momentum = 0.9");
    for (const Parameter& p : parameters_) {
      velocity_.push_back(o_.momentum > 0 ? torch::zeros_like(p.value) : Tensor());
    }
  }

  /// v <- momentum v + g, the first v being g; theta <- theta - lr (g + momentum v  if nesterov, else v)
  void step(const Position& at, const std::vector<Tensor>& gradients) override {
    for (size_t i = 0; i < parameters_.size(); ++i) {
      if (!gradients[i].defined()) continue;
      const Tensor& theta = parameters_[i].value;
      Tensor g = gradients[i];
      if (places_[i].weight_decay > 0) g = g + places_[i].weight_decay * theta;
      if (o_.momentum > 0) {
        Tensor& v = velocity_[i];
        v.mul_(o_.momentum).add_(g);
        g = o_.nesterov ? g + o_.momentum * v : v;
      }
      theta.add_(g, -places_[i].lr.value_or(o_.lr).at(at));
    }
  }

  NamedTensors state() override {
    NamedTensors all;
    for (size_t i = 0; i < parameters_.size(); ++i)
      if (velocity_[i].defined()) all.emplace_back("momentum_buffer/" + parameters_[i].name, velocity_[i]);
    return all;
  }
  double learning_rate(const Position& at) const override { return o_.lr.at(at); }

 private:
  SgdOptions o_;
  std::vector<Place> places_;
  std::vector<Tensor> velocity_;
};

class Adam : public Optimizer {
 public:
  Adam(AdamOptions options, bool decoupled, Parameters parameters)
      : Optimizer(std::move(parameters)), o_(std::move(options)), decoupled_(decoupled), places_(places(parameters_, o_.groups, o_.weight_decay)) {
    for (const Parameter& p : parameters_) {
      first_.push_back(torch::zeros_like(p.value));
      second_.push_back(torch::zeros_like(p.value));
      steps_.push_back(torch::zeros({}, torch::TensorOptions(torch::kFloat32).device(p.value.device())));
    }
  }

  void step(const Position& at, const std::vector<Tensor>& gradients) override {
    // Parameters that share a learning rate and a weight decay go through one fused kernel.
    std::map<std::pair<double, double>, std::array<std::vector<Tensor>, 5>> groups;
    for (size_t i = 0; i < parameters_.size(); ++i) {
      if (!gradients[i].defined()) continue;
      auto& group = groups[{places_[i].lr.value_or(o_.lr).at(at), places_[i].weight_decay}];
      steps_[i].add_(1);
      group[0].push_back(parameters_[i].value);
      group[1].push_back(gradients[i]);
      group[2].push_back(first_[i]);
      group[3].push_back(second_[i]);
      group[4].push_back(steps_[i]);
    }
    for (auto& [key, group] : groups) {
      const auto [lr, weight_decay] = key;
      if (decoupled_) at::_fused_adamw_(group[0], group[1], group[2], group[3], {}, group[4], lr, o_.beta1, o_.beta2, weight_decay, o_.eps, false, false);
      else at::_fused_adam_(group[0], group[1], group[2], group[3], {}, group[4], lr, o_.beta1, o_.beta2, weight_decay, o_.eps, false, false);
    }
  }

  NamedTensors state() override {
    NamedTensors all;
    for (size_t i = 0; i < parameters_.size(); ++i) {
      all.emplace_back("exp_avg/" + parameters_[i].name, first_[i]);
      all.emplace_back("exp_avg_sq/" + parameters_[i].name, second_[i]);
      all.emplace_back("step/" + parameters_[i].name, steps_[i]);
    }
    return all;
  }
  double learning_rate(const Position& at) const override { return o_.lr.at(at); }

 private:
  AdamOptions o_;
  bool decoupled_;
  std::vector<Place> places_;
  std::vector<Tensor> first_, second_, steps_;
};

template <class O> O read(const Part& spec, const std::string& where) {
  Config rest = spec.config;
  rest.erase("kind");
  O options;
  read_options(rest, options, where);
  return options;
}

}  // namespace

std::unique_ptr<Optimizer> make_optimizer(const Part& spec, Parameters parameters) {
  const std::string kind = spec.kind();
  const std::string where = "optimizer " + kind;
  if (kind == "sgd") return std::make_unique<Sgd>(read<SgdOptions>(spec, where), std::move(parameters));
  if (kind == "adam") return std::make_unique<Adam>(read<AdamOptions>(spec, where), false, std::move(parameters));
  if (kind == "adamw") {
    Part with_default = spec;
    if (!with_default.config.find("weight_decay")) with_default.config.set("weight_decay", Config(0.01));
    return std::make_unique<Adam>(read<AdamOptions>(with_default, where), true, std::move(parameters));
  }
  throw Error(Code::config, "unknown optimizer '" + kind + "'", spec.config.origin.text(), did_you_mean(kind, {"sgd", "adam", "adamw"}, "known: sgd, adam, adamw"));
}

double global_norm(const std::vector<Tensor>& gradients) {
  if (gradients.empty()) return 0;
  double squares = 0;
  for (const Tensor& norm : at::_foreach_norm(gradients)) {
    const double n = norm.item<double>();
    squares += n * n;
  }
  return std::sqrt(squares);
}

double clip_global_norm(const std::vector<Tensor>& gradients, double limit) {
  const double norm = global_norm(gradients);
  if (norm > limit && std::isfinite(norm)) at::_foreach_mul_(gradients, limit / norm);
  return norm;
}

}  // namespace etude
