#pragma once
// Adam (Kingma and Ba 2015, Algorithm 1) and AdamW (Loshchilov and Hutter 2019, Algorithm 2).

#include <memory>
#include <vector>

#include "etude/base/options.h"
#include "etude/optim/optimizer.h"

namespace etude {

struct AdamOptions {
  static constexpr const char* kName = "adam";
  Schedule lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
  std::vector<GroupOptions> groups;
  template <class V>
  void fields(V& v) {
    v("lr", lr, at_least(0), "alpha of Kingma and Ba 2015, Algorithm 1");
    v("beta1", beta1, half_open(0, 1), "decay of the mean of gradients");
    v("beta2", beta2, half_open(0, 1), "decay of the mean of squared gradients");
    v("eps", eps, positive(), "added to the root of the mean of squares");
    v("weight_decay", weight_decay, at_least(0),
      "lambda of the L2 term, in the gradient; 0 for parameters tagged no_decay unless their group sets it");
    v("groups", groups, "other values for some parameters; the first group that selects one counts");
  }
};

struct AdamWOptions {
  static constexpr const char* kName = "adamw";
  Schedule lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.01;
  std::vector<GroupOptions> groups;
  template <class V>
  void fields(V& v) {
    v("lr", lr, at_least(0), "alpha of Loshchilov and Hutter 2019, Algorithm 2");
    v("beta1", beta1, half_open(0, 1), "decay of the mean of gradients");
    v("beta2", beta2, half_open(0, 1), "decay of the mean of squared gradients");
    v("eps", eps, positive(), "added to the root of the mean of squares");
    v("weight_decay", weight_decay, at_least(0),
      "lambda, decoupled; times lr as in PyTorch; 0 for parameters tagged no_decay unless their group sets it");
    v("groups", groups, "other values for some parameters; the first group that selects one counts");
  }
};

struct AdamValues {
  double lr, beta1, beta2, eps, weight_decay;
  bool decoupled;             ///< AdamW
  double gradient_scale = 1;  ///< gradients count so many times: a clip factor
};

/// One update of each parameter, in place; `step` already counts it (t >= 1), float32 scalars. With g the gradient
/// times gradient_scale (equations in the order of the algorithms):
///   adam:  g <- g + lambda theta           adamw:  theta <- theta - lr lambda theta
///   m <- beta1 m + (1 - beta1) g           v <- beta2 v + (1 - beta2) g^2
///   theta <- theta - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
/// Takes one pass over all of them where has_update_pass() says so, else LibTorch's fused kernel where fusable() does.
void adam_update(const std::vector<Tensor>& value, const std::vector<Tensor>& gradient, const std::vector<Tensor>& mean,
                 const std::vector<Tensor>& square, const std::vector<Tensor>& step, const AdamValues& with);
/// The same in plain ATen, for every device and dtype.
void adam_update_plain(const Tensor& value, const Tensor& gradient, const Tensor& mean, const Tensor& square, double t,
                       const AdamValues& with);

/// State: "exp_avg/<parameter>", "exp_avg_sq/<parameter>", "step/<parameter>".
std::unique_ptr<Optimizer> make_adam(const AdamOptions& options, Parameters parameters);
std::unique_ptr<Optimizer> make_adamw(const AdamWOptions& options, Parameters parameters);

}  // namespace etude
