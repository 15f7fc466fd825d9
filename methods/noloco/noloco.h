#pragma once
// NoLoCo (arXiv 2506.10911): replicas train alone with Adam; after every H inner steps each meets one random
// partner, and a momentum step pulls its slow weights towards the pair's mean. DiLoCo is the same with one group of all.
//
// Symbols: theta fast weights, phi slow weights, m outer momentum, N replicas, n group size, H inner steps between
// outer steps, alpha momentum, beta outer learning rate, gamma pull towards the group's mean.

#include <optional>
#include <string>
#include <vector>

#include "etude/base/options.h"
#include "etude/train/hooks.h"

namespace etude {
class Registry;
void register_noloco(Registry& registry);
}  // namespace etude

namespace etude::noloco {

/// The partition of N replicas into groups of n before outer step t: a keyed permutation pi, group k = {pi[k],
/// pi[k+K], ...}, K = N / n. What is left over forms groups of one. Everybody computes the same, without a message.
/// Members of a group are in ascending order.
std::vector<std::vector<int>> pairing(uint64_t seed, int replicas, int group_size, int64_t t);

/// Mean over a group as first + sum_j (x_j - first) / n in ascending order: equal members give exactly their value.
Tensor group_mean(const std::vector<Tensor>& members);

struct Outer { double alpha = 0.5, beta = 0.7, gamma = 0.7; bool nesterov = false; };

/// The outer step with two exchanged tensors (Alg. 1): gbar = mean_j(theta_j - phi_j),
///   m <- alpha m + beta gbar + gamma (phibar - phi);  phi <- phi + m;  theta <- phi.
/// nesterov: phi <- phi + alpha m + beta gbar + gamma (phibar - phi), with the new m.
void outer_step(const Tensor& theta, const Tensor& phi, const Tensor& m, const Tensor& gbar, const Tensor& phibar, const Outer& o);
/// The same with one, for gamma = beta: m <- alpha m + beta (thetabar - phi).
void outer_step_one(const Tensor& theta, const Tensor& phi, const Tensor& m, const Tensor& thetabar, const Outer& o);

/// The spread of phi is stable for 0 < gamma < 2 (1 - alpha^2): random independent pairs, many replicas.
double stable_gamma(double alpha);

/// sqrt(sum_ip (x_i[p] - mean_j x_j[p])^2 / (N P)), the paper's weight standard deviation. `replicas[i]` lists
/// the tensors of replica i.
double weight_spread(const std::vector<std::vector<Tensor>>& replicas);

struct Options {
  int64_t every = 50, group = 2;
  double alpha = 0.5, beta = 0.7;
  std::optional<double> gamma;
  std::string outer = "heavyball", path = "auto";
  template <class V> void fields(V& v) {
    v("every", every, at_least(1), "inner steps between two outer steps (H)");
    v("group", group, at_least(0), "replicas that meet (n); 0: all of them, which is DiLoCo");
    v("alpha", alpha, half_open(0, 1), "outer momentum");
    v("beta", beta, within(0, 2), "outer learning rate");
    v("gamma", gamma, within(0, 4), "pull towards the group's mean; default: beta");
    v("outer", outer, one_of({"heavyball", "nesterov"}), "the authors' code adds m once (heavyball)");
    v("path", path, one_of({"auto", "one", "two"}), "tensors exchanged: theta alone (needs gamma = beta), or theta - phi and phi");
  }
};

/// The exchange as a technique.
class NoLoCo : public Technique {
 public:
  explicit NoLoCo(Options options);
  Contract contract() const override;
  void on(Event event, Step& step) override;
  int rounds(Step& step) override;
  void post(Peers& peers, Step& step, int round) override;
  void collect(Peers& peers, Step& step, int round) override;
  void evaluate(Evaluation& evaluation) override;

 private:
  std::vector<int> group_of(Step& step, int replica) const;
  bool one_tensor() const;
  Options o_;
  Outer outer_;
};

struct PairAverageOptions {
  int64_t every = 20, group = 2;
  template <class V> void fields(V& v) {
    v("every", every, at_least(1), "inner steps between two meetings");
    v("group", group, at_least(2), "replicas that meet");
  }
};

/// Plain gossip: theta <- mean of the group's theta; Adam's state stays.
class PairAverage : public Technique {
 public:
  explicit PairAverage(PairAverageOptions options) : o_(options) {}
  Contract contract() const override;
  int rounds(Step& step) override;
  void post(Peers& peers, Step& step, int round) override;
  void collect(Peers& peers, Step& step, int round) override;
  void evaluate(Evaluation& evaluation) override;

 private:
  PairAverageOptions o_;
};

/// Only measures: weight spread, and the loss of the averaged weights.
class Spread : public Technique {
 public:
  struct Options { template <class V> void fields(V&) {} };
  explicit Spread(Options) {}
  Contract contract() const override { return {.name = "spread"}; }
  void evaluate(Evaluation& evaluation) override;
};

}  // namespace etude::noloco
