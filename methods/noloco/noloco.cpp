#include "methods/noloco/noloco.h"

#include "etude/base/torch_pch.h"

#include <algorithm>
#include <cmath>

#include "etude/base/log.h"
#include "etude/base/text.h"
#include "etude/optim/adam.h"
#include "etude/train/registry.h"
#include "etude/train/trainer.h"
#include "methods/noloco/routing.h"
#include "methods/noloco/simulation.h"

namespace etude::noloco {

std::vector<std::vector<int>> pairing(uint64_t seed, int replicas, int group_size, int64_t t) {
  ETUDE_CHECK(group_size >= 1 && group_size <= replicas, "a group has 1 to N members");
  const std::vector<int64_t> pi = Rng(Key{seed, Purpose::pairing, t, 0}).permutation(replicas);
  const auto at = [&](int i) { return static_cast<int>(pi[static_cast<size_t>(i)]); };
  const int n = group_size, K = replicas / n;
  std::vector<std::vector<int>> groups;
  for (int k = 0; k < K; ++k) {
    std::vector<int> group;
    for (int j = 0; j < n; ++j) group.push_back(at(k + j * K));
    std::sort(group.begin(), group.end());
    groups.push_back(std::move(group));
  }
  for (int i = K * n; i < replicas; ++i) groups.push_back({at(i)});
  return groups;
}

namespace {

/// m <- alpha m + pull;   phi <- phi + m (or alpha m + pull);   theta <- phi
void follow(const Tensor& theta, const Tensor& phi, const Tensor& m, const Tensor& pull, const Outer& o) {
  m.mul_(o.alpha).add_(pull);
  if (o.nesterov)
    phi.add_(o.alpha * m + pull);
  else
    phi.add_(m);
  theta.copy_(phi);
}

}  // namespace

void outer_step(const Tensor& theta, const Tensor& phi, const Tensor& m, const Tensor& gbar,
                const Tensor& phibar_minus_phi, const Outer& o) {
  follow(theta, phi, m, o.beta * gbar + o.gamma * phibar_minus_phi, o);
}

void outer_step_one(const Tensor& theta, const Tensor& phi, const Tensor& m, const Tensor& thetabar, const Outer& o) {
  ETUDE_CHECK(o.gamma == o.beta, "one tensor is enough for gamma = beta only");
  follow(theta, phi, m, o.beta * (thetabar - phi), o);
}

double stable_bound(double alpha) { return 2 * (1 - alpha * alpha); }

double weight_spread(const std::vector<std::vector<Tensor>>& replicas) {
  double squares = 0, values = 0;
  for (size_t p = 0; p < replicas.front().size(); ++p) {
    // Distances to replica 0 have the same spread, and are exactly 0 where all are equal.
    const Tensor first = replicas.front()[p].detach().to(torch::kFloat64);
    std::vector<Tensor> distances;
    for (const auto& replica : replicas) distances.push_back(replica[p].detach().to(torch::kFloat64) - first);
    const Tensor stacked = torch::stack(distances);
    squares += (stacked - stacked.mean(0, true)).square().sum().item<double>();
    values += static_cast<double>(stacked.numel());
  }
  return std::sqrt(squares / values);
}

namespace {

/// phi starts at theta, m at zero.
void start_outer(Step& step) {
  auto state = step.store().under("noloco");
  for (const Parameter& p : step.all_parameters()) {
    state.tensor("phi/" + p.name, p.value.detach().clone());
    state.tensor("m/" + p.name, torch::zeros_like(p.value.detach()));
  }
}

/// theta - phi of every parameter: the progress since the last outer step.
std::vector<Tensor> progress(Step& step) {
  auto state = step.store().under("noloco");
  std::vector<Tensor> g;
  for (const Parameter& p : step.all_parameters()) g.push_back(p.value.detach() - state.tensor("phi/" + p.name));
  return g;
}

void log_spread(Evaluation& evaluation) {
  std::vector<std::vector<Tensor>> theta;
  for (int r = 0; r < evaluation.replicas(); ++r) theta.push_back(values_of(evaluation.parameters(r)));
  evaluation.log("noloco/weight_std", weight_spread(theta));

  std::vector<Tensor> average;
  for (size_t p = 0; p < theta.front().size(); ++p) {
    std::vector<Tensor> members;
    for (const auto& replica : theta) members.push_back(replica[p]);
    average.push_back(group_mean(members));
  }
  for (const auto& [name, value] : evaluation.measure_with(average))
    evaluation.log("averaged/" + name.substr(name.find('/') + 1), value);
}

}  // namespace

Contract Meeting::contract() const {
  return {.name = name_,
          .acts = {Event::begin},
          .requires_ = {"replicas"},
          .why = "replicas meet each other in it: set replicas to 2 or more",
          .gathers = true};
}

int64_t Meeting::group_size(const Step& step) const { return group_size_ == 0 ? step.replicas() : group_size_; }

void Meeting::on(Event, Step& step) {
  if (group_size_ > step.replicas())
    throw Error(
        Code::config,
        "group = " + std::to_string(group_size_) + ", but there are " + std::to_string(step.replicas()) + " replicas",
        "technique " + name_, "set group to at most the number of replicas, or raise replicas");
  start(step);
}

int Meeting::rounds(Step& step) {
  const bool due = (step.number() + 1) % every_ == 0;
  return due ? GroupMean::rounds(group_size(step)) : 0;
}

std::vector<int> Meeting::group_of(const Step& step) const {
  const int64_t t = step.number() + 1;
  for (auto& group : pairing(step.seed(), step.replicas(), static_cast<int>(group_size(step)), t))
    if (std::binary_search(group.begin(), group.end(), step.replica())) return group;
  ETUDE_CHECK(false, "a replica is in no group");
}

void Meeting::post_early(Peers& peers, Step& step) {
  if (rounds(step) == 0 || group_size(step) != 2) return;
  if (const std::vector<Tensor> early = offer_early(step); !early.empty())
    sides_[step.replica()].post_early(peers, group_of(step), early);
}

void Meeting::post(Peers& peers, Step& step, int round) {
  sides_[step.replica()].post(peers, group_of(step), offer(step), round);
}

void Meeting::collect(Peers& peers, Step& step, int round) {
  const std::vector<Tensor> mean = sides_[step.replica()].collect(peers, group_of(step), offer(step), round);
  if (round + 1 == rounds(step)) take(step, mean);
}

void Meeting::evaluate(Evaluation& evaluation) { log_spread(evaluation); }

NoLoCo::NoLoCo(const Options& options)
    : Meeting("noloco", options.every, options.group),
      outer_{options.alpha, options.beta, options.gamma.value_or(options.beta), options.outer == "nesterov"},
      path_(options.path) {
  if (path_ == "one" && outer_.gamma != outer_.beta && outer_.gamma != 0)
    throw Error(
        Code::config,
        "path = \"one\" with gamma = " + plain_number(outer_.gamma) + " and beta = " + plain_number(outer_.beta),
        "technique noloco",
        "one tensor is enough for gamma = beta and for gamma = 0 only: set path = \"two\", or leave gamma out");
}

void NoLoCo::start(Step& step) {
  start_outer(step);
  const bool pulls = outer_.gamma > 0 && group_size(step) > 1 && group_size(step) < step.replicas();
  if (step.replica() == 0 && pulls && outer_.gamma >= stable_bound(outer_.alpha))
    warn("noloco: alpha = " + rounded_number(outer_.alpha) + " with gamma = " + rounded_number(outer_.gamma) +
         " lets the replicas drift apart without bound; stable is gamma < 2 (1 - alpha^2) = " +
         rounded_number(stable_bound(outer_.alpha)));
}

NoLoCo::Travels NoLoCo::travels(const Step& step) const {
  const bool all_meet = group_size(step) == step.replicas();
  if (path_ == "two") return Travels::progress_and_phi;
  if (outer_.gamma == 0 || (path_ == "auto" && all_meet)) return Travels::progress;
  return outer_.gamma == outer_.beta ? Travels::theta : Travels::progress_and_phi;
}

std::vector<Tensor> NoLoCo::offer(Step& step) {
  const auto parameters = step.all_parameters();
  if (travels(step) == Travels::theta) return values_of(parameters);
  std::vector<Tensor> both = progress(step);
  if (travels(step) == Travels::progress) return both;
  for (const Tensor& phi : slow_weights(step)) both.push_back(phi);
  return both;
}

std::vector<Tensor> NoLoCo::offer_early(Step& step) {
  return travels(step) == Travels::progress_and_phi ? slow_weights(step) : std::vector<Tensor>();
}

std::vector<Tensor> NoLoCo::slow_weights(Step& step) const {
  auto state = step.store().under("noloco");
  std::vector<Tensor> all;
  for (const Parameter& p : step.all_parameters()) all.push_back(state.tensor("phi/" + p.name));
  return all;
}

void NoLoCo::take(Step& step, const std::vector<Tensor>& mean) {
  const auto parameters = step.all_parameters();
  auto state = step.store().under("noloco");
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Tensor theta = parameters[i].value.detach();
    const Tensor& phi = state.tensor("phi/" + parameters[i].name);
    const Tensor& m = state.tensor("m/" + parameters[i].name);
    switch (travels(step)) {
      case Travels::theta:
        outer_step_one(theta, phi, m, mean[i], outer_);
        break;
      case Travels::progress:
        follow(theta, phi, m, outer_.beta * mean[i], outer_);
        break;
      case Travels::progress_and_phi:
        outer_step(theta, phi, m, mean[i], mean[parameters.size() + i] - phi, outer_);
    }
  }
}

DiLoCo::DiLoCo(const DiLoCoOptions& options) : Meeting("diloco", options.every, 0), o_(options) {}

void DiLoCo::start(Step& step) { start_outer(step); }
std::vector<Tensor> DiLoCo::offer(Step& step) { return progress(step); }

void DiLoCo::take(Step& step, const std::vector<Tensor>& gbar) {
  const auto parameters = step.all_parameters();
  auto state = step.store().under("noloco");
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Tensor pull = o_.beta * gbar[i];
    follow(parameters[i].value.detach(), state.tensor("phi/" + parameters[i].name),
           state.tensor("m/" + parameters[i].name), pull,
           {.alpha = o_.alpha, .beta = o_.beta, .gamma = 0, .nesterov = o_.outer == "nesterov"});
  }
}

std::vector<Tensor> PairAverage::offer(Step& step) { return values_of(step.all_parameters()); }

void PairAverage::take(Step& step, const std::vector<Tensor>& mean) {
  const auto theta = values_of(step.all_parameters());
  for (size_t i = 0; i < theta.size(); ++i) theta[i].copy_(mean[i]);
}

void Epidemic::start(Step& step) {
  auto state = step.store().under("noloco");
  for (const Parameter& p : step.all_parameters()) {
    state.tensor("exp_avg/" + p.name, torch::zeros_like(p.value.detach()));
    state.tensor("exp_avg_sq/" + p.name, torch::zeros_like(p.value.detach()));
    state.tensor("step/" + p.name, torch::zeros({}, torch::kFloat32));
  }
}

std::vector<Tensor> Epidemic::offer(Step& step) { return values_of(step.all_parameters()); }

void Epidemic::take(Step& step, const std::vector<Tensor>& mean) {
  auto state = step.store().under("noloco");
  const std::vector<Tensor> theta = values_of(step.all_parameters());
  std::vector<Tensor> gradient, exp_avg, exp_avg_sq, count;
  for (const Parameter& p : step.all_parameters()) {
    gradient.push_back(p.value.detach() - mean[gradient.size()]);
    exp_avg.push_back(state.tensor("exp_avg/" + p.name));
    exp_avg_sq.push_back(state.tensor("exp_avg_sq/" + p.name));
    count.push_back(state.tensor("step/" + p.name).add_(1));
  }
  const AdamValues adam{o_.lr.at(step.position()), o_.beta1, o_.beta2, o_.eps, 0, false};
  adam_update(theta, gradient, exp_avg, exp_avg_sq, count, adam);
}

void Spread::evaluate(Evaluation& evaluation) { log_spread(evaluation); }

}  // namespace etude::noloco

void etude::register_noloco(Registry& registry) {
  using namespace noloco;
  registry.technique<NoLoCo, noloco::Options>("noloco", "outer step with one random partner, every H steps");
  registry.technique<DiLoCo, DiLoCoOptions>("diloco", "outer step with all replicas, every H steps");
  registry.technique<PairAverage, PairAverageOptions>("pairavg",
                                                      "gossip: weights averaged with a random partner, every H steps");
  registry.technique<Epidemic, EpidemicOptions>(
      "epidemic", "epidemic learning: an Adam step towards the mean with a random partner");
  registry.technique<Pipeline, PipelineOptions>(
      "pipeline", "the net in stages; micro-batches take random paths through the replicas");
  registry.technique<Spread, Spread::Options>(
      "spread", "measures how far replicas are apart and their averaged weights; exchanges nothing");
  registry.simulation("noloco/latency",
                      {"a pair exchange against a tree all-reduce, 8 to 1024 replicas", latency_table});
  registry.simulation("noloco/straggler", {"whom a replica that is ten times slower holds up", straggler_table});
}
