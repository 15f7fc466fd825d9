#pragma once
// What the checks put into a stage to look on, or to break something: techniques and decorators.

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "etude/train/hooks.h"
#include "etude/train/step.h"
#include "tests/support/resume.h"

namespace etude::conformance {

using test::Problems;

/// Notes the samples that are drawn.
class Seen : public Technique {
 public:
  Contract contract() const override { return {.name = "seen", .acts = {Event::batch}}; }
  void on(Event, Step& step) override {
    for (int64_t b = 0; b < step.batch.size(); ++b) ids.push_back(step.batch.id_B[b].item<int64_t>());
  }
  std::vector<int64_t> ids;
};

/// In step two of the first replica's first pass, makes NaN of the first input of real numbers (if there is one), of
/// the largest tensor, or of the gradient of the last one; keeps what the weights were.
class Poison : public Technique {
 public:
  enum class What { input, weights, gradient };
  explicit Poison(What what) : what_(what) {}
  Contract contract() const override {
    return {.name = "poison", .acts = {what_ == What::gradient ? Event::project : Event::batch}};
  }
  void on(Event, Step& step) override {
    if (step.number() != 1 || step.replica() != 0 || !name.empty()) return;
    torch::NoGradGuard no_grad;
    const std::vector<Parameter> moved = step.parameters();
    if (what_ == What::input) {
      const auto real = std::find_if(step.batch.x.begin(), step.batch.x.end(),
                                     [](const auto& input) { return input.second.is_floating_point(); });
      if (real == step.batch.x.end()) return;
      name = real->first;
      real->second = torch::full_like(real->second, NAN);
    } else if (what_ == What::weights) {
      const Parameter largest =
          *std::max_element(moved.begin(), moved.end(),
                            [](const Parameter& a, const Parameter& b) { return a.value.numel() < b.value.numel(); });
      name = largest.name;
      largest.value.detach().fill_(NAN);
    } else {
      name = moved.back().name;
      moved.back().value.mutable_grad() = torch::full_like(moved.back().value, NAN);
    }
    for (const Parameter& p : step.all_parameters()) kept_.emplace_back(p.value, p.value.detach().clone());
  }
  bool weights_unchanged() const {
    return !kept_.empty() &&
           std::all_of(kept_.begin(), kept_.end(), [](const auto& k) { return test::same_bits(k.first, k.second); });
  }
  std::string name;  ///< of what was made NaN; "" if there was nothing

 private:
  What what_;
  std::vector<std::pair<Tensor, Tensor>> kept_;  ///< the tensor itself, and a copy
};

/// Everything that a loss may read but not change, as bytes.
inline std::string state_of(const Step& step) {
  std::string all;
  const auto add = [&](const std::string& name, const Tensor& value) {
    const Tensor whole = value.detach().contiguous();
    all += name + std::string(static_cast<const char*>(whole.data_ptr()), whole.nbytes());
  };
  for (const Parameter& p : step.all_parameters()) {
    add(p.name, p.value);
    const Net& net = step.net(p.name.substr(0, p.name.find('.')));
    for (const auto& buffer : net.named_buffers()) add(buffer.key(), buffer.value());
  }
  for (const Store* store : {&step.store(), &step.shared()}) {
    for (const auto& [name, value] : store->tensors()) add(name, value);
    all += store->host().dump();
  }
  return all;
}

inline std::string bytes_of(const Terms& terms) {
  std::string all;
  for (const Term& term : terms) {
    const Tensor item = term.item.detach().contiguous();
    all +=
        term.name + std::string(static_cast<const char*>(item.data_ptr()), item.nbytes()) + std::to_string(term.norm);
  }
  return all;
}

/// An objective that is asked twice each time, and looked at.
class WatchedObjective : public Objective {
 public:
  WatchedObjective(std::shared_ptr<Objective> inner, std::shared_ptr<Problems> problems)
      : inner_(std::move(inner)), problems_(std::move(problems)) {}
  Terms loss(Step& step, const Batch& batch, Ctx& ctx) override {
    const std::string before = state_of(step);
    Ctx again = ctx;
    Terms aux;
    again.aux = &aux;
    const std::string first = bytes_of(inner_->loss(step, batch, again));
    Terms terms = inner_->loss(step, batch, ctx);
    if (state_of(step) != before) problems_->push_back("loss() changes weights, buffers or the run state");
    if (bytes_of(terms) != first) problems_->push_back("loss() called again under the same context gives other terms");
    return terms;
  }
  Needs needs() const override { return inner_->needs(); }
  std::set<Event> acts() const override { return inner_->acts(); }
  void use(const Tokenizer& tokenizer) override { inner_->use(tokenizer); }
  Norms norms(const Batch& batch) const override { return inner_->norms(batch); }
  double flops(Step& step, const Batch& batch) const override { return inner_->flops(step, batch); }
  void measure(std::map<std::string, double>& values) const override { inner_->measure(values); }
  void on(Event event, Step& step) override { inner_->on(event, step); }

 private:
  std::shared_ptr<Objective> inner_;
  std::shared_ptr<Problems> problems_;
};

/// A technique whose terms() is looked at.
class WatchedTechnique : public Technique {
 public:
  WatchedTechnique(std::shared_ptr<Technique> inner, std::shared_ptr<Problems> problems)
      : inner_(std::move(inner)), problems_(std::move(problems)) {}
  void terms(Step& step, const Batch& batch, Terms& terms) override {
    const std::string before = state_of(step);
    inner_->terms(step, batch, terms);
    if (state_of(step) != before)
      problems_->push_back(inner_->contract().name + " changes weights, buffers or the run state in terms()");
  }
  Contract contract() const override { return inner_->contract(); }
  Format format() const override { return inner_->format(); }
  void on(Event event, Step& step) override { inner_->on(event, step); }
  void execute(Step& step, const Batch& batch) override { inner_->execute(step, batch); }
  void execute_all(std::vector<Step>& steps) override { inner_->execute_all(steps); }
  int64_t batch_size(Step& step) override { return inner_->batch_size(step); }
  void update(Step& step) override { inner_->update(step); }
  int rounds(Step& step) override { return inner_->rounds(step); }
  void post(Peers& peers, Step& step, int round) override { inner_->post(peers, step, round); }
  void collect(Peers& peers, Step& step, int round) override { inner_->collect(peers, step, round); }
  void evaluate(Evaluation& evaluation) override { inner_->evaluate(evaluation); }

 private:
  std::shared_ptr<Technique> inner_;
  std::shared_ptr<Problems> problems_;
};

}  // namespace etude::conformance
