// Making the loop's inside from a stage: checks, replicas, learners, weights moved in.

#include <sys/resource.h>

#include <algorithm>
#include <sstream>

#include "etude/base/log.h"
#include "etude/train/loop.h"

namespace etude {
namespace {

bool begins_with(const std::string& text, const std::string& prefix) { return text.rfind(prefix, 0) == 0; }

/// "model" covers "model.x"; "model.layers.1" covers "model.layers.1.y" but not "model.layers.10.y".
bool covers(const std::string& selector, const std::string& parameter) {
  return begins_with(parameter, selector) &&
         (parameter.size() == selector.size() || parameter[selector.size()] == '.' || selector.back() == '.');
}

std::set<std::string> traits(const TrainStage& stage) {
  std::set<std::string> found;
  if (stage.replicas > 1) found.insert("replicas");
  if (stage.accumulate > 1) found.insert("accumulate");
  for (const Pass& pass : stage.passes) {
    switch (pass.objective->needs().coupling) {
      case Coupling::item:
        found.insert("item_coupled");
        break;
      case Coupling::micro:
        found.insert("micro_coupled");
        break;
      case Coupling::batch:
        found.insert("batch_coupled");
        break;
    }
  }
  for (const auto& [name, source] : stage.sources) {
    if (source->kind() == Source::Kind::stateful) found.insert("stateful_source");
    if (source->kind() == Source::Kind::on_policy) found.insert("on_policy");
  }
  return found;
}

template <class List, class Name>
void unique_names(const List& list, const Name& name, const std::string& what, const std::string& place) {
  std::set<std::string> seen;
  for (const auto& one : list)
    if (!seen.insert(name(one)).second)
      throw Error(Code::config, "two " + what + " are called '" + name(one) + "'", place,
                  "give each a name of its own");
}

void need(const std::string& name, const std::vector<std::string>& known, const std::string& what,
          const std::string& place) {
  if (std::find(known.begin(), known.end(), name) == known.end())
    throw Error(Code::config, "there is no " + what + " '" + name + "'", place,
                did_you_mean(name, known, "declare it"));
}

}  // namespace

std::string describe(const TrainStage& stage) {
  const std::string place = "stage " + stage.name;
  std::vector<std::string> nets, learners, sources;
  for (const auto& net : stage.nets) nets.push_back(net.name);
  for (const auto& learner : stage.learners) learners.push_back(learner.name);
  for (const auto& [name, source] : stage.sources) sources.push_back(name);
  unique_names(
      nets, [](const auto& n) { return n; }, "nets", place);
  unique_names(
      learners, [](const auto& n) { return n; }, "learners", place);
  unique_names(
      sources, [](const auto& n) { return n; }, "sources", place);
  if (stage.replicas < 1)
    throw Error(Code::config, "replicas = " + std::to_string(stage.replicas), place, "at least 1");
  if (stage.accumulate < 1)
    throw Error(Code::config, "accumulate = " + std::to_string(stage.accumulate), place, "at least 1");
  if (stage.passes.empty()) throw Error(Code::config, "a training stage needs a pass", place, "add a [[pass]]");
  if (stage.stop.unit == Unit::percent)
    throw Error(Code::config, "stop = \"" + stage.stop.text() + "\" is relative to itself", place,
                "give a count, such as \"400 steps\"");
  for (const auto& learner : stage.learners)
    for (const auto& selector : learner.params)
      need(selector.substr(0, selector.find('.')), nets, "net", place + ", learner " + learner.name);
  const std::set<std::string> has = traits(stage);
  for (const Pass& pass : stage.passes) {
    need(pass.source, sources, "source", place + ", pass " + pass.name);
    for (const auto& learner : pass.learners) need(learner, learners, "learner", place + ", pass " + pass.name);
    if (stage.accumulate > 1 && pass.objective->needs().coupling == Coupling::batch)
      throw Error(Code::config,
                  "accumulate = " + std::to_string(stage.accumulate) + " would cut the batch that the loss of pass '" +
                      pass.name + "' couples",
                  place, "set accumulate = 1, or choose an objective whose items are independent");
  }
  std::map<Slot, std::string> owners;
  for (const auto& technique : stage.with) {
    const Contract contract = technique->contract();
    for (Slot slot : contract.owns)
      if (auto [it, fresh] = owners.emplace(slot, contract.name); !fresh)
        throw Error(
            Code::config,
            "'" + it->second + "' and '" + contract.name + "' both own the slot '" + std::string(slot_name(slot)) + "'",
            place, "use one of them");
    for (const auto& trait : contract.requires_)
      if (!has.count(trait))
        throw Error(Code::config, "'" + contract.name + "' needs a stage that is '" + trait + "'", place, contract.why);
    for (const auto& trait : contract.refuses)
      if (has.count(trait))
        throw Error(Code::config, "'" + contract.name + "' refuses a stage that is '" + trait + "'", place,
                    contract.why);
  }

  std::ostringstream out;
  out << "stage " << stage.name << ": " << stage.replicas << (stage.replicas == 1 ? " replica, " : " replicas, ")
      << "until " << stage.stop.text() << '\n';
  for (const Pass& pass : stage.passes) {
    out << "  pass " << pass.name << " on " << pass.source << " moves";
    for (const auto& learner : pass.learners) out << ' ' << learner;
    if (pass.every > 1) out << ", every " << pass.every << " steps";
    if (pass.times > 1) out << ", " << pass.times << " times";
    out << '\n';
  }
  for (Slot slot : {Slot::plan, Slot::executor, Slot::sync, Slot::optimizer})
    out << "  " << slot_name(slot) << ": " << (owners.count(slot) ? owners[slot] : std::string("the frame")) << '\n';
  for (const auto& technique : stage.with) {
    const Contract contract = technique->contract();
    out << "  " << contract.name << " acts at";
    for (Event event : contract.acts) out << ' ' << event_name(event);
    if (contract.requires_.count("replicas")) out << (contract.acts.empty() ? " exchange" : " and exchange");
    out << '\n';
  }
  return out.str();
}

Trainer::Trainer(const TrainStage& stage, const Surroundings& around)
    : stage_(stage), around_(around), mailbox_(stage.replicas) {
  describe(stage);
  for (const auto& technique : stage.with) contracts_.push_back(technique->contract());
  for (int r = 0; r < stage.replicas; ++r) make_replica(r);
  if (!around.directory.empty()) {
    file::make_directories(around.directory);
    checkpoints_.emplace(around.directory);
  }
}

void Trainer::make_replica(int index) {
  auto replica = std::make_unique<Replica>();
  replica->index = index;
  for (const NetSpec& spec : stage_.nets) {
    std::shared_ptr<Net>& shared = frozen_[spec.name];
    if (spec.role != "frozen" || !shared) {
      std::shared_ptr<Net> net = spec.make();
      net->initialise(stage_.seed);
      if (spec.role == "frozen") shared = net;
      replica->nets[spec.name] = net;
    } else {
      replica->nets[spec.name] = shared;
    }
    if (spec.role != "frozen") frozen_.erase(spec.name);
    if (spec.role != "trained")
      for (auto& p : replica->nets[spec.name]->parameters()) p.set_requires_grad(false);
  }
  std::map<std::string, std::string> taken;
  for (const LearnerSpec& spec : stage_.learners) {
    Learner& learner = replica->learners[spec.name];
    learner.spec = spec;
    for (const auto& [name, net] : replica->nets)
      for (const auto& p : net->named_parameters()) {
        const std::string full = name + "." + p.key();
        if (std::none_of(spec.params.begin(), spec.params.end(), [&](const auto& s) { return covers(s, full); }))
          continue;
        if (auto [it, fresh] = taken.emplace(full, spec.name); !fresh)
          throw Error(Code::config, "learners '" + it->second + "' and '" + spec.name + "' both hold '" + full + "'",
                      "stage " + stage_.name, "learners must be disjoint");
        learner.parameters.push_back({full, p.value(), net->tags(p.key())});
        if (index == 0) fit_.cost.parameters += p.value().numel();
      }
    if (learner.parameters.empty())
      throw Error(Code::config, "learner '" + spec.name + "' holds no parameter", "stage " + stage_.name,
                  "see the names that `etude check` prints");
    learner.optimizer = make_optimizer(spec.optimizer, learner.parameters);
  }
  replicas_.push_back(std::move(replica));
}

Technique* Trainer::owner(Slot slot) const {
  for (size_t i = 0; i < contracts_.size(); ++i)
    if (contracts_[i].owns.count(slot)) return stage_.with[i].get();
  return nullptr;
}

void Trainer::move_weights_in() {
  torch::NoGradGuard no_grad;
  for (const InitSpec& spec : stage_.init) {
    ETUDE_CHECK(around_.artifact, "a stage with init needs its graph");
    const std::string place = "stage " + stage_.name + ", init from " + spec.from;
    const Artifact artifact = around_.artifact(spec.from);
    std::map<std::string, Tensor> offered;
    for (const auto& [name, value] : artifact.tensors) {
      if (!begins_with(name, spec.net + "/")) continue;
      std::string key = name.substr(spec.net.size() + 1);
      if (std::any_of(spec.drop.begin(), spec.drop.end(), [&](const auto& d) { return begins_with(key, d); })) continue;
      for (const auto& [from, to] : spec.rename)
        if (begins_with(key, from)) {
          key = to + key.substr(from.size());
          break;
        }
      offered[key] = value;
    }
    int64_t moved = 0, kept = 0;
    for (auto& replica : replicas_) {
      auto net = replica->nets.find(spec.to);
      if (net == replica->nets.end()) throw Error(Code::config, "there is no net '" + spec.to + "'", place);
      std::map<std::string, Tensor> left = offered;
      for (const auto& p : net->second->named_parameters()) {
        if (std::any_of(spec.fresh.begin(), spec.fresh.end(), [&](const auto& f) { return begins_with(p.key(), f); })) {
          ++kept;
          continue;
        }
        auto it = left.find(p.key());
        if (it == left.end())
          throw Error(Code::config, "'" + p.key() + "' is not in the artifact", place,
                      "list it under fresh, or rename");
        if (it->second.sizes() != p.value().sizes())
          throw Error(Code::config, "'" + p.key() + "' has another shape in the artifact", place,
                      "list it under fresh and drop");
        p.value().copy_(it->second);
        left.erase(it);
        ++moved;
      }
      for (const auto& b : net->second->named_buffers())
        if (auto it = left.find(b.key()); it != left.end()) {
          b.value().copy_(it->second);
          left.erase(it);
        }
      if (!left.empty())
        throw Error(Code::config, "'" + left.begin()->first + "' of the artifact has no place in net '" + spec.to + "'",
                    place, "list it under drop, or rename");
    }
    const auto copies = static_cast<int64_t>(replicas_.size());
    note(place + ": " + std::to_string(moved / copies) + " tensors moved into " + spec.to + ", " +
         std::to_string(kept / copies) + " fresh");
  }
}

void Trainer::check_milestones(const Counters& before) {
  for (const Count& place : stage_.checkpoint.milestones) {
    const Count at = place.of(stage_.stop);
    if (before[at.unit] >= at.amount || counters_[at.unit] < at.amount) continue;
    save(true);
    if (around_.milestone) around_.milestone(place.text(), artifact());
  }
}

void Trainer::show_progress(double step_seconds) {
  ++steps_here_;
  // The first step pays for allocations and lazy set-up: it says nothing about the rest.
  if (steps_here_ > 1)
    mean_step_seconds_ = steps_here_ == 2 ? step_seconds : 0.9 * mean_step_seconds_ + 0.1 * step_seconds;
  double waited = 0;
  for (const auto& [name, source] : stage_.sources) waited += source->waited_seconds();
  fit_.cost.wait_seconds = waited;
  const double now = now_seconds();
  if (!around_.progress || (now - shown_at_ < 0.1 && !stage_.stop.reached(counters_))) return;
  shown_at_ = now;
  Progress progress;
  progress.stage = stage_.name;
  progress.counters = counters_;
  progress.stop = stage_.stop;
  const std::string loss = stage_.passes.front().name + "/loss";
  if (auto it = fit_.values.find(loss); it != fit_.values.end()) progress.loss = it->second;
  progress.step_seconds = mean_step_seconds_ > 0 ? mean_step_seconds_ : step_seconds;
  progress.wait_fraction = fit_.cost.step_seconds > 0 ? waited / fit_.cost.step_seconds : 0;
  const double done = counters_[stage_.stop.unit];
  const double overhead = fit_.cost.step_seconds > 0
                              ? 1 + (fit_.cost.evaluate_seconds + fit_.cost.checkpoint_seconds) / fit_.cost.step_seconds
                              : 1;
  if (done > 0)
    progress.seconds_left =
        (stage_.stop.amount - done) / done * static_cast<double>(counters_.step()) * progress.step_seconds * overhead;
  progress.resumed = resumed_;
  around_.progress(progress);
}

Fit fit(const TrainStage& stage, const Surroundings& around) {
  Trainer trainer(stage, around);
  Fit result = trainer.run();
  Cost& cost = result.cost;
  cost.seconds = cost.step_seconds + cost.evaluate_seconds + cost.checkpoint_seconds;
  cost.flops = result.counters[Unit::flops];
  cost.bytes = result.counters[Unit::bytes];
  cost.messages = result.counters[Unit::messages];
  cost.rounds = result.counters[Unit::rounds];
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  cost.peak_bytes = static_cast<double>(usage.ru_maxrss) * 1024;
  return result;
}

}  // namespace etude
