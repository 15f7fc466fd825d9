#include "etude/train/data_parallel.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "etude/train/step.h"

namespace etude {

Contract DataParallel::contract() const {
  Contract contract{
      .name = "data_parallel", .owns = {Slot::sync}, .acts = {Event::sync}, .requires_ = {}, .refuses = {}, .why = {}};
  if (options_.shard) contract.owns.insert(Slot::optimizer);
  return contract;
}

GradientSync& DataParallel::sync(const RankGroup& group) {
  if (!sync_ || &sync_->group() != &group) {
    GradientSync::Options options{.observer = observer_};
    if (options_.bucket) options.bucket = *options_.bucket;
    if (shards_gradients()) options.owners = owners_;
    sync_ = std::make_unique<GradientSync>(group, std::move(options));
  }
  return *sync_;
}

void DataParallel::before_backward(Step& step, bool last) {
  if (const RankGroup* group = step.group()) sync(*group).before_backward(step, last);
}

void DataParallel::on(Event, Step& step) {
  double bytes = 0;
  if (const RankGroup* group = step.group()) {
    norms_ = 0;
    sync(*group).finish(step);
    if (group->index() > 0) return;  // one account for all
    bytes = static_cast<double>(sync_->bytes());
  } else {
    for (const Parameter& p : step.parameters())
      if (p.value.grad().defined()) bytes += static_cast<double>(p.value.grad().nbytes());
  }
  const double ranks = static_cast<double>(options_.ranks);
  const double rings = options_.shard == "optimizer" ? 3 : 2;
  step.count(Unit::bytes, rings * (ranks - 1) * bytes);
  step.count(Unit::messages, ranks * rings * (ranks - 1));
  step.count(Unit::rounds, rings * (ranks - 1) / step.replicas());  // replicas synchronise side by side
}

double DataParallel::gradient_norm(Step& step, double own) {
  const RankGroup* group = step.group();
  if (!group || !shards_gradients()) return own;
  const std::string tag = "norm/" + sync_->place() + "/" + std::to_string(norms_++);
  double norm = 0;
  for (const auto& theirs : all_gather(*group, tag, {torch::full({}, own, torch::kFloat64)}))
    norm = std::hypot(norm, theirs.at(0).item<double>());
  return norm;
}

Parameters DataParallel::kept(const Parameters& all, const RankGroup& group) {
  std::vector<size_t> order(all.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return all[a].value.nbytes() > all[b].value.nbytes(); });
  std::vector<size_t> held(group.ranks.size(), 0);
  for (size_t i : order) {
    const auto least = std::min_element(held.begin(), held.end());
    owners_[all[i].name] = static_cast<int>(least - held.begin());
    *least += all[i].value.nbytes();
  }
  Parameters own;
  for (const Parameter& p : all)
    if (owners_.at(p.name) == group.index()) own.push_back(p);
  return own;
}

void DataParallel::update(Step& step) {
  for (Learner* learner : step.learners()) {
    std::vector<Tensor> gradients;
    for (const Parameter& p : learner->optimizer->parameters()) gradients.push_back(p.value.grad());
    learner->optimizer->step(step.position(), gradients);
  }
  const RankGroup* group = step.group();
  if (!group) return;
  std::vector<Parameters> by_owner(group->ranks.size());
  for (const Parameter& p : step.parameters()) by_owner[static_cast<size_t>(owners_.at(p.name))].push_back(p);
  std::vector<Tensor> own;
  for (const Parameter& p : by_owner[static_cast<size_t>(group->index())]) own.push_back(p.value);
  const auto values = all_gather(*group, "values/" + sync_->place(), own);
  for (size_t k = 0; k < values.size(); ++k) {
    if (static_cast<int>(k) == group->index()) continue;
    if (values[k].size() != by_owner[k].size())
      throw Error(Code::comms, "rank " + std::to_string(group->ranks[k]) + " holds other parameters than expected",
                  sync_->place(), "all ranks must run the same program with the same recipe");
    for (size_t i = 0; i < by_owner[k].size(); ++i) by_owner[k][i].value.copy_(values[k][i]);
  }
}

}  // namespace etude
