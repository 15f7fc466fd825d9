// The loop, in the order of etude/train/hooks.h and docs/loop.md.

#include "etude/train/loop.h"

#include <cmath>

#include "etude/optim/optimizer.h"

namespace etude {
namespace {

/// scale * sum(item * weight) / norm
Tensor value_of(const Term& term) {
  const Tensor weighted = term.weight.defined() ? (term.item * term.weight).sum() : term.item.sum();
  return weighted * (term.scale / term.norm);
}

[[noreturn]] void stop_not_finite(const Step& step, const std::string& what, const std::string& where) {
  throw Error(Code::numeric,
              what + " in step " + std::to_string(step.number() + 1) + ", replica " + std::to_string(step.replica()),
              where,
              "nothing was updated; lower the learning rate, clip gradients, look at the data, or set on_nonfinite = "
              "\"skip_step\"");
}

}  // namespace

Fit Trainer::run() {
  resumed_ = restore();
  if (!resumed_) {
    move_weights_in();
    open_metrics(0);
    for (auto& replica : replicas_) {
      Step step(*this, *replica);
      fire(Event::begin, step);
    }
  }
  fit_.finished = true;
  while (!stage_.stop.reached(counters_)) {
    const double started = now_seconds();
    const Counters before = counters_;
    take_step();
    const double took = now_seconds() - started;
    counters_[Unit::seconds] += took;
    fit_.cost.step_seconds += took;

    const bool last = stage_.stop.reached(counters_);
    if (last || due(stage_.log.of(stage_.stop), before, counters_)) write_training_line();
    if (last || due(stage_.evaluate.of(stage_.stop), before, counters_)) evaluate();
    check_milestones(before);
    const bool leave = around_.interrupted && around_.interrupted() && !last;
    if (leave || last || due(stage_.checkpoint.every.of(stage_.stop), before, counters_)) save(false);
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
  fit_.counters = counters_;
  fit_.artifact = artifact();
  return std::move(fit_);
}

void Trainer::take_step() {
  for (auto& replica : replicas_) {
    Step step(*this, *replica);
    std::map<std::string, Batch> drawn;
    for (const Pass& pass : stage_.passes) {
      if (counters_.step() % pass.every != 0) continue;
      for (int k = 0; k < pass.times; ++k) take_pass(step, pass, drawn);
    }
    step.pass_ = nullptr;
    step.learners_.clear();
    fire(Event::step_end, step);
  }
  exchange();
  Step all(*this, *replicas_.front());
  for (const auto& [name, source] : stage_.sources) source->advance(all);
  count_traffic();
  counters_[Unit::steps] += 1;
}

void Trainer::take_pass(Step& step, const Pass& pass, std::map<std::string, Batch>& drawn) {
  step.pass_ = &pass;
  step.skip_update = false;
  step.learners_.clear();
  for (const std::string& name : pass.learners) step.learners_.push_back(&step.learner(name));

  auto earlier = drawn.find(pass.source);
  if (pass.reuse && earlier != drawn.end()) {
    step.batch = earlier->second;
  } else {
    Technique* plan = owner(Slot::plan);
    for (const auto& [name, source] : stage_.sources)
      if (name == pass.source) step.batch = source->next(step, plan ? plan->batch_size(step) : -1);
    counters_[Unit::samples] += static_cast<double>(step.batch.size());
    if (auto ids = step.batch.x.find("ids_BT"); ids != step.batch.x.end())
      counters_[Unit::tokens] += static_cast<double>(ids->second.numel());
    drawn[pass.source] = step.batch;
  }
  fire(Event::batch, step);
  fire(Event::follow_before, step);

  step.zero_gradients();
  if (Technique* executor = owner(Slot::executor))
    executor->execute(step, step.batch);
  else
    step.compute(step.batch);

  gradients(step);
  if (!step.skip_update) update(step);
  fire(Event::project_parameters, step);
  fire(Event::follow, step);
  fire(Event::quantise, step);
}

double Trainer::default_execute(Step& step, const Batch& batch) {
  const Pass& pass = *step.pass_;
  const auto inputs = step.parameters();
  if (batch.empty()) {
    for (const Parameter& p : inputs) p.value.mutable_grad() = torch::zeros_like(p.value);
    return 0;
  }
  const int64_t parts = std::min<int64_t>(stage_.accumulate, batch.size());
  std::vector<Batch> micro;
  for (int64_t i = 0; i < parts; ++i)
    micro.push_back(parts == 1 ? batch : batch.rows(i * batch.size() / parts, (i + 1) * batch.size() / parts));
  step.norms_.clear();
  for (const Batch& m : micro)
    for (const auto& [name, amount] : pass.objective->norms(m)) step.norms_[name] += amount;

  std::vector<Tensor> values;
  for (const Parameter& p : inputs) values.push_back(p.value);
  double total = 0;
  std::map<std::string, double> by_term;
  for (const Batch& m : micro) {
    Ctx ctx = step.context(m);
    Tensor loss;
    for (const Term& term : step.loss(m, ctx)) {
      const Tensor value = value_of(term);
      const double number = value.item<double>();
      if (!std::isfinite(number)) {
        for (const Learner* learner : step.learners_)
          if (learner->spec.on_nonfinite == "stop")
            stop_not_finite(step, "the loss is " + std::to_string(number),
                            "term " + term.name + " of pass " + pass.name);
        step.skip_update = true;
      }
      by_term[term.name] += number;
      total += number;
      loss = loss.defined() ? loss + value : value;
    }
    ETUDE_CHECK(loss.defined(), "an objective returned no terms");
    if (!step.skip_update) torch::autograd::backward({loss}, {}, std::nullopt, false, values);
  }
  std::set<std::string> nets;
  for (const Parameter& p : inputs) nets.insert(p.name.substr(0, p.name.find('.')));
  for (const std::string& name : nets) counters_[Unit::flops] += 3 * step.net(name).flops(batch);
  log(pass.name + "/loss", total);
  if (by_term.size() > 1)
    for (const auto& [name, value] : by_term) log(pass.name + "/" + name, value);
  return total;
}

void Trainer::gradients(Step& step) {
  for (Event event : {Event::unscale, Event::privatise, Event::sync, Event::project, Event::clip}) fire(event, step);
  for (Learner* learner : step.learners_) {
    std::vector<Tensor> grads;
    for (const Parameter& p : learner->parameters)
      if (p.value.grad().defined()) grads.push_back(p.value.grad());
    const double limit = learner->spec.clip.at(step.position());
    const double norm = limit > 0 ? clip_global_norm(grads, limit) : global_norm(grads);
    if (std::isfinite(norm)) {
      log(step.pass() + "/grad_norm", norm);
      continue;
    }
    if (learner->spec.on_nonfinite == "skip_step") {
      step.skip_update = true;
      log(step.pass() + "/skipped", 1);
      continue;
    }
    std::string first = "the sum of all";
    for (const Parameter& p : learner->parameters)
      if (p.value.grad().defined() && !torch::isfinite(p.value.grad()).all().item<bool>()) {
        first = p.name;
        break;
      }
    stop_not_finite(step, "a gradient is not finite", first);
  }
  fire(Event::guard, step);
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
    learner->optimizer->step(step.position(), grads);
  }
}

void Trainer::exchange() {
  torch::NoGradGuard no_grad;
  for (const auto& technique : stage_.with) {
    Step first(*this, *replicas_.front());
    const int rounds = technique->rounds(first);
    for (int round = 0; round < rounds; ++round) {
      for (auto& replica : replicas_) {
        Step step(*this, *replica);
        technique->post(mailbox_.peers(replica->index), step, round);
      }
      for (auto& replica : replicas_) {
        Step step(*this, *replica);
        technique->collect(mailbox_.peers(replica->index), step, round);
      }
      mailbox_.end_round();
    }
  }
}

void Trainer::fire(Event event, Step& step) {
  const bool parameters_move = event == Event::project_parameters || event == Event::follow ||
                               event == Event::quantise || event == Event::follow_before || event == Event::step_end;
  auto call = [&](Hooks& hooks) {
    if (!parameters_move) return hooks.on(event, step);
    torch::NoGradGuard no_grad;
    hooks.on(event, step);
  };
  if (step.pass_)
    call(*step.pass_->objective);
  else
    for (const Pass& pass : stage_.passes) call(*pass.objective);
  for (size_t i = 0; i < stage_.with.size(); ++i)
    if (contracts_[i].acts.count(event)) call(*stage_.with[i]);
}

void Trainer::log(const std::string& name, double value) {
  books_.number(name + "/sum") += value;
  books_.number(name + "/count") += 1;
}

void Trainer::count_traffic() {
  Traffic now;
  for (auto& replica : replicas_) now += mailbox_.peers(replica->index).traffic();
  counters_[Unit::bytes] += static_cast<double>(now.bytes - counted_.bytes);
  counters_[Unit::messages] += static_cast<double>(now.messages - counted_.messages);
  counters_[Unit::rounds] += static_cast<double>(now.rounds - counted_.rounds) / static_cast<double>(replicas_.size());
  counted_ = now;
}

}  // namespace etude
