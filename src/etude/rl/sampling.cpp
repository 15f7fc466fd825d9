// V vocabulary.

#include "etude/rl/sampling.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "etude/base/error.h"

namespace etude {
namespace {

constexpr double kRemoved = -std::numeric_limits<double>::infinity();

double maximum(std::span<const double> logits_V) { return *std::max_element(logits_V.begin(), logits_V.end()); }

/// Less likely, or as likely and of a higher id.
struct Behind {
  std::span<const double> logits_V;
  bool operator()(int64_t a, int64_t b) const {
    const double x = logits_V[static_cast<size_t>(a)], y = logits_V[static_cast<size_t>(b)];
    return x < y || (x == y && a > b);
  }
};

/// Ids from the likeliest on: as many as are asked for are sorted, not all.
class Ranking {
 public:
  explicit Ranking(std::span<const double> logits_V) : behind_{logits_V}, ids_(logits_V.size()) {
    std::iota(ids_.begin(), ids_.end(), int64_t{0});
    std::make_heap(ids_.begin(), ids_.end(), behind_);
  }
  bool empty() const { return ids_.empty(); }
  int64_t pop() {
    std::pop_heap(ids_.begin(), ids_.end(), behind_);
    const int64_t id = ids_.back();
    ids_.pop_back();
    return id;
  }

 private:
  Behind behind_;
  std::vector<int64_t> ids_;
};

}  // namespace

void keep_top_k(std::span<double> logits_V, int64_t k) {
  ETUDE_CHECK(k >= 1, "top-k keeps a token at least");
  if (static_cast<size_t>(k) >= logits_V.size()) return;
  std::vector<double> sorted(logits_V.begin(), logits_V.end());
  std::nth_element(sorted.begin(), sorted.begin() + (k - 1), sorted.end(), std::greater<>());
  const double least = sorted[static_cast<size_t>(k - 1)];
  for (double& x : logits_V)
    if (x < least) x = kRemoved;
}

void keep_top_p(std::span<double> logits_V, double p) {
  if (p >= 1) return;
  const std::vector<double> before(logits_V.begin(), logits_V.end());
  const double log_sum = log_normaliser(before);
  std::fill(logits_V.begin(), logits_V.end(), kRemoved);
  double mass = 0;
  Ranking ranking(before);
  do {
    const auto id = static_cast<size_t>(ranking.pop());
    logits_V[id] = before[id];
    mass += std::exp(before[id] - log_sum);
  } while (mass < p && !ranking.empty());
}

void keep_min_p(std::span<double> logits_V, double min_p) {
  if (min_p <= 0) return;
  const double least = maximum(logits_V) + std::log(min_p);
  for (double& x : logits_V)
    if (x < least) x = kRemoved;
}

void filter(std::span<double> logits_V, const Sampling& sampling) {
  ETUDE_CHECK(sampling.temperature > 0, "temperature 0 needs no filter: the likeliest token passes them all");
  for (double& x : logits_V) x /= sampling.temperature;
  if (sampling.top_k > 0) keep_top_k(logits_V, sampling.top_k);
  keep_top_p(logits_V, sampling.top_p);
  keep_min_p(logits_V, sampling.min_p);
}

int64_t likeliest(std::span<const double> logits_V) {
  return std::max_element(logits_V.begin(), logits_V.end()) - logits_V.begin();
}

int64_t draw(std::span<const double> logits_V, double uniform) {
  const double top = maximum(logits_V);
  double total = 0;
  std::vector<double> cumulative_V;
  cumulative_V.reserve(logits_V.size());
  for (const double x : logits_V) cumulative_V.push_back(total += std::exp(x - top));
  const auto passed = std::upper_bound(cumulative_V.begin(), cumulative_V.end(), uniform * total);
  if (passed != cumulative_V.end()) return passed - cumulative_V.begin();
  // Rounding left no room above uniform: the last token that has a probability.
  return std::lower_bound(cumulative_V.begin(), cumulative_V.end(), total) - cumulative_V.begin();
}

double log_normaliser(std::span<const double> logits_V) {
  const double top = maximum(logits_V);
  double sum = 0;
  for (const double x : logits_V) sum += std::exp(x - top);
  return top + std::log(sum);
}

std::vector<int64_t> largest(std::span<const double> logits_V, int64_t n) {
  Ranking ranking(logits_V);
  std::vector<int64_t> ids;
  while (static_cast<int64_t>(ids.size()) < n && !ranking.empty()) ids.push_back(ranking.pop());
  return ids;
}

}  // namespace etude
