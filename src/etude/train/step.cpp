#include "etude/train/step.h"

#include <algorithm>
#include <cmath>

#include "etude/train/device.h"
#include "etude/train/loop.h"

namespace etude {

Step::Step(Trainer& trainer, Replica& replica) : trainer_(trainer), replica_(replica) {}

int64_t Step::number() const { return trainer_.counters_.step(); }
const Counters& Step::counters() const { return trainer_.counters_; }
Position Step::position() const { return {trainer_.counters_, trainer_.stage_.stop}; }
uint64_t Step::seed() const { return trainer_.stage_.seed; }
int Step::replicas() const { return trainer_.stage_.replicas; }

const std::string& Step::pass() const {
  ETUDE_CHECK(pass_ != nullptr, "there is no pass outside of one");
  return pass_->name;
}

Net& Step::net(const std::string& name) const {
  if (auto other = instead_.find(name); other != instead_.end()) return *other->second;
  auto it = replica_.nets.find(name);
  if (it != replica_.nets.end()) return *it->second;
  std::vector<std::string> known;
  for (const auto& [key, net] : replica_.nets) known.push_back(key);
  throw Error(Code::config, "there is no net '" + name + "'", "stage " + trainer_.stage_.name,
              did_you_mean(name, known, "declare it in [net." + name + "]"));
}

Learner& Step::learner(const std::string& name) const {
  auto it = replica_.learners.find(name);
  if (it != replica_.learners.end()) return it->second;
  std::vector<std::string> known;
  for (const auto& [key, learner] : replica_.learners) known.push_back(key);
  throw Error(Code::config, "there is no learner '" + name + "'", "stage " + trainer_.stage_.name,
              did_you_mean(name, known));
}

std::vector<Parameter> Step::parameters() const {
  std::vector<Parameter> all;
  for (const Learner* learner : learners_)
    all.insert(all.end(), learner->parameters.begin(), learner->parameters.end());
  return all;
}

std::vector<Parameter> Step::all_parameters() const {
  std::vector<Parameter> all;
  for (const LearnerSpec& spec : trainer_.stage_.learners) {
    const Parameters& own = replica_.learners.at(spec.name).parameters;
    all.insert(all.end(), own.begin(), own.end());
  }
  return all;
}

Store& Step::shared() const { return trainer_.shared_; }
Step Step::other(int replica) const {
  for (const auto& found : trainer_.replicas_)
    if (found->index == replica) return Step(trainer_, *found);
  ETUDE_CHECK(false, "replica " + std::to_string(replica) + " is hosted by another rank");
}
std::pair<int, int> Step::hosted() const { return trainer_.layout_.hosted(trainer_.rank()); }
Links* Step::links() const { return trainer_.links_; }
const Layout& Step::layout() const { return trainer_.layout_; }
RankGroup* Step::group() const { return trainer_.group_ ? &*trainer_.group_ : nullptr; }

Ctx Step::context(const Batch& of, bool train) const {
  Ctx ctx;
  ctx.seed = seed();
  ctx.step = number();
  ctx.train = train;
  ctx.id_B = of.id_B;
  ctx.format = trainer_.format_;
  ctx.recompute = train && trainer_.stage_.recompute;
  return ctx;
}

double Step::norm(const std::string& name) const {
  auto it = norms_.find(name);
  ETUDE_CHECK(it != norms_.end(), "the objective's norms() does not count '" + name + "'");
  return it->second > 0 ? it->second : 1.0;
}

void Step::log(const std::string& name, double value) {
  replica_.books.number(name + "/sum") += value;
  replica_.books.number(name + "/count") += 1;
}
void Step::count(Unit unit, double amount) { trainer_.counting_[unit] += amount; }

void Step::zero_gradients() {
  for (const Learner* learner : learners_)
    for (const Parameter& p : learner->parameters) p.value.mutable_grad().reset();
}

void Step::count_norms(const std::vector<Batch>& micro_batches) {
  norms_.clear();
  samples_ = 0;
  for (const Batch& micro : micro_batches) {
    samples_ += micro.size();
    for (const auto& [name, amount] : pass_->objective->norms(micro)) norms_[name] += amount;
  }
}

Terms Step::loss(const Batch& of, Ctx& ctx) {
  ETUDE_CHECK(pass_ != nullptr, "there is no loss outside of a pass");
  if (norms_.empty()) count_norms({of});
  const Batch here = on_device(of, trainer_.device_);
  Terms of_layers;
  ctx.aux = &of_layers;
  Terms terms = pass_->objective->loss(*this, here, ctx);
  ctx.aux = nullptr;
  const double share = samples_ > 0 ? static_cast<double>(of.size()) / static_cast<double>(samples_) : 1.0;
  for (Term& term : of_layers) {
    term.scale *= share;
    terms.push_back(std::move(term));
  }
  for (const auto& technique : trainer_.stage_.with) technique->terms(*this, here, terms);
  return terms;
}

Denominators Step::denominators(const Batch& whole) {
  count_norms({whole});
  return {norms_, samples_};
}

Tensor Step::loss_of_part(const Batch& part, const Denominators& of_whole, const std::string& net,
                          std::shared_ptr<Net> instead, std::map<std::string, double>& values) {
  const Denominators own{norms_, samples_};
  norms_ = of_whole.norms;
  samples_ = of_whole.samples;
  instead_[net] = std::move(instead);
  Ctx ctx = context(part);
  const Terms terms = loss(part, ctx);
  instead_.clear();
  norms_ = own.norms;
  samples_ = own.samples;
  return trainer_.sum_of_terms(*this, terms, values);
}

void Step::finish(const Batch& whole, const std::map<std::string, double>& values) {
  if (!whole.empty()) count(Unit::flops, pass_->objective->flops(*this, whole));
  if (skip_update || whole.empty()) {
    for (const Parameter& p : parameters()) p.value.mutable_grad() = torch::zeros_like(p.value);
    return;
  }
  double total = 0;
  for (const auto& [name, value] : values) total += value;
  log(pass() + "/loss", total);
  if (values.size() > 1)
    for (const auto& [name, value] : values) log(pass() + "/" + name, value);
}

double Step::compute(const Batch& of) { return trainer_.compute(*this, of); }

}  // namespace etude
