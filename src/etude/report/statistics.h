#pragma once
// The few statistics that verdicts rest on. Arms are compared seed by seed (same data order, same
// initial weights, same masks), so the unit of evidence is the paired difference.

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace etude::report {

double mean(std::span<const double> x);
/// Standard deviation with n - 1; 0 for fewer than two values.
double standard_deviation(std::span<const double> x);

/// P(T <= t) of Student's t with df > 0 degrees of freedom.
double student_t_cdf(double t, double df);
/// The t with P(T <= t) = p, 0 < p < 1; relative error below 1e-10 for df >= 1.
double student_t_quantile(double p, double df);

/// The mean of n paired values with the ends of its confidence interval.
struct Interval {
  int64_t n = 0;
  double mean = 0, sd = 0, low = 0, high = 0;
};

inline constexpr double kLevel = 0.95;

/// mean +- t(n - 1) * sd / sqrt(n). With fewer than two values both ends are infinite.
Interval mean_interval(std::span<const double> x, double level = kLevel);

/// A value and how much it weighs.
struct Weighted {
  double value = 0, weight = 1;
};

/// Percentile bootstrap of the weighted mean over items, keyed: the same items and seed give the same
/// interval. Fewer than two items: both ends infinite. `sd` is that of the resampled means.
Interval bootstrap_interval(std::span<const Weighted> items, uint64_t seed, int64_t resamples = 2000,
                            double level = kLevel);

/// The largest number of seeds that is worth naming.
inline constexpr int64_t kMostSeeds = 1000;

/// The smallest n >= 2 whose interval, at the observed standard deviation, is narrower than `distance`
/// to either side: how many seeds would decide. Nothing if that takes more than kMostSeeds.
std::optional<int64_t> seeds_needed(double sd, double distance, double level = kLevel);

}  // namespace etude::report
