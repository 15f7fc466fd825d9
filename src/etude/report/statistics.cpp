#include "etude/report/statistics.h"

#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <limits>
#include <numeric>

#include "etude/base/error.h"
#include "etude/base/rng.h"

namespace etude::report {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

}  // namespace

double mean(std::span<const double> x) {
  return std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size());
}

double standard_deviation(std::span<const double> x) {
  if (x.size() < 2) return 0;
  const double m = mean(x);
  double sum = 0;
  for (const double v : x) sum += (v - m) * (v - m);
  return std::sqrt(sum / static_cast<double>(x.size() - 1));
}

double student_t_cdf(double t, double df) { return boost::math::cdf(boost::math::students_t(df), t); }

double student_t_quantile(double p, double df) {
  ETUDE_CHECK(p > 0 && p < 1 && df > 0, "student_t_quantile: p in (0, 1) and df > 0");
  return boost::math::quantile(boost::math::students_t(df), p);
}

Interval mean_interval(std::span<const double> x, double level) {
  Interval result{static_cast<int64_t>(x.size()), x.empty() ? 0 : mean(x), standard_deviation(x), -kInfinity,
                  kInfinity};
  if (result.n < 2) return result;
  const double n = static_cast<double>(result.n);
  const double half = student_t_quantile(0.5 + level / 2, n - 1) * result.sd / std::sqrt(n);
  result.low = result.mean - half;
  result.high = result.mean + half;
  return result;
}

Interval bootstrap_interval(std::span<const Weighted> items, uint64_t seed, int64_t resamples, double level) {
  const auto n = static_cast<int64_t>(items.size());
  const auto weighted_mean = [&](auto&& pick) {
    double sum = 0, weight = 0;
    for (int64_t i = 0; i < n; ++i) {
      const Weighted& item = items[static_cast<size_t>(pick(i))];
      sum += item.weight * item.value;
      weight += item.weight;
    }
    return weight > 0 ? sum / weight : 0;
  };
  Interval result{n, weighted_mean([](int64_t i) { return i; }), 0, -kInfinity, kInfinity};
  if (n < 2) return result;
  Rng rng(Key{seed, Purpose::bootstrap, 0, 0});
  std::vector<double> means(static_cast<size_t>(resamples));
  for (auto& m : means) m = weighted_mean([&](int64_t) { return rng.below(n); });
  std::sort(means.begin(), means.end());
  const auto at = [&](double p) {
    const double place = p * static_cast<double>(resamples - 1);
    const auto below = static_cast<size_t>(place);
    const auto above = std::min(below + 1, means.size() - 1);
    return means[below] + (place - static_cast<double>(below)) * (means[above] - means[below]);
  };
  result.sd = standard_deviation(means);
  result.low = at(0.5 - level / 2);
  result.high = at(0.5 + level / 2);
  return result;
}

std::optional<int64_t> seeds_needed(double sd, double distance, double level) {
  const auto decides = [&](int64_t n) {
    const double count = static_cast<double>(n);
    return student_t_quantile(0.5 + level / 2, count - 1) * sd / std::sqrt(count) < distance;
  };
  // The interval narrows with every seed: bisect.
  if (!decides(kMostSeeds)) return std::nullopt;
  int64_t low = 1, high = kMostSeeds;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (decides(middle) ? high : low) = middle;
  }
  return high;
}

}  // namespace etude::report
