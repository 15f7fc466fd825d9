#pragma once
// Curves and intervals as SVG that stands inside HTML: it scales, prints, takes its colours from the page's
// style (classes s0..s7, one for each arm, which also differ in dashes and marks) and needs no script.

#include <string>
#include <vector>

#include "etude/report/claims.h"
#include "etude/report/run_record.h"

namespace etude::report {

/// Values from low to high on pixels, with ticks at round numbers.
class Axis {
 public:
  /// Requires finite low <= high, above 0 for a logarithmic axis. `outward` widens the range to round numbers.
  Axis(double low, double high, bool log, bool outward, int most_ticks);

  double low() const { return low_; }
  double high() const { return high_; }
  /// Where a value lies: 0 at low, 1 at high.
  double at(double value) const;
  const std::vector<double>& ticks() const { return ticks_; }
  std::string label(double tick) const;

 private:
  double low_, high_, step_ = 0;
  bool log_;
  std::vector<double> ticks_;
};

/// An arm's line: mean over seeds, and the lowest and highest seed.
struct Curve {
  std::string name;  ///< empty: not written beside it
  int style = 0;
  bool emphasis = false;
  std::vector<double> x, mean, low, high;
};

/// The curve of one metric over runs that differ in their seed. Runs that were measured at other places are
/// interpolated; the curve spans what all of them cover. Values that are not finite (for a logarithmic axis: not
/// positive) are left out. More than `most` points are put together, neighbours with neighbours; the last stays.
Curve mean_curve(const std::vector<const RunRecord*>& runs, const std::string& metric, Unit axis, bool log,
                 size_t most);

/// The part of a curve from x on.
Curve from(const Curve& curve, double x);

struct Plot {
  std::string x_label, y_label;
  bool log = false;
  std::vector<Curve> curves;  ///< none of them empty
};

inline constexpr int kStyles = 8;
/// The drawing area of curves_svg() in its own units.
inline constexpr double kPlotLeft = 52, kPlotTop = 10, kPlotWidth = 350, kPlotHeight = 230;

std::string curves_svg(const Plot& plot);

/// Interval, margin or band, and seeds of a verdict; empty if there is no interval.
std::string interval_svg(const Verdict& verdict);

}  // namespace etude::report
