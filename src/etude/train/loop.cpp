// The loop, in the order of etude/train/hooks.h and docs/loop.md.

#include "etude/train/loop.h"

#include <algorithm>
#include <cmath>

#include "etude/base/options.h"
#include "etude/base/text.h"
#include "etude/comm/rehearsal.h"
#include "etude/optim/optimizer.h"

namespace etude {
namespace {

/// scale * sum(item * weight) / norm
Tensor value_of(const Term& term) {
  const Tensor weighted = term.weight.defined() ? (term.item * term.weight).sum() : term.item.sum();
  return weighted * (term.scale / term.norm);
}

Error not_finite(const Step& step, const std::string& what, const std::string& where) {
  return Error(Code::numeric,
               what + " in step " + std::to_string(step.number() + 1) + ", replica " + std::to_string(step.replica()),
               where,
               "nothing was updated; lower the learning rate, clip gradients, look at the data, or set on_nonfinite = "
               "\"skip_step\"");
}

bool stops_when_not_finite(const Step& step) {
  return std::any_of(step.learners().begin(), step.learners().end(),
                     [](const Learner* learner) { return learner->spec.on_nonfinite == "stop"; });
}

}  // namespace

Fit Trainer::run() {
  enter("broadcast");
  resumed_ = restore();
  begun_with_ = counters_;
  if (!resumed_) {
    move_weights_in();
    if (leads()) open_metrics(0);
    for (auto& replica : replicas_) {
      Step step(*this, *replica);
      fire(Event::begin, step);
    }
    Counters before_all;
    before_all.value.fill(-1);
    check_milestones(before_all);
  }
  fit_.finished = true;
  while (!stage_.stop.reached(counters_)) {
    if (links_ && links_->leaves_before(counters_.step())) {
      save(Saving::leaving);
      fit_.finished = false;
      break;
    }
    const double started = now_seconds();
    const Counters before = counters_;
    take_step();
    const double took = now_seconds() - started;
    counters_[Unit::seconds] += took;
    fit_.cost.step_seconds += took;
    check_that_it_ends();

    const bool last = stage_.stop.reached(counters_);
    if (last || due(stage_.log.of(stage_.stop), before, counters_)) write_training_line();
    if (last || due(stage_.evaluate.of(stage_.stop), before, counters_)) evaluate();
    check_milestones(before);
    bool leave = around_.interrupted && around_.interrupted() && !last;
    if (leave && links_) {
      links_->ask_to_leave();
      leave = false;  // before a step that all ranks agree on
    }
    if (leave || last)
      save(Saving::leaving);
    else if (due(stage_.checkpoint.every.of(stage_.stop), before, counters_))
      save(Saving::periodic);
    settle();
    show_progress(took);
    if (leave) {
      fit_.finished = false;
      break;
    }
  }
  if (fit_.finished) {
    if (evaluated_at_ != counters_.step()) evaluate();
    for (auto& replica : replicas_) {
      Step step(*this, *replica);
      fire(Event::end, step);
    }
  }
  enter("shutdown");
  close();
  while (!pending_.empty()) settle_next();
  fit_.led = leads();
  return std::move(fit_);
}

void Trainer::enter(const std::string& operation) const {
  if (links_) links_->enter({counters_.step(), operation});
}

void Trainer::take_step() {
  const double started = now_seconds();
  std::vector<Step> steps;
  for (auto& replica : replicas_) steps.emplace_back(*this, *replica);
  begin_step(steps);
  for (const Pass& pass : stage_.passes) {
    if (counters_.step() % pass.every != 0) continue;
    for (int k = 0; k < pass.times; ++k) take_pass(steps, pass);
  }
  for (Step& step : steps) {
    step.pass_ = nullptr;
    step.learners_.clear();
    fire(Event::step_end, step);
  }
  rehearsal().slow_down(now_seconds() - started);
  exchange(steps);
  for (const auto& [name, source] : stage_.sources) source->advance(steps.front());
  // The replicas of other ranks train on as much as those here.
  const double all = static_cast<double>(layout_.replicas()) / static_cast<double>(replicas_.size());
  for (Unit unit : {Unit::samples, Unit::tokens, Unit::flops}) counting_[unit] *= all;
  for (int u = 0; u < kUnits; ++u) counters_.value[static_cast<size_t>(u)] += counting_.value[static_cast<size_t>(u)];
  counting_ = Counters();
  counters_[Unit::epochs] = stage_.sources.front().second->epochs(steps.front());
  count_traffic();
  counters_[Unit::steps] += 1;
}

/// All replicas side by side: none is updated before all have their gradients, so that an executor may lead one
/// replica's samples through the nets of another.
void Trainer::take_pass(std::vector<Step>& steps, const Pass& pass) {
  for (Step& step : steps) begin_pass(step, pass);
  if (Technique* executor = owner(Slot::executor))
    executor->execute_all(steps);
  else
    for (Step& step : steps) step.compute(step.batch);
  for (Step& step : steps) {
    gradients(step);
    if (!step.skip_update) update(step);
    for (Event event : {Event::project_parameters, Event::follow, Event::quantise}) fire(event, step);
  }
}

void Trainer::begin_pass(Step& step, const Pass& pass) {
  step.pass_ = &pass;
  step.skip_update = false;
  step.norms_.clear();
  step.learners_.clear();
  for (const std::string& name : pass.learners) step.learners_.push_back(&step.learner(name));
  draw(step);
  fire(Event::batch, step);
  fire(Event::follow_before, step);
  check_inputs(step);
  step.zero_gradients();
}

void Trainer::draw(Step& step) {
  const Pass& pass = *step.pass_;
  if (auto earlier = step.drawn_.find(pass.source); pass.reuse && earlier != step.drawn_.end()) {
    step.batch = earlier->second;
    return;
  }
  Technique* plan = owner(Slot::plan);
  const auto source =
      std::find_if(stage_.sources.begin(), stage_.sources.end(), [&](const auto& s) { return s.first == pass.source; });
  step.batch = source->second->next(step, plan ? plan->batch_size(step) : -1);
  counting_[Unit::samples] += static_cast<double>(step.batch.size());
  if (auto ids = step.batch.x.find("ids_BT"); ids != step.batch.x.end())
    counting_[Unit::tokens] += static_cast<double>(ids->second.numel());
  step.drawn_[pass.source] = step.batch;
}

void Trainer::check_inputs(const Step& step) const {
  if (step.batch.empty()) return;
  for (const std::string& name : step.pass_->objective->needs().inputs) {
    if (step.batch.x.count(name)) continue;
    std::vector<std::string> given;
    for (const auto& [key, value] : step.batch.x) given.push_back(key);
    throw Error(Code::config,
                "the objective of pass '" + step.pass() + "' needs '" + name + "', which is not in its batch",
                "stage " + stage_.name + ", source " + step.pass_->source,
                did_you_mean(name, given, "the source gives " + options_detail::listed(given)));
  }
}

double Trainer::compute(Step& step, const Batch& batch) {
  const Pass& pass = *step.pass_;
  std::vector<Tensor> moving;
  for (const Learner* learner : step.learners_)
    for (const Parameter& p : learner->parameters) moving.push_back(p.value);
  const auto zero = [&] {
    for (const Tensor& value : moving) value.mutable_grad() = torch::zeros_like(value);
  };
  // Where nothing else could get gradients, the engine need not be told what should.
  const std::vector<Tensor> inputs = moving.size() == trainable_ ? std::vector<Tensor>() : moving;
  // The optimizer steps all the same: momentum and decay don't stop, as private training requires.
  if (batch.empty()) return zero(), 0.0;

  const int64_t parts = std::min<int64_t>(stage_.accumulate, batch.size());
  std::vector<Batch> micro_batches;
  for (int64_t i = 0; i < parts; ++i)
    micro_batches.push_back(parts == 1 ? batch : batch.rows(i * batch.size() / parts, (i + 1) * batch.size() / parts));
  step.count_norms(micro_batches);
  for (Batch& micro : micro_batches) micro = own_rows(micro);
  std::erase_if(micro_batches, [](const Batch& micro) { return micro.empty(); });

  std::map<std::string, double> values;
  Technique* const sync = owner(Slot::sync);
  for (const Batch& micro : micro_batches) {
    Ctx ctx = step.context(micro);
    const Tensor loss = sum_of_terms(step, step.loss(micro, ctx), values);
    if (step.skip_update) break;
    const bool last = &micro == &micro_batches.back() && sync_may_begin_;
    if (sync) sync->before_backward(step, last);
    if (gradient_sync_) gradient_sync_->before_backward(step, last);
    torch::autograd::backward({loss}, {}, std::nullopt, false, inputs);
  }
  counting_[Unit::flops] += pass.objective->flops(step, batch);
  if (step.skip_update) return zero(), std::nan("");

  double total = 0;
  for (const auto& [name, value] : values) total += value;
  log_sum(step, pass.name + "/loss", total);
  if (values.size() > 1)
    for (const auto& [name, value] : values) log_sum(step, pass.name + "/" + name, value);
  return total;
}

/// Whether gradients are what Event::sync would see once a backward is over: nobody changes them in between, or may run
/// another backward.
bool Trainer::sync_sees_gradients_first() const {
  if (owner(Slot::executor)) return false;
  return std::none_of(contracts_.begin(), contracts_.end(), [&](const Contract& contract) {
    return std::any_of(contract.acts.begin(), contract.acts.end(),
                       [&](Event event) { return event >= Event::unscale && event < Event::sync; });
  });
}

/// Those of a micro-batch that this rank computes.
Batch Trainer::own_rows(const Batch& micro) const {
  if (!group_) return micro;
  const int64_t i = group_->index(), n = group_->size();
  return micro.rows(i * micro.size() / n, (i + 1) * micro.size() / n);
}

/// A metric that is a sum over the rows of the replica, of which this rank has its own.
void Trainer::log_sum(Step& step, const std::string& name, double value) const {
  if (!group_) return step.log(name, value);
  step.replica_.books.number(name + "/share") += value;
  step.replica_.books.number(name + "/sum");
  step.replica_.books.number(name + "/count") += 1;
}

Tensor Trainer::sum_of_terms(Step& step, const Terms& terms, std::map<std::string, double>& values) {
  Tensor sum;
  for (const Term& term : terms) {
    const Tensor value = value_of(term);
    const double number = value.item<double>();
    values[term.name] += number;
    sum = sum.defined() ? sum + value : value;
    if (std::isfinite(number)) continue;
    step.skip_update = true;
    if (!stops_when_not_finite(step)) continue;
    const Error error =
        not_finite(step, "the loss is " + plain_number(number), "term " + term.name + " of pass " + step.pass());
    if (!group_) throw error;
    if (!held_) held_ = error;  // until the ranks that share the replica know it too
  }
  ETUDE_CHECK(sum.defined(), "an objective returned no terms");
  return sum;
}

void Trainer::gradients(Step& step) {
  for (Event event : {Event::unscale, Event::privatise}) fire(event, step);
  const bool skips_here = step.skip_update;
  fire(Event::sync, step);
  if (gradient_sync_) gradient_sync_->finish(step);
  if (held_) throw *held_;
  if (step.skip_update && !skips_here && stops_when_not_finite(step))
    throw not_finite(step, "the loss of another rank is not finite", "pass " + step.pass());
  for (Event event : {Event::project, Event::clip}) fire(event, step);
  for (Learner* learner : step.learners_) clip(step, *learner);
  fire(Event::guard, step);
  if (std::any_of(step.learners_.begin(), step.learners_.end(),
                  [](const Learner* learner) { return learner->spec.on_nonfinite == "skip_step"; }))
    step.log(step.pass() + "/skipped", step.skip_update ? 1 : 0);
}

/// Stops, or has the whole pass skipped, when a gradient is not finite.
void Trainer::clip(Step& step, Learner& learner) {
  std::vector<Tensor> gradients;
  for (const Parameter& p : learner.parameters)
    if (p.value.grad().defined()) gradients.push_back(p.value.grad());
  const double limit = learner.spec.clip.at(step.position());
  double norm = global_norm(gradients);
  if (Technique* sync = owner(Slot::sync); sync && group_) norm = sync->gradient_norm(step, norm);
  const bool in_update = clips_in_update(step);
  learner.gradient_scale = limit > 0 && in_update ? clip_factor(norm, limit) : 1;
  if (limit > 0 && !in_update) clip_from_norm(gradients, norm, limit);
  if (std::isfinite(norm)) {
    if (step.skip_update) return;
    const std::string name = step.pass() + "/grad_norm";
    step.log(step.learners_.size() == 1 ? name : name + "/" + learner.spec.name, norm);
    return;
  }
  if (learner.spec.on_nonfinite == "skip_step") {
    step.skip_update = true;
    return;
  }
  for (const Parameter& p : learner.parameters)
    if (p.value.grad().defined() && !torch::isfinite(p.value.grad()).all().item<bool>())
      throw not_finite(step, "the gradient of " + p.name + " is not finite", p.name);
  throw not_finite(step, "the norm of all gradients of learner '" + learner.spec.name + "' overflows", step.pass());
}

/// Whether nobody but the frame's own update reads the clipped gradients: then they need no pass of their own.
bool Trainer::clips_in_update(const Step& step) const {
  if (owner(Slot::optimizer) || step.pass_->objective->acts().count(Event::guard)) return false;
  return std::none_of(contracts_.begin(), contracts_.end(),
                      [](const Contract& contract) { return contract.acts.count(Event::guard) > 0; });
}

void Trainer::update(Step& step) {
  torch::NoGradGuard no_grad;
  if (Technique* optimizer = owner(Slot::optimizer)) {
    optimizer->update(step);
    return;
  }
  for (Learner* learner : step.learners_) {
    std::vector<Tensor> grads;
    for (const Parameter& p : learner->parameters) grads.push_back(p.value.grad());
    learner->optimizer->step(step.position(), grads, learner->gradient_scale);
  }
}

void Trainer::begin_step(std::vector<Step>& steps) {
  const torch::NoGradGuard no_grad;
  peers_.begin_step(counters_.step());
  for (size_t i = 0; i < stage_.with.size(); ++i) {
    peers_.begin_technique(static_cast<int>(i));
    for (Step& step : steps) stage_.with[i]->post_early(peers_.peers(step.replica()), step);
  }
  enter("forward");
}

void Trainer::exchange(std::vector<Step>& steps) {
  const torch::NoGradGuard no_grad;
  peers_.begin_exchange();
  for (size_t i = 0; i < stage_.with.size(); ++i) {
    Technique& technique = *stage_.with[i];
    peers_.begin_technique(static_cast<int>(i));
    const int rounds = technique.rounds(steps.front());
    if (rounds > 0) enter("exchange");
    for (int round = 0; round < rounds; ++round) {
      for (Step& step : steps) technique.post(peers_.peers(step.replica()), step, round);
      for (Step& step : steps) technique.collect(peers_.peers(step.replica()), step, round);
      peers_.end_round();
    }
  }
  peers_.end_step();
}

void Trainer::fire(Event event, Step& step) {
  const bool may_record = event == Event::batch || (event >= Event::unscale && event <= Event::guard);
  const torch::AutoGradMode mode(may_record && torch::GradMode::is_enabled());
  if (step.pass_) {
    step.pass_->objective->on(event, step);
  } else {
    std::set<const Objective*> called;  // passes may share one
    for (const Pass& pass : stage_.passes)
      if (called.insert(pass.objective.get()).second) pass.objective->on(event, step);
  }
  for (size_t i = 0; i < stage_.with.size(); ++i)
    if (contracts_[i].acts.count(event)) stage_.with[i]->on(event, step);
}

/// A stop rule whose counter does not move would never be reached.
void Trainer::check_that_it_ends() const {
  constexpr int64_t kPatience = 1000;
  if (counters_.step() != kPatience || counters_[stage_.stop.unit] > 0) return;
  const std::string unit(unit_name(stage_.stop.unit));
  throw Error(Code::config,
              "after " + std::to_string(kPatience) + " steps none of stop = \"" + stage_.stop.text() +
                  "\" is done: nothing here counts " + unit,
              "stage " + stage_.name, "stop at a count of steps");
}

void Trainer::count_traffic() {
  Traffic now;
  for (auto& replica : replicas_)
    if (is_head(*replica)) now += peers_.peers(replica->index).traffic();
  counters_[Unit::bytes] += static_cast<double>(now.bytes - counted_.bytes);
  counters_[Unit::messages] += static_cast<double>(now.messages - counted_.messages);
  counters_[Unit::rounds] += static_cast<double>(now.rounds - counted_.rounds) / static_cast<double>(stage_.replicas);
  counted_ = now;
}

}  // namespace etude
