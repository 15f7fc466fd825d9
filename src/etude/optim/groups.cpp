#include "etude/optim/groups.h"

#include "etude/base/torch_pch.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "etude/base/error.h"

namespace etude {
namespace {

constexpr std::string_view kTag = "tag:";

bool selects(const std::string& match, const Parameter& p) {
  if (match.starts_with(kTag)) return p.tags.contains(match.substr(kTag.size()));
  return p.name.starts_with(match);
}

/// The first group that selects it; their number where none does.
size_t group_of(const Parameter& p, const std::vector<GroupOptions>& groups) {
  const auto first =
      std::find_if(groups.begin(), groups.end(), [&](const GroupOptions& g) { return selects(g.match, p); });
  return static_cast<size_t>(first - groups.begin());
}

[[noreturn]] void refuse_empty(const Parameters& parameters, const std::string& match, size_t index,
                               const Config& table) {
  std::set<std::string> names;
  for (const Parameter& p : parameters) {
    for (const std::string& tag : p.tags) names.insert(std::string(kTag) + tag);
    for (size_t dot = p.name.find('.'); dot != std::string::npos; dot = p.name.find('.', dot + 1))
      names.insert(p.name.substr(0, dot));
    names.insert(p.name);
  }
  const std::string key = "groups." + std::to_string(index) + ".match";
  const Config* written = table.find_path(key);
  throw Error(
      Code::config, "group '" + match + "' selects no parameter of this learner",
      written && written->origin.kind != Origin::Kind::none ? written->origin.text() : "optimizer, " + key,
      did_you_mean(match, {names.begin(), names.end()},
                   "give tag:NAME or the beginning of a parameter's name, such as '" + parameters.front().name + "'"));
}

}  // namespace

std::vector<LearnerGroup> learner_groups(const Parameters& parameters, const std::vector<GroupOptions>& groups,
                                         const Schedule& lr, double weight_decay) {
  const size_t none = groups.size();
  std::vector<LearnerGroup> made;
  std::map<std::pair<size_t, double>, size_t> place;
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& p = parameters[i];
    const size_t g = group_of(p, groups);
    const std::optional<double> own = g == none ? std::nullopt : groups[g].weight_decay;
    const double decay = own ? *own : p.tags.contains("no_decay") ? 0 : weight_decay;
    const auto [it, fresh] = place.emplace(std::pair(g, decay), made.size());
    if (fresh) made.push_back({g == none ? lr : groups[g].lr.value_or(lr), decay, {}});
    made[it->second].members.push_back(i);
  }
  return made;
}

void check_groups(const Parameters& parameters, const std::vector<GroupOptions>& groups, const Config& table) {
  std::vector<bool> used(groups.size() + 1);
  for (const Parameter& p : parameters) used[group_of(p, groups)] = true;
  used.pop_back();
  if (const auto idle = std::find(used.begin(), used.end(), false); idle != used.end() && !parameters.empty()) {
    const auto g = static_cast<size_t>(idle - used.begin());
    const bool hidden = std::any_of(parameters.begin(), parameters.end(),
                                    [&](const Parameter& p) { return selects(groups[g].match, p); });
    if (!hidden) refuse_empty(parameters, groups[g].match, g, table);
    throw Error(Code::config, "all parameters of group '" + groups[g].match + "' belong to groups before it",
                "optimizer, groups." + std::to_string(g) + ".match",
                "the first group that selects a parameter counts: put the narrower one first");
  }
}

bool fusable(const TensorColumns& columns) {
  if (columns.empty() || columns.front().empty()) return false;
  const Tensor& like = columns.front().front();
  if (!like.is_cpu() && !like.is_cuda()) return false;
  if (like.scalar_type() != at::kFloat && like.scalar_type() != at::kDouble) return false;
  for (size_t i = 0; i < columns.front().size(); ++i) {
    const Tensor& value = columns.front()[i];
    for (const auto& column : columns) {
      const Tensor& t = column[i];
      if (t.layout() != at::kStrided || t.scalar_type() != like.scalar_type() || t.device() != like.device() ||
          t.strides() != value.strides() || !t.is_non_overlapping_and_dense()) {
        return false;
      }
    }
  }
  return true;
}

Tensor laid_out_as(const Tensor& gradient, const Tensor& parameter) {
  if (gradient.layout() != at::kStrided) return laid_out_as(gradient.to_dense(), parameter);
  const bool widens = parameter.is_cpu() && parameter.scalar_type() == at::kFloat && gradient.is_cpu() &&
                      gradient.scalar_type() == at::kBFloat16;
  if (gradient.strides() == parameter.strides() && (widens || gradient.scalar_type() == parameter.scalar_type()))
    return gradient;
  return at::empty_like(parameter).copy_(gradient);
}

Tensor scaled(const Tensor& gradient, double scale) { return scale == 1 ? gradient : gradient * scale; }

std::vector<Tensor> scaled(const std::vector<Tensor>& gradients, double scale) {
  if (scale == 1) return gradients;
  std::vector<Tensor> all;
  for (const Tensor& g : gradients) all.push_back(scaled(g, scale));
  return all;
}

StepCounts::StepCounts(const Parameters& parameters) : shared_(true) {
  if (parameters.empty()) return;
  const auto scalar = [](const at::Device& device) { return at::TensorOptions().dtype(at::kFloat).device(device); };
  const at::Device device = parameters.front().value.device();
  all_ = at::zeros({static_cast<int64_t>(parameters.size())}, scalar(device));
  for (size_t i = 0; i < parameters.size(); ++i) {
    const at::Device own = parameters[i].value.device();
    shared_ = shared_ && own == device;
    counts_.push_back(own == device ? all_.select(0, static_cast<int64_t>(i)) : at::zeros({}, scalar(own)));
  }
}

void StepCounts::advance(const std::vector<Tensor>& gradients) {
  const auto defined = [](const Tensor& g) { return g.defined(); };
  if (shared_ && all_.defined() && std::all_of(gradients.begin(), gradients.end(), defined)) {
    all_.add_(1);
    return;
  }
  for (size_t i = 0; i < gradients.size(); ++i)
    if (gradients[i].defined()) counts_[i].add_(1);
}

}  // namespace etude
