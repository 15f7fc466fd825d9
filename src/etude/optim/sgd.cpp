#include "etude/optim/sgd.h"

#include "etude/base/torch_pch.h"

#include "etude/base/error.h"
#include "etude/optim/groups.h"
#include "etude/tensor/optimizer_kernels.h"
#include "etude/tensor/paths.h"

namespace etude {

void sgd_update_plain(const Tensor& theta, const Tensor& gradient, const Tensor& velocity, const SgdValues& with) {
  Tensor g = scaled(gradient, with.gradient_scale);
  if (with.weight_decay != 0) g = g + with.weight_decay * theta;
  if (with.momentum != 0) {
    velocity.mul_(with.momentum).add_(g);
    g = with.nesterov ? g + with.momentum * velocity : velocity;
  }
  theta.sub_(g, with.lr);
}

void sgd_update(const std::vector<Tensor>& value, const std::vector<Tensor>& gradient,
                const std::vector<Tensor>& velocity, const SgdValues& with) {
  const bool moves = with.momentum != 0;
  if (has_update_pass(value, gradient, moves ? std::vector<at::TensorList>{velocity} : std::vector<at::TensorList>())) {
    took_path("sgd", "own");
    sgd_pass(value, gradient, velocity,
             {with.lr, with.momentum, with.weight_decay, with.nesterov, with.gradient_scale});
    return;
  }
  if (fusable(moves ? TensorColumns{value, gradient, velocity} : TensorColumns{value, gradient})) {
    took_path("sgd", "aten: fused");
    at::_fused_sgd_(value, scaled(gradient, with.gradient_scale), moves ? at::TensorList(velocity) : at::TensorList(),
                    with.weight_decay, with.momentum, with.lr, /*dampening=*/0, with.nesterov, /*maximize=*/false,
                    /*is_first_step=*/false);
    return;
  }
  took_path("sgd", "aten: device, type or layout");
  for (size_t i = 0; i < value.size(); ++i)
    sgd_update_plain(value[i], gradient[i], moves ? velocity[i] : Tensor(), with);
}

namespace {

class Sgd : public Optimizer {
 public:
  Sgd(const SgdOptions& options, Parameters parameters)
      : Optimizer(std::move(parameters)),
        options_(options),
        groups_(learner_groups(parameters_, options.groups, options.lr, options.weight_decay)) {
    if (options.momentum == 0) return;
    for (const Parameter& p : parameters_) velocity_.push_back(at::zeros_like(p.value));
  }

  void step(const Position& position, const std::vector<Tensor>& gradients, double gradient_scale) override {
    ETUDE_CHECK(gradients.size() == parameters_.size(), "an update takes one gradient for each parameter");
    at::NoGradGuard no_grad;
    for (const LearnerGroup& group : groups_) {
      std::vector<Tensor> value, gradient, velocity;
      for (const size_t i : group.members) {
        if (!gradients[i].defined()) continue;
        value.push_back(parameters_[i].value);
        gradient.push_back(laid_out_as(gradients[i], value.back()));
        if (!velocity_.empty()) velocity.push_back(velocity_[i]);
      }
      if (!value.empty())
        sgd_update(value, gradient, velocity,
                   {group.lr.at(position), options_.momentum, group.weight_decay, options_.nesterov, gradient_scale});
    }
  }

  NamedTensors state() override {
    NamedTensors all;
    for (size_t i = 0; i < velocity_.size(); ++i)
      all.emplace_back("momentum_buffer/" + parameters_[i].name, velocity_[i]);
    return all;
  }

  double learning_rate(const Position& position) const override { return options_.lr.at(position); }

 private:
  SgdOptions options_;
  std::vector<LearnerGroup> groups_;
  std::vector<Tensor> velocity_;
};

}  // namespace

std::unique_ptr<Optimizer> make_sgd(const SgdOptions& options, Parameters parameters, const Config& table) {
  if (options.nesterov && options.momentum == 0) {
    const Config* place = table.find("nesterov");
    throw Error(Code::config, "nesterov = true needs momentum > 0", place ? place->origin.text() : "optimizer sgd",
                "set momentum, for example to 0.9");
  }
  return std::make_unique<Sgd>(options, std::move(parameters));
}

}  // namespace etude
