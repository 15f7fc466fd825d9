#include "methods/noloco/noloco.h"

#include "etude/base/torch_pch.h"

#include <algorithm>
#include <cmath>

#include "etude/base/log.h"
#include "etude/train/registry.h"
#include "etude/train/trainer.h"

namespace etude::noloco {

std::vector<std::vector<int>> pairing(uint64_t seed, int replicas, int group_size, int64_t t) {
  ETUDE_CHECK(replicas >= 1 && group_size >= 1, "pairing needs replicas and a group size");
  const std::vector<int64_t> pi = Rng(Key{seed, Purpose::pairing, t, 0}).permutation(replicas);
  const int K = replicas / group_size;
  std::vector<std::vector<int>> groups(static_cast<size_t>(K));
  for (int k = 0; k < K; ++k)
    for (int j = 0; j < group_size; ++j) groups[static_cast<size_t>(k)].push_back(static_cast<int>(pi[static_cast<size_t>(k + j * K)]));
  for (int i = K * group_size; i < replicas; ++i) groups.push_back({static_cast<int>(pi[static_cast<size_t>(i)])});
  for (auto& group : groups) std::sort(group.begin(), group.end());
  return groups;
}

Tensor group_mean(const std::vector<Tensor>& members) {
  const Tensor& first = members.front();
  if (members.size() == 1) return first.clone();
  Tensor sum = members[1] - first;
  for (size_t j = 2; j < members.size(); ++j) sum.add_(members[j] - first);
  return first + sum / static_cast<double>(members.size());
}

void outer_step(const Tensor& theta, const Tensor& phi, const Tensor& m, const Tensor& gbar, const Tensor& phibar, const Outer& o) {
  const Tensor pull = o.beta * gbar + o.gamma * (phibar - phi);
  m.mul_(o.alpha).add_(pull);
  if (o.nesterov) phi.add_(o.alpha * m + pull);
  else phi.add_(m);
  theta.copy_(phi);
}

void outer_step_one(const Tensor& theta, const Tensor& phi, const Tensor& m, const Tensor& thetabar, const Outer& o) {
  ETUDE_CHECK(o.gamma == o.beta, "one tensor is enough only for gamma = beta");
  const Tensor pull = o.beta * (thetabar - phi);
  m.mul_(o.alpha).add_(pull);
  if (o.nesterov) phi.add_(o.alpha * m + pull);
  else phi.add_(m);
  theta.copy_(phi);
}

double stable_gamma(double alpha) { return 2 * (1 - alpha * alpha); }

double weight_spread(const std::vector<std::vector<Tensor>>& replicas) {
  double squares = 0, values = 0;
  for (size_t p = 0; p < replicas.front().size(); ++p) {
    std::vector<Tensor> all;
    for (const auto& replica : replicas) all.push_back(replica[p].to(torch::kFloat64));
    const Tensor stacked = torch::stack(all);
    squares += (stacked - stacked.mean(0, true)).square().sum().item<double>();
    values += static_cast<double>(stacked.numel());
  }
  return std::sqrt(squares / values);
}

namespace {

std::vector<Tensor> values_of(const std::vector<Parameter>& parameters) {
  std::vector<Tensor> values;
  for (const Parameter& p : parameters) values.push_back(p.value.detach());
  return values;
}

/// Sends tensors to the other members of a group.
void send_to(Peers& peers, const std::vector<int>& group, const std::string& tag, const std::vector<Tensor>& tensors) {
  for (int member : group)
    if (member != peers.me()) peers.send(member, tag, tensors);
}

/// What each member of a group holds, oneself included, in ascending order; who is not there is left out.
std::vector<std::vector<Tensor>> receive_all(Peers& peers, const std::vector<int>& group, const std::string& tag, const std::vector<Tensor>& own) {
  std::vector<std::vector<Tensor>> all;
  for (int member : group) {
    std::vector<Tensor> theirs = member == peers.me() ? own : peers.receive(member, tag);
    if (!theirs.empty()) all.push_back(std::move(theirs));
  }
  return all;
}

Tensor mean_of(const std::vector<std::vector<Tensor>>& all, size_t i) {
  std::vector<Tensor> members;
  for (const auto& one : all) members.push_back(one[i]);
  return group_mean(members);
}

bool due_after(Step& step, int64_t every) { return (step.number() + 1) % every == 0; }

std::vector<int> find_group(Step& step, int replica, int64_t group_size) {
  for (auto& group : pairing(step.seed(), step.replicas(), static_cast<int>(group_size), step.number() + 1))
    if (std::count(group.begin(), group.end(), replica)) return group;
  return {replica};
}

void log_spread(Evaluation& evaluation) {
  std::vector<std::vector<Tensor>> replicas;
  for (int r = 0; r < evaluation.replicas(); ++r) replicas.push_back(values_of(evaluation.parameters(r)));
  evaluation.log("noloco/weight_std", weight_spread(replicas));
  std::vector<Tensor> average;
  for (size_t p = 0; p < replicas.front().size(); ++p) average.push_back(mean_of(replicas, p));
  for (const auto& [name, value] : evaluation.measure_with(average)) evaluation.log("averaged/" + name.substr(name.find('/') + 1), value);
}

}  // namespace

NoLoCo::NoLoCo(Options options) : o_(std::move(options)) {
  outer_ = {o_.alpha, o_.beta, o_.gamma.value_or(o_.beta), o_.outer == "nesterov"};
  if (o_.path == "one" && outer_.gamma != outer_.beta)
    throw Error(Code::config, "path = \"one\" needs gamma = beta, not gamma = " + std::to_string(outer_.gamma), "technique noloco", "path = \"two\" exchanges what other gammas need");
  if (o_.group == 1) throw Error(Code::config, "group = 1 meets nobody", "technique noloco", "2 is the paper's; 0 is everybody");
  if (o_.group != 0 && outer_.gamma > 0 && outer_.gamma >= stable_gamma(outer_.alpha))
    warn("noloco: alpha = " + std::to_string(outer_.alpha) + " with gamma = " + std::to_string(outer_.gamma) + " lets the replicas' spread grow without bound; it is stable below gamma = " + std::to_string(stable_gamma(outer_.alpha)));
}

Contract NoLoCo::contract() const {
  return {.name = "noloco", .acts = {Event::begin}, .requires_ = {"replicas"}, .why = "its outer step is between replicas: set replicas = 2 or more"};
}

bool NoLoCo::one_tensor() const { return o_.path == "one" || (o_.path == "auto" && outer_.gamma == outer_.beta); }

std::vector<int> NoLoCo::group_of(Step& step, int replica) const { return find_group(step, replica, o_.group == 0 ? step.replicas() : o_.group); }

void NoLoCo::on(Event, Step& step) {
  if (o_.group > step.replicas())
    throw Error(Code::config, "group = " + std::to_string(o_.group) + " of only " + std::to_string(step.replicas()) + " replicas", "technique noloco", "at most the number of replicas; 0 is everybody");
  auto state = step.store().under("noloco");
  for (const Parameter& p : step.all_parameters()) {
    state.tensor("phi/" + p.name, [&] { return p.value.detach().clone(); });
    state.tensor("m/" + p.name, [&] { return torch::zeros_like(p.value); });
  }
}

int NoLoCo::rounds(Step& step) { return due_after(step, o_.every) ? 1 : 0; }

void NoLoCo::post(Peers& peers, Step& step, int) {
  const auto parameters = step.all_parameters();
  std::vector<Tensor> out = values_of(parameters);
  if (!one_tensor()) {
    auto state = step.store().under("noloco");
    for (size_t i = 0; i < parameters.size(); ++i) {
      const Tensor phi = state.tensor("phi/" + parameters[i].name);
      out[i] = out[i] - phi;
      out.push_back(phi);
    }
  }
  auto outbox = step.store().under("noloco-outbox");
  for (size_t i = 0; i < out.size(); ++i) outbox.tensor(std::to_string(i), [&] { return out[i].clone(); });
  send_to(peers, group_of(step, peers.me()), "outer", out);
}

void NoLoCo::collect(Peers& peers, Step& step, int) {
  const auto parameters = step.all_parameters();
  auto state = step.store().under("noloco");
  auto outbox = step.store().under("noloco-outbox");
  const size_t sent = parameters.size() * (one_tensor() ? 1 : 2);
  std::vector<Tensor> own;
  for (size_t i = 0; i < sent; ++i) {
    own.push_back(outbox.tensor(std::to_string(i)));
    outbox.drop(std::to_string(i));
  }
  const auto all = receive_all(peers, group_of(step, peers.me()), "outer", own);
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Tensor theta = parameters[i].value.detach();
    const Tensor phi = state.tensor("phi/" + parameters[i].name), m = state.tensor("m/" + parameters[i].name);
    if (one_tensor()) outer_step_one(theta, phi, m, mean_of(all, i), outer_);
    else outer_step(theta, phi, m, mean_of(all, i), mean_of(all, i + parameters.size()), outer_);
  }
}

void NoLoCo::evaluate(Evaluation& evaluation) { log_spread(evaluation); }

Contract PairAverage::contract() const { return {.name = "pairavg", .requires_ = {"replicas"}, .why = "replicas average with each other: set replicas = 2 or more"}; }
int PairAverage::rounds(Step& step) { return due_after(step, o_.every) ? 1 : 0; }

void PairAverage::post(Peers& peers, Step& step, int) { send_to(peers, find_group(step, peers.me(), o_.group), "theta", values_of(step.all_parameters())); }

void PairAverage::collect(Peers& peers, Step& step, int) {
  const std::vector<Tensor> theta = values_of(step.all_parameters());
  const auto all = receive_all(peers, find_group(step, peers.me(), o_.group), "theta", theta);
  for (size_t i = 0; i < theta.size(); ++i) theta[i].copy_(mean_of(all, i));
}

void PairAverage::evaluate(Evaluation& evaluation) { log_spread(evaluation); }
void Spread::evaluate(Evaluation& evaluation) { log_spread(evaluation); }

}  // namespace etude::noloco

void etude::register_noloco(Registry& registry) {
  using namespace noloco;
  registry.technique<NoLoCo, noloco::Options>("noloco", "outer step with one random partner; group = 0 is DiLoCo");
  registry.technique<PairAverage, PairAverageOptions>("pairavg", "gossip: fast weights averaged with a random partner");
  registry.technique<Spread, Spread::Options>("spread", "measures how far replicas are apart, and their averaged weights");
}
