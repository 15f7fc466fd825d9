#pragma once
// Stochastic gradient descent with momentum.

#include <memory>
#include <vector>

#include "etude/base/options.h"
#include "etude/optim/optimizer.h"

namespace etude {

struct SgdOptions {
  static constexpr const char* kName = "sgd";
  Schedule lr = 0.1;
  double momentum = 0;
  bool nesterov = false;
  double weight_decay = 0;
  std::vector<GroupOptions> groups;
  template <class V>
  void fields(V& v) {
    v("lr", lr, at_least(0), "learning rate");
    v("momentum", momentum, half_open(0, 1), "mu of the velocity (Sutskever et al. 2013, section 2)");
    v("nesterov", nesterov, "look ahead along the velocity (Sutskever et al. 2013, equation 3, as PyTorch writes it)");
    v("weight_decay", weight_decay, at_least(0),
      "lambda of the L2 term, in the gradient; 0 for parameters tagged no_decay unless their group sets it");
    v("groups", groups, "other values for some parameters; the first group that selects one counts");
  }
};

struct SgdValues {
  double lr, momentum, weight_decay;
  bool nesterov;
  double gradient_scale = 1;  ///< gradients count so many times: a clip factor
};

/// One update of each parameter, in place. PyTorch's definition, without dampening; velocities begin at 0. With g the
/// gradient times gradient_scale:
///   g <- g + lambda theta;  b <- mu b + g;  theta <- theta - lr (nesterov ? g + mu b : b)
/// `velocity` is empty when momentum is 0. Takes one pass over all of them where has_update_pass() says so, else
/// LibTorch's fused kernel where fusable() does.
void sgd_update(const std::vector<Tensor>& value, const std::vector<Tensor>& gradient,
                const std::vector<Tensor>& velocity, const SgdValues& with);
/// The same in plain ATen, for every device and dtype.
void sgd_update_plain(const Tensor& value, const Tensor& gradient, const Tensor& velocity, const SgdValues& with);

/// State: "momentum_buffer/<parameter>", if momentum > 0. Errors: Code::config for nesterov without momentum.
std::unique_ptr<Optimizer> make_sgd(const SgdOptions& options, Parameters parameters,
                                    const Config& table = Config::table());

}  // namespace etude
