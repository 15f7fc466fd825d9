// Making the loop's inside from a stage: replicas, learners, weights moved in.

#include <sys/resource.h>

#include <algorithm>

#include "etude/base/log.h"
#include "etude/train/device.h"
#include "etude/train/loop.h"
#include "etude/train/precision.h"
#include "etude/train/weights.h"

namespace etude {

uint64_t initial_seed(uint64_t seed, const std::string& net) {
  return Rng(Key{seed, Purpose::init}).fork("net " + net).bits64();
}

namespace {

const TrainStage& checked(const TrainStage& stage) {
  describe(stage);
  return stage;
}

/// Objectives that read texts may have to know what their tokens are.
void tell_tokenizer(const TrainStage& stage) {
  if (!stage.tokenizer) return;
  std::set<Objective*> all;  // passes and evaluations may share one
  for (const Pass& pass : stage.passes) all.insert(pass.objective.get());
  for (const EvalSpec& evaluation : stage.evaluations) all.insert(evaluation.objective.get());
  for (Objective* objective : all) objective->use(*stage.tokenizer);
}

}  // namespace

Trainer::Trainer(const TrainStage& stage, const Surroundings& around)
    : stage_(checked(stage)),
      around_(around),
      links_(around.links && around.links->size() > 1 ? around.links : nullptr),
      layout_(stage.replicas, links_ ? links_->size() : 1),
      peers_(layout_, links_) {
  for (const auto& technique : stage.with) contracts_.push_back(technique->contract());
  tell_tokenizer(stage);
  device_ = open_device(stage.device);
  sync_may_begin_ = sync_sees_gradients_first();
  if (const Technique* precision = owner(Slot::precision)) format_ = precision->format();
  if (leads()) warn_of_cost(format_);
  if (links_) check_ranks();
  if (links_ && !device_.is_cpu())
    throw Error(Code::config, "device '" + stage.device + "' does not reach over ranks", "stage " + stage.name,
                "train in one process there, or on the CPU over several");
  const auto [first, last] = layout_.hosted(rank());
  if (const std::vector<int> ranks = layout_.ranks_of(first); ranks.size() > 1) {
    group_.emplace(*links_, ranks, stage_.name);
    if (!owner(Slot::sync)) gradient_sync_.emplace(*group_, GradientSync::Options{});
  }
  for (int r = first; r < last; ++r) make_replica(r);
  if (!around.directory.empty() && leads()) {
    file::make_directories(around.directory);
    checkpoints_.emplace(around.directory);
  }
}

/// What ranks that don't wait for each other can't agree on.
void Trainer::check_ranks() const {
  const auto check = [&](const Count& count, const std::string& what) {
    if (count.amount <= 0) return;
    for (Unit unit : {Unit::bytes, Unit::messages, Unit::rounds, Unit::env_steps, Unit::seconds})
      if (count.unit == unit)
        throw Error(Code::config, what + " = \"" + count.text() + "\" can't be told by ranks without waiting for all",
                    "stage " + stage_.name, "count steps, samples, tokens, epochs or flops, or train in one process");
  };
  check(stage_.stop, "stop");
  check(stage_.log, "log");
  check(stage_.evaluate, "evaluate.every");
  check(stage_.checkpoint.every, "checkpoint.every");
  for (const Count& place : stage_.checkpoint.milestones) check(place, "a milestone");
}

void Trainer::make_replica(int index) {
  auto replica = std::make_unique<Replica>();
  replica->index = index;
  for (const NetSpec& spec : stage_.nets) replica->nets[spec.name] = make_net(spec);
  const bool first = replicas_.empty();
  if (first)
    for (const auto& [name, net] : replica->nets)
      for (const Tensor& value : net->parameters()) trainable_ += value.requires_grad() ? 1 : 0;
  std::map<std::string, std::string> holders;
  for (const LearnerSpec& spec : stage_.learners) {
    Learner& learner = replica->learners[spec.name];
    learner.spec = spec;
    for (const auto& [name, net] : replica->nets)
      for (const auto& p : net->named_parameters()) {
        const std::string full = name + "." + p.key();
        const std::set<std::string> tags = net->tags(p.key());
        const auto selected = [&](const std::string& selector) { return selects(selector, full, tags); };
        if (std::none_of(spec.params.begin(), spec.params.end(), selected)) continue;
        if (auto [it, fresh] = holders.emplace(full, spec.name); !fresh)
          throw Error(Code::config, "learners '" + it->second + "' and '" + spec.name + "' both hold '" + full + "'",
                      "stage " + stage_.name, "learners must be disjoint");
        learner.parameters.push_back({full, p.value(), tags});
        learner.nets.insert(name);
        if (first) fit_.cost.parameters += p.value().numel();
      }
    if (learner.parameters.empty())
      throw Error(Code::config, "learner '" + spec.name + "' holds no parameter", "stage " + stage_.name,
                  "see the names that `etude check` prints");
    Technique* const sharded = group_ ? owner(Slot::optimizer) : nullptr;
    learner.optimizer =
        sharded ? make_optimizer(spec.optimizer, sharded->kept(learner.parameters, *group_), learner.parameters)
                : make_optimizer(spec.optimizer, learner.parameters);
  }
  replicas_.push_back(std::move(replica));
}

/// A frozen net is there once, for all replicas. Each net draws its initial weights from streams of its own: two of
/// the same shape are not twins.
std::shared_ptr<Net> Trainer::make_net(const NetSpec& spec) {
  if (auto made = frozen_.find(spec.name); made != frozen_.end()) return made->second;
  std::shared_ptr<Net> net = spec.make();
  net->initialise(initial_seed(stage_.seed, spec.name));
  move_net(*net, device_);
  if (spec.role == "frozen") frozen_[spec.name] = net;
  if (spec.role != "trained")
    for (auto& p : net->parameters()) p.set_requires_grad(false);
  return net;
}

Technique* Trainer::owner(Slot slot) const {
  for (size_t i = 0; i < contracts_.size(); ++i)
    if (contracts_[i].owns.count(slot)) return stage_.with[i].get();
  return nullptr;
}

std::vector<std::string> Trainer::variants() const {
  std::vector<std::string> all;
  for (const Contract& contract : contracts_) all.insert(all.end(), contract.variants.begin(), contract.variants.end());
  return all;
}

void Trainer::move_weights_in() {
  for (const InitSpec& init : stage_.init) {
    ETUDE_CHECK(around_.artifact, "a stage with init needs its graph");
    const std::string place = "stage " + stage_.name + ", init of " + init.to + " from " + init.from;
    const Artifact artifact = around_.artifact(init.from);
    for (auto& replica : replicas_) {
      const auto net = replica->nets.find(init.to);
      if (net == replica->nets.end()) {
        std::vector<std::string> known;
        for (const auto& [name, made] : replica->nets) known.push_back(name);
        throw Error(Code::config, "there is no net '" + init.to + "'", place, did_you_mean(init.to, known));
      }
      const WeightMove report = move_weights(init, artifact, *net->second, place);
      if (replica != replicas_.front()) continue;
      fit_.weight_moves.push_back(place + ": " + report.text());
      inform(fit_.weight_moves.back());
    }
  }
}

void Trainer::check_milestones(const Counters& before) {
  for (const Count& place : stage_.checkpoint.milestones) {
    const Count at = place.of(stage_.stop);
    if (before[at.unit] >= at.amount || counters_[at.unit] < at.amount) continue;
    save(Saving::milestone, place.text());
  }
}

void Trainer::complete_cost() {
  Cost& cost = fit_.cost;
  cost.seconds = cost.step_seconds + cost.evaluate_seconds + cost.checkpoint_seconds;
  cost.flops = fit_.counters[Unit::flops];
  cost.bytes = fit_.counters[Unit::bytes];
  cost.messages = fit_.counters[Unit::messages];
  cost.rounds = fit_.counters[Unit::rounds];
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  cost.peak_bytes = static_cast<double>(usage.ru_maxrss) * 1024;
}

Fit fit(const TrainStage& stage, const Surroundings& around) { return Trainer(stage, around).run(); }

}  // namespace etude
