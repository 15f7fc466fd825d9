#include "etude/optim/optimizer.h"

#include "etude/base/torch_pch.h"

#include <cmath>

#include "etude/base/error.h"
#include "etude/optim/adam.h"
#include "etude/optim/groups.h"
#include "etude/optim/sgd.h"
#include "etude/tensor/optimizer_kernels.h"

namespace etude {
namespace {

const std::vector<std::string> kKinds = {SgdOptions::kName, AdamOptions::kName, AdamWOptions::kName};

template <class Options>
Options read(const Part& spec) {
  Options options;
  read_options(spec.config, options, "optimizer " + std::string(Options::kName));
  return options;
}

template <class Options>
Part complete(const Part& spec) {
  Part whole{write_options(read<Options>(spec))};
  whole.config.set("kind", Config(Options::kName));
  return whole;
}

[[noreturn]] void refuse_kind(const Part& spec) {
  throw Error(Code::config, "unknown optimizer '" + spec.kind() + "'", spec.config.find("kind")->origin.text(),
              did_you_mean(spec.kind(), kKinds, "known are sgd, adam and adamw"));
}

}  // namespace

Part complete_optimizer(const Part& spec) {
  const std::string kind = spec.kind();
  if (kind == SgdOptions::kName) return complete<SgdOptions>(spec);
  if (kind == AdamOptions::kName) return complete<AdamOptions>(spec);
  if (kind == AdamWOptions::kName) return complete<AdamWOptions>(spec);
  refuse_kind(spec);
}

std::vector<std::string> optimizer_kinds() { return kKinds; }

std::vector<OptionInfo> describe_optimizer(const std::string& kind) {
  if (kind == SgdOptions::kName) return describe_options<SgdOptions>();
  if (kind == AdamOptions::kName) return describe_options<AdamOptions>();
  ETUDE_CHECK(kind == AdamWOptions::kName, "there is no optimizer '" + kind + "'");
  return describe_options<AdamWOptions>();
}

std::unique_ptr<Optimizer> make_optimizer(const Part& spec, Parameters parameters) {
  const Parameters all = parameters;
  return make_optimizer(spec, std::move(parameters), all);
}

std::unique_ptr<Optimizer> make_optimizer(const Part& spec, Parameters some, const Parameters& of_learner) {
  const auto options = [&](auto kind_of) {
    auto read_ones = read<decltype(kind_of)>(spec);
    check_groups(of_learner, read_ones.groups, spec.config);
    return read_ones;
  };
  const std::string kind = spec.kind();
  if (kind == SgdOptions::kName) return make_sgd(options(SgdOptions()), std::move(some), spec.config);
  if (kind == AdamOptions::kName) return make_adam(options(AdamOptions()), std::move(some));
  if (kind == AdamWOptions::kName) return make_adamw(options(AdamWOptions()), std::move(some));
  refuse_kind(spec);
}

double global_norm(const std::vector<Tensor>& gradients) {
  at::NoGradGuard no_grad;
  double squares = 0;
  std::vector<Tensor> in_one_pass;
  for (const Tensor& g : gradients) {
    if (!g.defined()) continue;
    if (has_norm_pass(g)) {
      in_one_pass.push_back(g);
      continue;
    }
    const double norm = at::linalg_vector_norm(g).item<double>();
    squares += norm * norm;
  }
  return std::sqrt(squares + sum_of_squares(in_one_pass));
}

double clip_factor(double norm, double limit) {
  ETUDE_CHECK(limit >= 0, "a gradient's norm is limited to a number >= 0");
  return std::isfinite(norm) && norm > limit ? limit / norm : 1;
}

double clip_global_norm(const std::vector<Tensor>& gradients, double limit) {
  const double norm = global_norm(gradients);
  clip_from_norm(gradients, norm, limit);
  return norm;
}

void clip_from_norm(const std::vector<Tensor>& gradients, double norm, double limit) {
  const double factor = clip_factor(norm, limit);
  if (factor == 1) return;
  at::NoGradGuard no_grad;
  for (const Tensor& g : gradients)
    if (g.defined()) g.mul_(factor);
}

std::vector<Tensor> values_of(const Parameters& parameters) {
  std::vector<Tensor> values;
  for (const Parameter& p : parameters) values.push_back(p.value.detach());
  return values;
}

}  // namespace etude
