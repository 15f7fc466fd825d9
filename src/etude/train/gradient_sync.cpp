#include "etude/train/gradient_sync.h"

#include "etude/base/torch_pch.h"

#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>

#include "etude/train/step.h"

namespace etude {

struct GradientSync::Hook : torch::autograd::PostAccumulateGradHook {
  explicit Hook(GradientSync& whose) : sync(whose) {}
  void operator()(const Tensor& parameter) override { sync.gradient_is_whole(parameter); }
  GradientSync& sync;
};

GradientSync::GradientSync(const RankGroup& group, Options options) : group_(group), options_(std::move(options)) {}

GradientSync::~GradientSync() { listen(false); }

void GradientSync::listen(bool on) {
  if (!pass_) return;
  for (const Parameter& p : pass_->parameters)
    torch::autograd::impl::set_post_acc_grad_hooks(p.value, on ? std::make_unique<Hook>(*this) : nullptr);
}

std::string GradientSync::place_of(const Step& step) const {
  const int64_t earlier = step.number() == step_ ? passes_ : 0;
  return group_.scope + "/" + std::to_string(step.number()) + "/" + step.pass() + "/" + std::to_string(earlier);
}

void GradientSync::before_backward(const Step& step, bool last) {
  number_ = step.number();
  if (last) begin(step.parameters(), place_of(step));
}

void GradientSync::finish(Step& step) {
  number_ = step.number();
  step.skip_update = finish(step.parameters(), place_of(step), step.skip_update);
  passes_ = step.number() == step_ ? passes_ + 1 : 1;
  step_ = step.number();
}

void GradientSync::begin(const Parameters& parameters, const std::string& place) {
  ETUDE_CHECK(!pass_, "gradients of " + place_ + " are still on their way");
  place_ = place;
  plan(parameters);
  listen(true);
}

/// Gradients exist in about the reverse order of the forward, hence of declaration. Each bucket is of one type.
void GradientSync::plan(const Parameters& parameters) {
  Pass pass{parameters};
  pass.bucket_of.resize(parameters.size());
  pass.whole.resize(parameters.size());
  pass.defined.resize(parameters.size());
  std::map<std::pair<at::ScalarType, std::string>, size_t> open;
  for (size_t i = parameters.size(); i-- > 0;) {
    const Tensor& value = parameters[i].value;
    const auto [at, fresh] = open.try_emplace({value.scalar_type(), value.device().str()}, pass.buckets.size());
    if (fresh) pass.buckets.emplace_back();
    Bucket& bucket = pass.buckets[at->second];
    bucket.members.push_back(i);
    bucket.waits_for += 1;
    bucket.bytes += static_cast<int64_t>(value.nbytes());
    pass.index[value.unsafeGetTensorImpl()] = i;
    pass.bucket_of[i] = at->second;
    const int64_t full = at->second == 0 ? std::min(options_.first_bucket, options_.bucket) : options_.bucket;
    if (bucket.bytes >= full) open.erase(at);
  }
  if (!options_.owners.empty())
    for (Bucket& bucket : pass.buckets)
      std::stable_sort(bucket.members.begin(), bucket.members.end(),
                       [&](size_t a, size_t b) { return owner(parameters[a]) < owner(parameters[b]); });
  pass_ = std::move(pass);
}

int GradientSync::owner(const Parameter& p) const {
  const auto found = options_.owners.find(p.name);
  ETUDE_CHECK(found != options_.owners.end(), "nobody owns '" + p.name + "'");
  return found->second;
}

void GradientSync::gradient_is_whole(const Tensor& parameter) {
  const size_t i = pass_->index.at(parameter.unsafeGetTensorImpl());
  ETUDE_CHECK(pass_->bucket_of[i] >= pass_->left,
              "the gradient of " + pass_->parameters[i].name + " grew after it was sent: there was another backward");
  if (pass_->whole[i]) return;
  pass_->whole[i] = true;
  if (options_.observer) options_.observer({Moment::Kind::gradient, i});
  pass_->buckets[pass_->bucket_of[i]].waits_for -= 1;
  // In one order on all ranks, whichever gradients come first.
  while (pass_->left < pass_->buckets.size() && pass_->buckets[pass_->left].waits_for == 0) leave(pass_->left);
}

void GradientSync::leave(size_t index) {
  at::NoGradGuard no_grad;
  if (index == 0) group_.links.enter({number_, "bucket"});
  Bucket& bucket = pass_->buckets[index];
  std::vector<Tensor> gradients;
  std::vector<int64_t> cuts(group_.ranks.size() + 1, 0);
  for (size_t i : bucket.members) {
    const Parameter& p = pass_->parameters[i];
    Tensor& gradient = p.value.mutable_grad();
    pass_->defined[i] = gradient.defined();
    gradients.push_back(gradient.defined() ? gradient.reshape({-1}).to(p.value.scalar_type())
                                           : at::zeros({p.value.numel()}, p.value.options()));
    gradient.reset();
    if (!options_.owners.empty()) cuts[static_cast<size_t>(owner(p)) + 1] += p.value.numel();
  }
  const std::string tag = "gradients/" + place_ + "/" + std::to_string(index);
  if (options_.owners.empty()) {
    bucket.sum.emplace<AllReduce>(group_, tag, at::cat(gradients));
  } else {
    for (size_t k = 1; k < cuts.size(); ++k) cuts[k] += cuts[k - 1];
    bucket.sum.emplace<ReduceScatter>(group_, tag, at::cat(gradients), cuts);
  }
  pass_->left = index + 1;
  if (options_.observer) options_.observer({Moment::Kind::departure, index});
  for (size_t k = 0; k <= index; ++k)
    if (auto* sum = std::get_if<AllReduce>(&pass_->buckets[k].sum)) sum->advance();
}

bool GradientSync::finish(const Parameters& parameters, const std::string& place, bool skip) {
  if (!pass_) {
    place_ = place;
    plan(parameters);
  }
  ETUDE_CHECK(place == place_, "gradients of " + place_ + " are finished as those of " + place);
  listen(false);
  while (pass_->left < pass_->buckets.size()) leave(pass_->left);

  const size_t n = parameters.size();
  Tensor own = at::zeros({static_cast<int64_t>(n) + 1}, at::kByte);
  auto* const flags = own.data_ptr<uint8_t>();
  for (size_t i = 0; i < n; ++i) flags[i] = pass_->defined[i] ? 1 : 0;
  flags[n] = skip ? 1 : 0;
  std::vector<bool> present(n);
  int skipping = 0;
  for (const auto& theirs : all_gather(group_, "presence/" + place_, {own})) {
    if (theirs.size() != 1 || theirs.front().numel() != own.numel() || theirs.front().scalar_type() != at::kByte)
      throw Error(Code::comms, "ranks don't have the same parameters", place_, "all must run the same recipe");
    const auto* const there = theirs.front().const_data_ptr<uint8_t>();
    for (size_t i = 0; i < n; ++i) present[i] = present[i] || there[i] != 0;
    skipping += there[n] != 0 ? 1 : 0;
  }
  bytes_ = 0;
  for (size_t i = 0; i < n; ++i)
    if (present[i]) bytes_ += static_cast<int64_t>(parameters[i].value.nbytes());

  for (Bucket& bucket : pass_->buckets) take(bucket, present);
  pass_.reset();
  if (skipping > 0 && skipping < group_.size())
    for (const Parameter& p : parameters)
      if (p.value.grad().defined()) p.value.mutable_grad().zero_();
  return skipping > 0;
}

void GradientSync::take(Bucket& bucket, const std::vector<bool>& present) {
  at::NoGradGuard no_grad;
  const bool to_all = options_.owners.empty();
  const Tensor sum = to_all ? std::get<AllReduce>(bucket.sum).finish() : std::get<ReduceScatter>(bucket.sum).finish();
  bucket.sum = std::monostate();
  int64_t begin = 0;
  for (size_t i : bucket.members) {
    const Parameter& p = pass_->parameters[i];
    if (!to_all && owner(p) != group_.index()) continue;
    if (present[i]) p.value.mutable_grad() = sum.narrow(0, begin, p.value.numel()).view(p.value.sizes());
    begin += p.value.numel();
  }
}

}  // namespace etude
