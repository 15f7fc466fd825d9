#pragma once
// NoLoCo (arXiv 2506.10911): replicas train alone with Adam; after every H inner steps each one meets one random
// partner, and a momentum step pulls its slow weights towards the pair's mean. Nobody ever waits for everybody.
// DiLoCo (arXiv 2311.08105) is the same with one group of all, where the pull vanishes.
//
// theta fast weights, phi slow weights, m outer momentum, N replicas, n group size, H inner steps between two outer
// steps, t global step, alpha outer momentum, beta outer learning rate, gamma pull towards the group's mean.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "etude/base/options.h"
#include "etude/comm/group_mean.h"
#include "etude/train/hooks.h"

namespace etude {
class Registry;
void register_noloco(Registry& registry);
}  // namespace etude

namespace etude::noloco {

/// Step 1, pairing: the partition of N replicas into groups of n before outer step t. From a keyed permutation pi,
/// group k = {pi[k], pi[k+K], ..., pi[k+(n-1)K]}, K = N / n; what is left over forms groups of one. Everybody computes
/// the same without a message. Members of a group are in ascending order. Required: 1 <= n <= N.
std::vector<std::vector<int>> pairing(uint64_t seed, int replicas, int group_size, int64_t t);

struct Outer {
  double alpha = 0.5, beta = 0.7, gamma = 0.7;
  bool nesterov = false;  ///< phi moves by alpha m + pull with the new m, instead of by m
};

/// Step 3, from the means of step 2 over the group, gbar = mean_j (theta_j - phi_j) and phibar = mean_j phi_j, the
/// latter given as its difference to phi:
///   m <- alpha m + beta gbar + gamma (phibar - phi);   phi <- phi + m;   theta <- phi.
void outer_step(const Tensor& theta, const Tensor& phi, const Tensor& m, const Tensor& gbar,
                const Tensor& phibar_minus_phi, const Outer& o);
/// The same from thetabar alone, as gbar + phibar = thetabar: for gamma = beta only,
///   m <- alpha m + beta (thetabar - phi);   phi <- phi + m;   theta <- phi.
void outer_step_one(const Tensor& theta, const Tensor& phi, const Tensor& m, const Tensor& thetabar, const Outer& o);

/// 2 (1 - alpha^2). The spread of phi is stable for 0 < gamma below it (derived for many replicas in random
/// independent pairs and heavy-ball momentum). Beyond it the spread grows, though the mean looks fine.
double stable_bound(double alpha);

/// sqrt(sum_ip (x_i[p] - mean_j x_j[p])^2 / (N P)), the paper's weight standard deviation, in double.
/// `replicas[i]` lists the tensors of replica i.
double weight_spread(const std::vector<std::vector<Tensor>>& replicas);

struct Options {
  int64_t every = 50, group = 2;
  double alpha = 0.5, beta = 0.7;
  std::optional<double> gamma;
  std::string outer = "heavyball", path = "auto";
  template <class V>
  void fields(V& v) {
    v("every", every, at_least(1), "inner steps between two outer steps (H)");
    v("group", group, at_least(1), "replicas that meet (n)");
    v("alpha", alpha, half_open(0, 1), "outer momentum");
    v("beta", beta, within(0, 2), "outer learning rate");
    v("gamma", gamma, within(0, 4), "pull towards the group's mean; default: beta");
    v("outer", outer, one_of({"heavyball", "nesterov"}), "how phi follows m; the authors' code is heavyball");
    v("path", path, one_of({"auto", "one", "two"}),
      "tensors exchanged: one (theta, or theta - phi for gamma = 0), or theta - phi and phi; auto: one where it is "
      "enough");
  }
};

struct DiLoCoOptions {
  int64_t every = 100;
  double alpha = 0.3, beta = 0.7;
  std::string outer = "heavyball";
  template <class V>
  void fields(V& v) {
    v("every", every, at_least(1), "inner steps between two outer steps (H)");
    v("alpha", alpha, half_open(0, 1), "outer momentum");
    v("beta", beta, within(0, 2), "outer learning rate");
    v("outer", outer, one_of({"heavyball", "nesterov"}), "how phi follows m; the authors' code is heavyball");
  }
};

struct PairAverageOptions {
  int64_t every = 20, group = 2;
  template <class V>
  void fields(V& v) {
    v("every", every, at_least(1), "inner steps between two meetings");
    v("group", group, at_least(1), "replicas that meet");
  }
};

struct EpidemicOptions {
  int64_t every = 20, group = 2;
  Schedule lr = 1e-3;
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  template <class V>
  void fields(V& v) {
    v("every", every, at_least(1), "inner steps between two meetings");
    v("group", group, at_least(1), "replicas that meet");
    v("lr", lr, at_least(0), "learning rate of the Adam step on theta - mean");
    v("beta1", beta1, half_open(0, 1), "Adam's decay of the mean of gradients");
    v("beta2", beta2, half_open(0, 1), "Adam's decay of the mean of squared gradients");
    v("eps", eps, positive(), "added to the root of the mean of squares");
  }
};

/// What all arms here share: after every H steps groups meet; every member hands tensors over, gets their mean over
/// its group, and moves its weights with it. Subclasses say what is handed over and what becomes of the mean.
/// Weights are all trained parameters; state lives in the replica's store under "noloco".
class Meeting : public Technique {
 public:
  /// group_size 0: all replicas.
  Meeting(std::string name, int64_t every, int64_t group_size)
      : name_(std::move(name)), every_(every), group_size_(group_size) {}
  Contract contract() const override;
  void on(Event event, Step& step) override;
  int rounds(Step& step) override;
  void post_early(Peers& peers, Step& step) override;
  void post(Peers& peers, Step& step, int round) override;
  void collect(Peers& peers, Step& step, int round) override;
  void evaluate(Evaluation& evaluation) override;

 protected:
  virtual void start(Step&) {}
  virtual std::vector<Tensor> offer(Step& step) = 0;
  /// Of what is offered, the last tensors where they are known before the last inner step: they travel while it is
  /// computed.
  virtual std::vector<Tensor> offer_early(Step&) { return {}; }
  virtual void take(Step& step, const std::vector<Tensor>& mean) = 0;
  /// n of a stage.
  int64_t group_size(const Step& step) const;

 private:
  std::vector<int> group_of(const Step& step) const;
  std::string name_;
  int64_t every_, group_size_;
  std::map<int, GroupMean> sides_;  ///< by replica; holds something only between the rounds of one exchange
};

/// The paper's method. Arms: noloco, noloco-gamma0.
class NoLoCo : public Meeting {
 public:
  /// Errors: Code::config for path = "one" with gamma unlike beta.
  explicit NoLoCo(const Options& options);

 protected:
  void start(Step& step) override;
  std::vector<Tensor> offer(Step& step) override;
  /// phi, known since the previous outer step, where two tensors travel.
  std::vector<Tensor> offer_early(Step& step) override;
  void take(Step& step, const std::vector<Tensor>& mean) override;

 private:
  std::vector<Tensor> slow_weights(Step& step) const;
  /// theta is enough for gamma = beta, theta - phi where nothing pulls: for gamma = 0, and in a group of all, where
  /// phibar = phi and the arithmetic stays that of DiLoCo.
  enum class Travels { theta, progress, progress_and_phi };
  Travels travels(const Step& step) const;
  Outer outer_;
  std::string path_;
};

/// All replicas average their progress; written without phibar. Arms: diloco, diloco-nesterov.
class DiLoCo : public Meeting {
 public:
  explicit DiLoCo(const DiLoCoOptions& options);

 protected:
  void start(Step& step) override;
  std::vector<Tensor> offer(Step& step) override;
  void take(Step& step, const std::vector<Tensor>& mean) override;

 private:
  DiLoCoOptions o_;
};

/// Plain gossip: theta <- mean of the group's theta. Adam's moments stay.
class PairAverage : public Meeting {
 public:
  explicit PairAverage(const PairAverageOptions& options) : Meeting("pairavg", options.every, options.group) {}

 protected:
  std::vector<Tensor> offer(Step& step) override;
  void take(Step& step, const std::vector<Tensor>& mean) override;
};

/// Epidemic Learning as in the authors' EL_optimizer: one Adam step, with moments of its own, on the gradient
/// theta - mean of the group's theta.
class Epidemic : public Meeting {
 public:
  explicit Epidemic(const EpidemicOptions& options) : Meeting("epidemic", options.every, options.group), o_(options) {}

 protected:
  void start(Step& step) override;
  std::vector<Tensor> offer(Step& step) override;
  void take(Step& step, const std::vector<Tensor>& mean) override;

 private:
  EpidemicOptions o_;
};

/// Measures what the others measure, and exchanges nothing. Arm: none.
class Spread : public Technique {
 public:
  struct Options {
    template <class V>
    void fields(V&) {}
  };
  explicit Spread(const Options&) {}
  Contract contract() const override { return {.name = "spread", .gathers = true}; }
  void evaluate(Evaluation& evaluation) override;
};

}  // namespace etude::noloco
