#include "etude/report/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "etude/base/error.h"
#include "etude/base/rng.h"

namespace etude::report {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// The continued fraction of the incomplete beta function (Numerical Recipes 6.4, after Lentz);
/// converges fast for x < (a + 1) / (a + b + 2).
double beta_fraction(double a, double b, double x) {
  constexpr double kTiny = 1e-300, kEpsilon = 1e-16;
  constexpr int kMostTerms = 10000;
  const auto away_from_zero = [](double v) { return std::abs(v) < kTiny ? kTiny : v; };
  double c = 1, d = 1 / away_from_zero(1 - (a + b) * x / (a + 1)), h = d;
  for (int m = 1; m < kMostTerms; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / away_from_zero(1 + even * d);
    c = away_from_zero(1 + even / c);
    h *= d * c;
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / away_from_zero(1 + odd * d);
    c = away_from_zero(1 + odd / c);
    h *= d * c;
    if (std::abs(d * c - 1) < kEpsilon) break;
  }
  return h;
}

/// log of Gamma(a + 1/2) / Gamma(a); the difference of two lgamma cancels for large a.
double log_gamma_ratio(double a) {
  constexpr double kAsymptotic = 500;
  if (a < kAsymptotic) return std::lgamma(a + 0.5) - std::lgamma(a);
  const double r = 1 / a;
  return 0.5 * std::log(a) + std::log1p(r * (-1.0 / 8 + r * (1.0 / 128 + r * (5.0 / 1024 - r * 21.0 / 32768))));
}

/// Regularised incomplete beta function I_x(a, 1/2); y = 1 - x, given apart so that neither cancels.
double incomplete_beta_half(double a, double x, double y) {
  if (x <= 0) return 0;
  if (y <= 0) return 1;
  constexpr double kHalfLogPi = 0.5723649429247001;  // log Gamma(1/2)
  const double log_x = y < 0.5 ? std::log1p(-y) : std::log(x);
  const double front = std::exp(log_gamma_ratio(a) - kHalfLogPi + a * log_x + 0.5 * std::log(y));
  if (x < (a + 1) / (a + 2.5)) return front * beta_fraction(a, 0.5, x) / a;
  return 1 - front * beta_fraction(0.5, a, y) / 0.5;
}

/// P(T > t) for t >= 0, without cancellation far out.
double upper_tail(double t, double df) {
  if (std::isinf(t)) return 0;
  const double t2 = t * t;
  return 0.5 * incomplete_beta_half(df / 2, df / (df + t2), t2 / (df + t2));
}

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

double student_t_cdf(double t, double df) { return t < 0 ? upper_tail(-t, df) : 1 - upper_tail(t, df); }

double student_t_quantile(double p, double df) {
  ETUDE_CHECK(p > 0 && p < 1 && df > 0, "student_t_quantile: p in (0, 1) and df > 0");
  if (p == 0.5) return 0;
  const double tail = std::min(p, 1 - p);
  double low = 0, high = 1;
  while (upper_tail(high, df) > tail) low = high, high *= 2;
  // The tail is monotone, so bisection to neighbouring doubles is as solid as it gets.
  for (double middle = 0.5 * (low + high); low < middle && middle < high; middle = 0.5 * (low + high))
    (upper_tail(middle, df) > tail ? low : high) = middle;
  return p < 0.5 ? -high : high;
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
