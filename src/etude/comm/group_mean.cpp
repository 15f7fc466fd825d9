#include "etude/comm/group_mean.h"

#include "etude/base/torch_pch.h"

#include <utility>

#include "etude/base/error.h"

namespace etude {
namespace {

const char* const kEarly = "group-mean/early";

std::string tag(int round) { return "group-mean/" + std::to_string(round); }

Tensor flatten(const std::vector<Tensor>& tensors) {
  std::vector<Tensor> flat;
  flat.reserve(tensors.size());
  for (const Tensor& t : tensors) flat.push_back(t.detach().reshape({-1}));
  return torch::cat(flat);
}

std::vector<Tensor> unflatten(const Tensor& flat, const std::vector<Tensor>& like) {
  std::vector<Tensor> tensors;
  int64_t begin = 0;
  for (const Tensor& t : like) {
    tensors.push_back(flat.narrow(0, begin, t.numel()).view(t.sizes()).to(t.scalar_type()));
    begin += t.numel();
  }
  return tensors;
}

/// Chunk k of n: they differ by one value at most.
Tensor chunk(const Tensor& flat, size_t k, size_t n) {
  const auto at = [&](size_t i) { return flat.numel() * static_cast<int64_t>(i) / static_cast<int64_t>(n); };
  return flat.narrow(0, at(k), at(k + 1) - at(k));
}

/// What `from` sent, or nothing if it is not there.
Tensor receive_one(Peers& peers, int from, const std::string& tag, int64_t expected) {
  const std::vector<Tensor> got = peers.receive(from, tag);
  if (got.empty()) return {};
  if (got.size() != 1 || got.front().numel() != expected)
    throw Error(Code::comms,
                "replica " + std::to_string(from) + " sent other values than replica " + std::to_string(peers.me()) +
                    " expects",
                "exchange", "all replicas must hold the same net under the same recipe");
  return got.front();
}

}  // namespace

Tensor group_mean(const std::vector<Tensor>& members) {
  ETUDE_CHECK(!members.empty(), "a mean over nobody");
  const Tensor& first = members.front();
  if (members.size() == 1) return first.clone();
  Tensor sum = members[1] - first;
  for (size_t j = 2; j < members.size(); ++j) sum.add_(members[j] - first);
  return sum.div_(static_cast<double>(members.size())).add_(first);
}

void GroupMean::post(Peers& peers, const std::vector<int>& group, const std::vector<Tensor>& own, int round) {
  if (group.size() < 2) return;
  const Tensor flat = round == 0 ? flatten({own.begin(), own.end() - static_cast<std::ptrdiff_t>(early_)}) : Tensor();
  for (size_t k = 0; k < group.size(); ++k) {
    if (group[k] == peers.me()) continue;
    if (group.size() == 2)
      peers.send(group[k], tag(round), {flat});
    else
      peers.send(group[k], tag(round), {round == 0 ? chunk(flat, k, group.size()) : reduced_});
  }
}

void GroupMean::post_early(Peers& peers, const std::vector<int>& group, const std::vector<Tensor>& last) {
  if (group.size() != 2) return;
  peers.send(group[group.front() == peers.me() ? 1 : 0], kEarly, {flatten(last)});
  early_ = last.size();
}

std::vector<Tensor> GroupMean::collect(Peers& peers, const std::vector<int>& group, const std::vector<Tensor>& own,
                                       int round) {
  if (group.size() <= 2) return swapped(peers, group, own);
  const size_t n = group.size();
  const Tensor flat = flatten(own);
  if (round == 0) {
    std::vector<Tensor> present;
    for (size_t k = 0; k < n; ++k) {
      if (group[k] != peers.me()) continue;
      const Tensor mine = chunk(flat, k, n);
      for (int member : group)
        if (Tensor theirs = member == peers.me() ? mine : receive_one(peers, member, tag(0), mine.numel());
            theirs.defined())
          present.push_back(theirs);
    }
    reduced_ = group_mean(present);
    return {};
  }
  std::vector<Tensor> chunks;
  for (size_t k = 0; k < n; ++k) {
    const Tensor mine = chunk(flat, k, n);
    const Tensor mean = group[k] == peers.me() ? reduced_ : receive_one(peers, group[k], tag(1), mine.numel());
    chunks.push_back(mean.defined() ? mean : mine);
  }
  reduced_ = Tensor();
  return unflatten(torch::cat(chunks), own);
}

/// Both halves of the partner count, or none: what it sent early is of no use where the rest is missing.
std::vector<Tensor> GroupMean::swapped(Peers& peers, const std::vector<int>& group, const std::vector<Tensor>& own) {
  const Tensor flat = flatten(own);
  const size_t early = std::exchange(early_, 0);
  const Tensor flat_early = early > 0 ? flatten({own.end() - static_cast<std::ptrdiff_t>(early), own.end()}) : Tensor();
  std::vector<Tensor> present;
  for (int member : group) {
    if (member == peers.me()) {
      present.push_back(flat);
      continue;
    }
    Tensor theirs = receive_one(peers, member, tag(0), flat.numel() - (early > 0 ? flat_early.numel() : 0));
    if (theirs.defined() && early > 0) {
      const Tensor rest = receive_one(peers, member, kEarly, flat_early.numel());
      theirs = rest.defined() ? torch::cat({theirs, rest}) : Tensor();
    }
    if (theirs.defined()) present.push_back(theirs);
  }
  return unflatten(group_mean(present), own);
}

}  // namespace etude
