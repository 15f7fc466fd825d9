#include "etude/optim/adam.h"

#include "etude/base/torch_pch.h"

#include <cmath>

#include "etude/base/error.h"
#include "etude/optim/groups.h"
#include "etude/tensor/optimizer_kernels.h"
#include "etude/tensor/paths.h"

namespace etude {

void adam_update_plain(const Tensor& theta, const Tensor& gradient, const Tensor& m, const Tensor& v, double t,
                       const AdamValues& with) {
  Tensor g = scaled(gradient, with.gradient_scale);
  if (with.decoupled)
    theta.mul_(1 - with.lr * with.weight_decay);
  else if (with.weight_decay != 0)
    g = g + with.weight_decay * theta;
  m.mul_(with.beta1).add_(g, 1 - with.beta1);
  v.mul_(with.beta2).addcmul_(g, g, 1 - with.beta2);
  const Tensor unbiased_m = m / (1 - std::pow(with.beta1, t));
  const Tensor unbiased_v = v / (1 - std::pow(with.beta2, t));
  theta.addcdiv_(unbiased_m, unbiased_v.sqrt().add(with.eps), -with.lr);
}

void adam_update(const std::vector<Tensor>& value, const std::vector<Tensor>& gradient, const std::vector<Tensor>& mean,
                 const std::vector<Tensor>& square, const std::vector<Tensor>& step, const AdamValues& with) {
  const char* const name = with.decoupled ? "adamw" : "adam";
  if (has_update_pass(value, gradient, {mean, square})) {
    took_path(name, "own");
    std::vector<double> updates;
    for (const Tensor& t : step) updates.push_back(t.item<double>());
    adam_pass(value, gradient, mean, square, updates,
              {with.lr, with.beta1, with.beta2, with.eps, with.weight_decay, with.decoupled, with.gradient_scale});
    return;
  }
  if (fusable({value, gradient, mean, square})) {
    took_path(name, "aten: fused");
    const std::vector<Tensor> g = scaled(gradient, with.gradient_scale);
    const auto kernel = [&](auto fused) {
      fused(value, g, mean, square, /*max_exp_avg_sqs=*/at::TensorList(), step, with.lr, with.beta1, with.beta2,
            with.weight_decay, with.eps, /*amsgrad=*/false, /*maximize=*/false);
    };
    if (with.decoupled)
      kernel([](auto&&... a) { at::_fused_adamw_(a...); });
    else
      kernel([](auto&&... a) { at::_fused_adam_(a...); });
    return;
  }
  took_path(name, "aten: device, type or layout");
  for (size_t i = 0; i < value.size(); ++i) {
    // Where there are no values, any number of the update is as good as its own.
    const double t = step[i].is_meta() ? 1 : step[i].item<double>();
    adam_update_plain(value[i], gradient[i], mean[i], square[i], t, with);
  }
}

namespace {

template <class Options>
class Adam : public Optimizer {
 public:
  Adam(const Options& options, Parameters parameters)
      : Optimizer(std::move(parameters)),
        options_(options),
        groups_(learner_groups(parameters_, options.groups, options.lr, options.weight_decay)),
        steps_(parameters_) {
    for (const Parameter& p : parameters_) {
      mean_.push_back(at::zeros_like(p.value));
      square_.push_back(at::zeros_like(p.value));
    }
  }

  void step(const Position& position, const std::vector<Tensor>& gradients, double gradient_scale) override {
    ETUDE_CHECK(gradients.size() == parameters_.size(), "an update takes one gradient for each parameter");
    at::NoGradGuard no_grad;
    steps_.advance(gradients);
    for (const LearnerGroup& group : groups_) {
      std::vector<Tensor> value, gradient, mean, square, step;
      for (const size_t i : group.members) {
        if (!gradients[i].defined()) continue;
        value.push_back(parameters_[i].value);
        gradient.push_back(laid_out_as(gradients[i], value.back()));
        mean.push_back(mean_[i]);
        square.push_back(square_[i]);
        step.push_back(steps_.of(i));
      }
      if (value.empty()) continue;
      adam_update(value, gradient, mean, square, step,
                  {group.lr.at(position), options_.beta1, options_.beta2, options_.eps, group.weight_decay,
                   std::is_same_v<Options, AdamWOptions>, gradient_scale});
    }
  }

  NamedTensors state() override {
    NamedTensors all;
    for (size_t i = 0; i < parameters_.size(); ++i) {
      all.emplace_back("exp_avg/" + parameters_[i].name, mean_[i]);
      all.emplace_back("exp_avg_sq/" + parameters_[i].name, square_[i]);
      all.emplace_back("step/" + parameters_[i].name, steps_.of(i));
    }
    return all;
  }

  double learning_rate(const Position& position) const override { return options_.lr.at(position); }

 private:
  Options options_;
  std::vector<LearnerGroup> groups_;
  std::vector<Tensor> mean_, square_;
  StepCounts steps_;
};

}  // namespace

std::unique_ptr<Optimizer> make_adam(const AdamOptions& options, Parameters parameters) {
  return std::make_unique<Adam<AdamOptions>>(options, std::move(parameters));
}

std::unique_ptr<Optimizer> make_adamw(const AdamWOptions& options, Parameters parameters) {
  return std::make_unique<Adam<AdamWOptions>>(options, std::move(parameters));
}

}  // namespace etude
