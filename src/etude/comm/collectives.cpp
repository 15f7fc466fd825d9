#include "etude/comm/collectives.h"

#include "etude/base/torch_pch.h"

#include <ATen/OpMathType.h>

#include <numeric>

#include "etude/base/error.h"

namespace etude {
namespace {

[[noreturn]] void refuse(const RankGroup& group, int rank, const std::string& tag) {
  throw Error(Code::comms,
              "rank " + std::to_string(rank) + " sent other values than rank " + std::to_string(group.links.rank()) +
                  " expects",
              tag, "all ranks must run the same program with the same recipe");
}

std::vector<Tensor> receive(const RankGroup& group, size_t place, const std::string& tag) {
  auto got = group.links.receive(group.ranks[place], tag);
  if (!got) throw group.links.missing(group.ranks[place]);
  return std::move(*got);
}

/// One tensor of a known number of values.
Tensor receive_values(const RankGroup& group, size_t place, const std::string& tag, int64_t numel,
                      const at::TensorOptions& options) {
  const std::vector<Tensor> got = receive(group, place, tag);
  if (got.size() != 1 || got.front().numel() != numel || got.front().scalar_type() != options.dtype())
    refuse(group, group.ranks[place], tag);
  return got.front().to(options.device());
}

std::vector<size_t> others(const RankGroup& group) {
  std::vector<size_t> places;
  for (size_t k = 0; k < group.ranks.size(); ++k)
    if (static_cast<int>(k) != group.index()) places.push_back(k);
  return places;
}

/// Where parts begin that differ by one value at most.
std::vector<int64_t> even_cuts(int64_t numel, int parts) {
  std::vector<int64_t> cuts;
  for (int k = 0; k <= parts; ++k) cuts.push_back(numel * k / parts);
  return cuts;
}

Tensor part(const Tensor& flat, const std::vector<int64_t>& cuts, size_t k) {
  return flat.narrow(0, cuts[k], cuts[k + 1] - cuts[k]);
}

}  // namespace

ReduceScatter::ReduceScatter(const RankGroup& group, std::string tag, const Tensor& flat,
                             const std::vector<int64_t>& cuts)
    : group_(&group), tag_(std::move(tag)) {
  ETUDE_CHECK(
      flat.dim() == 1 && cuts.size() == group.ranks.size() + 1 && cuts.front() == 0 && cuts.back() == flat.numel(),
      "parts that are not those of the values");
  own_ = part(flat, cuts, static_cast<size_t>(group.index())).clone();  // the whole may be freed
  for (size_t k : others(group))
    if (const Tensor theirs = part(flat, cuts, k); theirs.numel() > 0) group.links.send(group.ranks[k], tag_, {theirs});
}

bool ReduceScatter::arrived() const {
  if (own_.numel() == 0) return true;
  for (size_t k : others(*group_))
    if (!group_->links.arrived(group_->ranks[k], tag_)) return false;
  return true;
}

Tensor ReduceScatter::finish() {
  if (own_.numel() == 0) return own_;
  // A sum of many bfloat16 values is kept in float32 until it is whole.
  const auto wide = at::toOpMathType(own_.scalar_type());
  Tensor sum;
  for (size_t k = 0; k < group_->ranks.size(); ++k) {
    const bool mine = static_cast<int>(k) == group_->index();
    const Tensor x = mine ? own_ : receive_values(*group_, k, tag_, own_.numel(), own_.options());
    if (sum.defined())
      sum.add_(x);
    else
      sum = x.to(wide, /*non_blocking=*/false, /*copy=*/true);
  }
  return sum.to(own_.scalar_type());
}

AllReduce::AllReduce(const RankGroup& group, std::string tag, const Tensor& flat)
    : group_(&group),
      tag_(std::move(tag)),
      cuts_(even_cuts(flat.numel(), group.size())),
      parts_(group, tag_ + "/parts", flat, cuts_),
      options_(flat.options()) {}

void AllReduce::advance() {
  if (!own_sum_.defined() && parts_.arrived()) spread();
}

void AllReduce::spread() {
  own_sum_ = parts_.finish();
  if (own_sum_.numel() == 0) return;
  for (size_t k : others(*group_)) group_->links.send(group_->ranks[k], tag_ + "/sum", {own_sum_});
}

Tensor AllReduce::finish() {
  if (!own_sum_.defined()) spread();
  std::vector<Tensor> sums;
  for (size_t k = 0; k < group_->ranks.size(); ++k) {
    const int64_t numel = cuts_[k + 1] - cuts_[k];
    if (static_cast<int>(k) == group_->index() || numel == 0)
      sums.push_back(numel == 0 ? at::empty({0}, options_) : own_sum_);
    else
      sums.push_back(receive_values(*group_, k, tag_ + "/sum", numel, options_));
  }
  return at::cat(sums);
}

Tensor all_reduce(const RankGroup& group, const std::string& tag, const Tensor& value) {
  return AllReduce(group, tag, value.detach().reshape({-1})).finish().view(value.sizes());
}

Tensor reduce(const RankGroup& group, const std::string& tag, const Tensor& value, int owner) {
  std::vector<int64_t> cuts(group.ranks.size() + 1, 0);
  std::fill(cuts.begin() + owner + 1, cuts.end(), value.numel());
  const Tensor sum = ReduceScatter(group, tag, value.detach().reshape({-1}), cuts).finish();
  return group.index() == owner ? sum.view(value.sizes()) : Tensor();
}

std::vector<std::vector<Tensor>> all_gather(const RankGroup& group, const std::string& tag,
                                            const std::vector<Tensor>& tensors) {
  for (size_t k : others(group)) group.links.send(group.ranks[k], tag, tensors);
  std::vector<std::vector<Tensor>> all(group.ranks.size(), tensors);
  for (size_t k : others(group)) all[k] = receive(group, k, tag);
  return all;
}

std::vector<Tensor> broadcast(const RankGroup& group, const std::string& tag, const std::vector<Tensor>& tensors,
                              int root) {
  if (group.index() != root) return receive(group, static_cast<size_t>(root), tag);
  for (size_t k : others(group)) group.links.send(group.ranks[k], tag, tensors);
  return tensors;
}

namespace {

struct Gathering : torch::CustomClassHolder {
  Gathering(const RankGroup& of, std::string with_tag) : group(of), tag(std::move(with_tag)) {}
  const RankGroup& group;
  std::string tag;
  std::vector<int64_t> first_row = {0};  ///< of each place, and the number of all
};

struct AllGatherRows : torch::autograd::Function<AllGatherRows> {
  static Tensor forward(torch::autograd::AutogradContext* ctx, const Tensor& rows, const RankGroup* group,
                        const std::string& tag) {
    auto gathering = c10::make_intrusive<Gathering>(*group, tag);
    std::vector<Tensor> all;
    for (const auto& theirs : all_gather(*group, tag, {rows.detach()})) {
      const int from = group->ranks[all.size()];
      if (theirs.size() != 1 || theirs.front().dim() != rows.dim() ||
          theirs.front().scalar_type() != rows.scalar_type() ||
          theirs.front().sizes().slice(1) != rows.sizes().slice(1))
        refuse(*group, from, tag);
      all.push_back(theirs.front().to(rows.device()));
      gathering->first_row.push_back(gathering->first_row.back() + all.back().size(0));
    }
    ctx->saved_data["gathering"] = c10::IValue::make_capsule(std::move(gathering));
    return at::cat(all);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list gradients) {
    const auto capsule = ctx->saved_data["gathering"].toCapsule();
    const auto& gathering = static_cast<const Gathering&>(*capsule);
    const Tensor& of_all = gradients.front();
    const auto row = of_all.sizes().slice(1);
    const int64_t row_numel = std::accumulate(row.begin(), row.end(), int64_t{1}, std::multiplies<>());
    std::vector<int64_t> cuts;
    for (int64_t first : gathering.first_row) cuts.push_back(first * row_numel);
    const Tensor own = ReduceScatter(gathering.group, gathering.tag + "/gradient", of_all.reshape({-1}), cuts).finish();
    std::vector<int64_t> shape = of_all.sizes().vec();
    const auto me = static_cast<size_t>(gathering.group.index());
    shape.front() = gathering.first_row[me + 1] - gathering.first_row[me];
    return {own.view(shape), {}, {}};
  }
};

}  // namespace

Tensor all_gather_rows(const RankGroup& group, const std::string& tag, const Tensor& rows) {
  ETUDE_CHECK(rows.dim() >= 1, "a scalar has no rows");
  return AllGatherRows::apply(rows, &group, tag);
}

}  // namespace etude
