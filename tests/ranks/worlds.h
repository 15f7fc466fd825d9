#pragma once
// One recipe in one process and over ranks that are threads of it.

#include "etude/base/torch_pch.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "etude/base/testing.h"
#include "etude/comm/links.h"
#include "etude/train/checkpoint.h"
#include "etude/train/recipe.h"
#include "etude/train/trainer.h"

namespace etude::ranks {

inline Registry full_registry() {
  Registry registry;
  register_frame(registry);
  register_methods(registry);
  return registry;
}

/// What each rank does before it fits: an interrupt at some step, for one.
using Prepare = std::function<void(int rank, Surroundings&)>;

/// The fits of all ranks, by rank; each has nets, techniques and sources of its own, as a process has.
inline std::vector<Fit> fit_over(int ranks, const Recipe& recipe, const Registry& registry,
                                 const std::string& directory, const Prepare& prepare = {}, double deadline = 60,
                                 std::vector<std::exception_ptr>* failures = nullptr) {
  auto links = links_in_memory(ranks, deadline);
  std::vector<Fit> fits(static_cast<size_t>(ranks));
  std::vector<std::exception_ptr> thrown(static_cast<size_t>(ranks));
  std::vector<std::thread> threads;
  for (size_t k = 0; k < links.size(); ++k)
    threads.emplace_back([&, k] {
      try {
        at::set_num_threads(1);
        const TrainStage stage = make_stage(recipe, registry);
        Surroundings around;
        around.directory = directory;
        around.links = ranks > 1 ? links[k].get() : nullptr;
        if (prepare) prepare(static_cast<int>(k), around);
        fits[k] = fit(stage, around);
      } catch (...) {
        thrown[k] = std::current_exception();
        links[k].reset();  // as if its process had died
      }
    });
  for (std::thread& thread : threads) thread.join();
  if (failures)
    *failures = thrown;
  else
    for (const std::exception_ptr& problem : thrown)
      if (problem) std::rethrow_exception(problem);
  return fits;
}

/// How far two checkpoints are apart: the largest difference of a value in a tensor. Infinity where one has what the
/// other lacks, or a counter, a position or a metric differs by more than `tolerance`, or that
/// share of it where it is greater than 1.
inline double distance(const Snapshot& a, const Snapshot& b, double tolerance = 0) {
  const double apart = std::numeric_limits<double>::infinity();
  const std::map<std::string, Tensor> left(a.tensors.begin(), a.tensors.end()),
      right(b.tensors.begin(), b.tensors.end());
  double largest = 0;
  if (left.size() != right.size()) return apart;
  for (const auto& [name, value] : left) {
    const auto other = right.find(name);
    if (other == right.end() || other->second.sizes() != value.sizes() || other->second.dtype() != value.dtype())
      return apart;
    if (value.numel() == 0 || torch::equal(value, other->second)) continue;
    largest =
        std::max(largest, (value.to(torch::kFloat64) - other->second.to(torch::kFloat64)).abs().max().item<double>());
  }
  const std::function<bool(const nlohmann::json&, const nlohmann::json&)> same = [&](const auto& x, const auto& y) {
    if (x.is_number() && y.is_number())
      return x == y || std::abs(x.template get<double>() - y.template get<double>()) <=
                           tolerance * std::max(1.0, std::abs(x.template get<double>()));
    if (x.type() != y.type() || x.size() != y.size()) return false;
    if (x.is_object())
      return std::all_of(x.items().begin(), x.items().end(), [&](const auto& entry) {
        return y.contains(entry.key()) && same(entry.value(), y.at(entry.key()));
      });
    if (x.is_array()) {
      for (size_t i = 0; i < x.size(); ++i)
        if (!same(x[i], y[i])) return false;
      return true;
    }
    return x == y;
  };
  const auto without_seconds = [](nlohmann::json host) {
    constexpr auto kSeconds = static_cast<size_t>(Unit::seconds);
    host["counters"][kSeconds] = 0;
    for (nlohmann::json& line : host["lines"]) line["counters"][kSeconds] = 0;
    for (const char* other : {"cost", "metrics_bytes"}) host.erase(other);
    return host;
  };
  return same(without_seconds(a.host), without_seconds(b.host)) ? largest : apart;
}

}  // namespace etude::ranks
