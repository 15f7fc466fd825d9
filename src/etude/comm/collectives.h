#pragma once
// Collectives of the ranks that share a replica, as messages between them. Sums are taken in the order of the ranks,
// whatever arrives first: ((x_0 + x_1) + x_2) + ..., so that they have the same bits on every rank and in every run.
//
// In all of them: every rank of the group makes the same call with the same tag, which no other call on these links
// has; tensors have the same dtype on all ranks and, unless said otherwise, the same shape. Places are those in
// RankGroup::ranks. The group outlives the call. Errors: links.missing(rank) when a rank has left, died or missed the
// deadline; Code::comms when it sends another number or type of values.

#include <string>
#include <vector>

#include "etude/comm/rank_group.h"

namespace etude {

/// A sum of which each rank gets a part, in two phases. Each rank sends what is not its own part: (n-1)/n of its values
/// where the parts are equal.
class ReduceScatter {
 public:
  /// Sends the others their parts: place k gets elements cuts[k] .. cuts[k+1]-1. Never waits. `flat`: [N]; `cuts`:
  /// n+1 numbers that ascend from 0 to N.
  ReduceScatter(const RankGroup& group, std::string tag, const Tensor& flat, const std::vector<int64_t>& cuts);
  /// Whether finish() need not wait.
  bool arrived() const;
  /// The sum of one's own part. Once.
  Tensor finish();

 private:
  const RankGroup* group_;
  std::string tag_;
  Tensor own_;
};

/// A sum of which every rank gets all, in two phases: place k adds up the k-th of n parts and sends the sum to the
/// others. Each rank sends 2 (n-1)/n of its values.
class AllReduce {
 public:
  /// Sends the others their parts. Never waits. `flat`: [N].
  AllReduce(const RankGroup& group, std::string tag, const Tensor& flat);
  /// Sends the sum of one's own part if the others' shares of it are there. Never waits.
  void advance();
  /// The sum, [N]. Once.
  Tensor finish();

 private:
  void spread();
  const RankGroup* group_;
  std::string tag_;
  std::vector<int64_t> cuts_;
  ReduceScatter parts_;
  Tensor own_sum_;
  at::TensorOptions options_;
};

/// The sum over all ranks, everywhere.
Tensor all_reduce(const RankGroup& group, const std::string& tag, const Tensor& value);
/// The sum over all ranks at place `owner`; undefined elsewhere.
Tensor reduce(const RankGroup& group, const std::string& tag, const Tensor& value, int owner);
/// The tensors of all ranks, by place. Shapes, dtypes and numbers may differ.
std::vector<std::vector<Tensor>> all_gather(const RankGroup& group, const std::string& tag,
                                            const std::vector<Tensor>& tensors);
/// The tensors of place `root`; what others give is not looked at.
std::vector<Tensor> broadcast(const RankGroup& group, const std::string& tag, const std::vector<Tensor>& tensors,
                              int root);

/// The rows [n_k, ...] of all ranks after each other, [sum of n_k, ...]; n_k may differ and may be 0. With gradient:
/// backward gives each rank the sum over ranks of the gradients of its rows, so that what is minimised is the sum of
/// all ranks' losses. Every rank must run that backward.
Tensor all_gather_rows(const RankGroup& group, const std::string& tag, const Tensor& rows);

}  // namespace etude
