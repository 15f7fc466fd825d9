#include "etude/report/plot.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "etude/base/text.h"
#include "etude/report/format.h"
#include "etude/report/results.h"

namespace etude::report {
namespace {

/// The largest of 1, 2, 5 times a power of ten whose multiples cut the range into at most `most` pieces.
double round_step(double range, int most) {
  const double power = std::pow(10, std::floor(std::log10(range / most)));
  for (const double factor : {1.0, 2.0, 5.0})
    if (range / (factor * power) <= most * (1 + 1e-9)) return factor * power;
  return 10 * power;
}

/// 1, 2, 5, 10, 20, ... or only powers of ten, from the last at or below `low` to the first at or above `high`.
std::vector<double> logarithmic_ticks(double low, double high) {
  constexpr double kDecadesWithOneTick = 2.5, kClose = 1e-9;
  const bool few = std::log10(high / low) < kDecadesWithOneTick;
  std::vector<double> ticks;
  for (double decade = std::floor(std::log10(low) + kClose); ticks.empty() || ticks.back() < high * (1 - kClose);
       ++decade)
    for (const double factor : {1.0, 2.0, 5.0}) {
      if (factor > 1 && !few) continue;
      if (!ticks.empty() && ticks.back() >= high * (1 - kClose)) break;
      const double tick = factor * std::pow(10, decade);
      if (tick <= low * (1 + kClose)) ticks.clear();
      ticks.push_back(tick);
    }
  return ticks;
}

std::string number(double pixels) {
  auto text = fixed(pixels, 1);
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text.starts_with("\u2212") ? "-" + text.substr(3) : text;
}

std::string attribute(std::string_view name, double pixels) {
  return " " + std::string(name) + "=\"" + number(pixels) + "\"";
}

std::string attribute(std::string_view name, std::string_view text) {
  return " " + std::string(name) + "=\"" + escaped(text) + "\"";
}

std::string line(double x1, double y1, double x2, double y2, std::string_view kind) {
  return "<line" + attribute("x1", x1) + attribute("y1", y1) + attribute("x2", x2) + attribute("y2", y2) +
         attribute("class", kind) + "/>";
}

std::string label(double x, double y, std::string_view text, std::string_view kind) {
  return "<text" + attribute("x", x) + attribute("y", y) + attribute("class", kind) + ">" + escaped(text) + "</text>";
}

std::string circle(double x, double y, double r, std::string_view kind) {
  return "<circle" + attribute("cx", x) + attribute("cy", y) + attribute("r", r) + attribute("class", kind) + "/>";
}

struct Point {
  double x, y;
};

/// "M52 240L402 10" with a new M behind each gap.
std::string path_of(const std::vector<Point>& points) {
  std::string d;
  for (const auto& [x, y] : points) d += (d.empty() ? "M" : "L") + number(x) + " " + number(y);
  return d;
}

/// The mark of an arm, around a point.
std::string mark(int style, double x, double y) {
  static constexpr std::string_view kShapes[kStyles] = {
      "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0 -6 0z", "m-2.7 -2.7h5.4v5.4h-5.4z",   "m0 -3.6l3.4 6h-6.8z",
      "m0 -3.9l3.4 3.9l-3.4 3.9l-3.4 -3.9z", "m0 3.6l3.4 -6h-6.8z",        "m-2.8 -2.8l5.6 5.6m0 -5.6l-5.6 5.6",
      "m-3.6 0h7.2m-3.6 -3.6v7.2",           "m-3.4 -1.7h6.8m-6.8 3.4h6.8"};
  return "<path class=\"mark\" d=\"M" + number(x) + " " + number(y) +
         std::string(kShapes[static_cast<size_t>(style % kStyles)]) + "\"/>";
}

using Measured = std::vector<Point>;

Measured measured(const RunRecord& run, const std::string& metric, Unit axis, bool log) {
  Measured points;
  const auto* series = run.find(metric);
  for (size_t i = 0; series && i < series->value.size(); ++i) {
    const double x = run.points[series->point[i]][axis], y = series->value[i];
    if (!std::isfinite(x) || !std::isfinite(y) || (log && y <= 0)) continue;
    if (!points.empty() && x <= points.back().x) continue;
    points.push_back({x, y});
  }
  return points;
}

double interpolated(const Measured& points, double x) {
  const auto right =
      std::lower_bound(points.begin(), points.end(), x, [](const Point& p, double v) { return p.x < v; });
  if (right->x == x || right == points.begin()) return right->y;
  const auto left = right - 1;
  return left->y + (right->y - left->y) * (x - left->x) / (right->x - left->x);
}

/// Puts neighbours together: means of x and mean, extremes of low and high.
Curve thinned(const Curve& curve, size_t most) {
  const size_t n = curve.x.size();
  if (n <= most) return curve;
  Curve result = curve;
  for (auto* column : {&result.x, &result.mean, &result.low, &result.high}) column->clear();
  const size_t groups = most - 1;  // and the last point by itself
  for (size_t g = 0; g <= groups; ++g) {
    const auto begin = static_cast<std::ptrdiff_t>(g == groups ? n - 1 : g * (n - 1) / groups);
    const auto end = static_cast<std::ptrdiff_t>(g == groups ? n : (g + 1) * (n - 1) / groups);
    const auto average = [&](const std::vector<double>& v) {
      return std::accumulate(v.begin() + begin, v.begin() + end, 0.0) / static_cast<double>(end - begin);
    };
    result.x.push_back(average(curve.x));
    result.mean.push_back(average(curve.mean));
    result.low.push_back(*std::min_element(curve.low.begin() + begin, curve.low.begin() + end));
    result.high.push_back(*std::max_element(curve.high.begin() + begin, curve.high.begin() + end));
  }
  return result;
}

/// Where labels go so that none covers another: as near to the ends of their curves as that allows.
std::vector<double> spread(std::vector<double> wanted, double distance, double lowest, double highest) {
  std::vector<size_t> order(wanted.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return wanted[a] < wanted[b]; });
  double least = lowest;
  for (const size_t i : order) least = (wanted[i] = std::max(wanted[i], least)) + distance;
  double most = std::max(highest, lowest + distance * static_cast<double>(order.size() - 1));
  for (auto i = order.rbegin(); i != order.rend(); ++i) most = (wanted[*i] = std::min(wanted[*i], most)) - distance;
  return wanted;
}

/// A plot being drawn.
class Drawing {
 public:
  explicit Drawing(const Plot& plot)
      : plot_(plot),
        x_(range(plot, &Curve::x, &Curve::x, false, 5)),
        y_(range(plot, &Curve::low, &Curve::high, plot.log, 6)) {
    size_t longest = 0;
    for (const auto& curve : plot.curves)
      longest = std::max(longest, static_cast<size_t>(columns(printable(curve.name))));
    if (longest > 0) names_width_ = 28 + 8 * static_cast<double>(std::min(longest, kMostName));
  }

  std::string run() {
    const double height = kPlotTop + kPlotHeight + 42, width = kPlotLeft + kPlotWidth + kGap + names_width_;
    std::string svg = "<svg class=\"plot\" role=\"img\" viewBox=\"0 0 " + number(width) + " " + number(height) + "\"" +
                      attribute("aria-label", summary()) + attribute("data-axis", plot_.x_label) +
                      attribute("data-area", area()) + attribute("data-x", ends(x_, false)) +
                      attribute("data-y", ends(y_, plot_.log)) + ">";
    svg += frame();
    for (const auto& curve : plot_.curves) svg += band(curve);
    for (const auto& curve : plot_.curves) svg += stroke(curve);
    return svg + names() + "<g class=\"cursor\"></g></svg>\n";
  }

 private:
  static constexpr double kGap = 16, kLineHeight = 15;
  static constexpr size_t kMostName = 24;

  static Axis range(const Plot& plot, std::vector<double> Curve::*lows, std::vector<double> Curve::*highs, bool log,
                    int most_ticks) {
    double low = std::numeric_limits<double>::infinity(), high = -low;
    for (const auto& curve : plot.curves) {
      for (const double v : curve.*lows) low = std::min(low, v);
      for (const double v : curve.*highs) high = std::max(high, v);
    }
    return {low, high, log, lows != highs, most_ticks};
  }

  static std::string ends(const Axis& axis, bool log) {
    return plain_number(axis.low()) + " " + plain_number(axis.high()) + (log ? " log" : "");
  }

  static std::string area() {
    return number(kPlotLeft) + " " + number(kPlotTop) + " " + number(kPlotWidth) + " " + number(kPlotHeight);
  }

  double x(double value) const { return kPlotLeft + kPlotWidth * x_.at(value); }
  double y(double value) const { return kPlotTop + kPlotHeight * (1 - y_.at(value)); }

  std::string summary() const {
    std::string text = plot_.y_label + " against " + plot_.x_label + "; at the end:";
    for (const auto& curve : plot_.curves)
      text += (&curve == &plot_.curves.front() ? " " : ", ") + curve.name + (curve.name.empty() ? "" : " ") +
              significant(curve.mean.back(), 4);
    return text;
  }

  std::string frame() const {
    const double bottom = kPlotTop + kPlotHeight, right = kPlotLeft + kPlotWidth;
    std::string svg = "<g class=\"axes\">";
    for (const double tick : y_.ticks())
      svg += line(kPlotLeft, y(tick), right, y(tick), "grid") +
             label(kPlotLeft - 7, y(tick) + 4, y_.label(tick), "tick right");
    for (const double tick : x_.ticks())
      svg += line(x(tick), bottom, x(tick), bottom + 4, "axis") +
             label(x(tick), bottom + 17, x_.label(tick), "tick middle");
    return svg + line(kPlotLeft, bottom, right, bottom, "axis") +
           label(kPlotLeft + kPlotWidth / 2, bottom + 36, plot_.x_label, "name middle") + "</g>";
  }

  std::string group(const Curve& curve) const {
    return "<g class=\"s" + std::to_string(curve.style % kStyles) + (curve.emphasis ? " own" : "") + "\">";
  }

  std::string band(const Curve& curve) const {
    if (curve.low == curve.high) return "";
    std::vector<Point> outline;
    for (size_t i = 0; i < curve.x.size(); ++i) outline.push_back({x(curve.x[i]), y(curve.high[i])});
    for (size_t i = curve.x.size(); i-- > 0;) outline.push_back({x(curve.x[i]), y(curve.low[i])});
    return group(curve) + "<path class=\"band\" d=\"" + path_of(outline) + "Z\"/></g>";
  }

  std::string stroke(const Curve& curve) const {
    constexpr size_t kMarks = 5;
    std::vector<Point> points;
    for (size_t i = 0; i < curve.x.size(); ++i) points.push_back({x(curve.x[i]), y(curve.mean[i])});
    std::string svg =
        group(curve) + "<path class=\"line\"" + attribute("data-name", curve.name) + " d=\"" + path_of(points) + "\"/>";
    const size_t every = std::max<size_t>(1, points.size() / kMarks);
    for (size_t i = static_cast<size_t>(curve.style) * every / kStyles; i < points.size(); i += every)
      svg += mark(curve.style, points[i].x, points[i].y);
    return svg + "</g>";
  }

  /// The legend: each name beside the end of its curve, with its line and mark.
  std::string names() const {
    std::vector<double> wanted;
    for (const auto& curve : plot_.curves) wanted.push_back(y(curve.mean.back()));
    const auto heights = spread(wanted, kLineHeight, kPlotTop, kPlotTop + kPlotHeight);
    const double left = kPlotLeft + kPlotWidth + kGap;
    std::string svg;
    for (size_t i = 0; i < plot_.curves.size(); ++i) {
      const auto& curve = plot_.curves[i];
      if (curve.name.empty()) continue;
      const double end = x(curve.x.back()), height = heights[i];
      svg += line(end + 2, wanted[i], left - 2, height, "leader") + group(curve) + "<path class=\"line\" d=\"M" +
             number(left) + " " + number(height) + "h24\"/>" + mark(curve.style, left + 12, height) + "</g>" +
             label(left + 28, height + 4, fitted(printable(curve.name), static_cast<int>(kMostName)),
                   curve.emphasis ? "arm own" : "arm");
    }
    return svg;
  }

  const Plot& plot_;
  Axis x_, y_;
  double names_width_ = 0;
};

}  // namespace

Axis::Axis(double low, double high, bool log, bool outward, int most_ticks) : low_(low), high_(high), log_(log) {
  if (low_ == high_) {
    const double room = low_ == 0 ? 1 : 0.05 * std::abs(low_);
    low_ = log_ ? low_ / 2 : low_ - room;
    high_ = log_ ? high_ * 2 : high_ + room;
  }
  if (log_) {
    ticks_ = logarithmic_ticks(low_, high_);
  } else {
    step_ = round_step(high_ - low_, most_ticks);
    for (double i = std::floor(low_ / step_ + 1e-9); i <= std::ceil(high_ / step_ - 1e-9); ++i)
      ticks_.push_back(i * step_);
  }
  if (outward) {
    low_ = ticks_.front();
    high_ = ticks_.back();
  }
  std::erase_if(ticks_, [&](double tick) { return at(tick) < -1e-9 || at(tick) > 1 + 1e-9; });
}

double Axis::at(double value) const {
  if (log_) return std::log(value / low_) / std::log(high_ / low_);
  return (value - low_) / (high_ - low_);
}

std::string Axis::label(double tick) const {
  if (tick == 0) return "0";
  if (log_) return tick >= 1e-3 && tick < 1e6 ? plain_number(tick) : significant(tick, 1);
  const double largest = std::max(std::abs(low_), std::abs(high_));
  if (largest < 1e6 && step_ >= 1) return count_text(std::round(tick));
  static constexpr std::pair<double, const char*> kScales[] = {
      {1e15, " P"}, {1e12, " T"}, {1e9, " G"}, {1e6, " M"}, {0, ""}};
  const auto* const scale =
      std::find_if(std::begin(kScales), std::end(kScales), [&](const auto& s) { return largest >= s.first; });
  const double unit = scale->first > 0 ? scale->first : 1;
  const int decimals = std::max(0, static_cast<int>(std::ceil(-std::log10(step_ / unit) - 1e-9)));
  return decimals > 5 ? significant(tick, 2) : fixed(tick / unit, decimals) + scale->second;
}

Curve mean_curve(const std::vector<const RunRecord*>& runs, const std::string& metric, Unit axis, bool log,
                 size_t most) {
  std::vector<Measured> all;
  for (const auto* run : runs)
    if (auto points = measured(*run, metric, axis, log); !points.empty()) all.push_back(std::move(points));
  Curve curve;
  if (all.empty()) return curve;
  double begin = -std::numeric_limits<double>::infinity(), end = -begin;
  for (const auto& points : all) begin = std::max(begin, points.front().x), end = std::min(end, points.back().x);
  for (const auto& [x, y] : all.front()) {
    if (x < begin || x > end) continue;
    double sum = 0, low = std::numeric_limits<double>::infinity(), high = -low;
    for (const auto& points : all) {
      const double value = interpolated(points, x);
      sum += value;
      low = std::min(low, value);
      high = std::max(high, value);
    }
    curve.x.push_back(x);
    curve.mean.push_back(sum / static_cast<double>(all.size()));
    curve.low.push_back(low);
    curve.high.push_back(high);
  }
  return thinned(curve, most);
}

Curve from(const Curve& curve, double x) {
  Curve result = curve;
  const auto skip = std::lower_bound(curve.x.begin(), curve.x.end(), x) - curve.x.begin();
  for (auto* column : {&result.x, &result.mean, &result.low, &result.high})
    column->erase(column->begin(), column->begin() + skip);
  return result;
}

std::string curves_svg(const Plot& plot) { return Drawing(plot).run(); }

std::string interval_svg(const Verdict& v) {
  constexpr double kLeft = 12, kWidth = 396, kBar = 34, kSeeds = 47, kBottom = 58, kTop = 18;
  constexpr size_t kMostSeedMarks = 200;
  if (!std::isfinite(v.interval.low) || !std::isfinite(v.interval.high) || v.outcome == Outcome::not_shown) return "";
  const bool band = v.kind == "equivalence";
  double low = std::min(v.interval.low, band ? -v.margin : v.margin), high = std::max(v.interval.high, v.margin);
  for (const auto& seed : v.seeds) low = std::min(low, seed.value), high = std::max(high, seed.value);
  const double room = high > low ? 0.08 * (high - low) : std::max(0.1 * std::abs(high), 1e-3);
  const Axis axis(low - room, high + room, false, false, 5);
  const auto x = [&](double value) { return kLeft + kWidth * axis.at(value); };
  const double from = band ? x(-v.margin) : x(v.margin), to = band ? x(v.margin) : kLeft + kWidth;
  std::string svg =
      "<svg class=\"interval " + std::string(v.outcome == Outcome::inconclusive ? "open" : outcome_name(v.outcome)) +
      "\" role=\"img\" viewBox=\"0 0 420 80\"" + attribute("aria-label", "95 % interval " + measured_text(v)) + ">";
  svg += "<rect class=\"beyond\"" + attribute("x", from) + attribute("y", kTop) + attribute("width", to - from) +
         attribute("height", kBottom - kTop) + "/>";
  for (const double tick : axis.ticks())
    svg += line(x(tick), kBottom, x(tick), kBottom + 4, "axis") +
           label(x(tick), kBottom + 17, axis.label(tick), "tick middle");
  svg += line(kLeft, kBottom, kLeft + kWidth, kBottom, "axis");
  for (const double at : band ? std::vector<double>{-v.margin, v.margin} : std::vector<double>{v.margin})
    svg += line(x(at), kTop - 4, x(at), kBottom, "margin");
  const bool at_left = band || axis.at(v.margin) < 0.5;
  svg += label(band ? (from + to) / 2 : x(v.margin), 11, (band ? "band ±" : "margin ") + shortest(v.margin),
               band      ? "tick middle"
               : at_left ? "tick"
                         : "tick right");
  for (size_t i = 0; i < std::min(v.seeds.size(), kMostSeedMarks); ++i)
    svg += circle(x(v.seeds[i].value), kSeeds, 2.4, "seed");
  svg += line(x(v.interval.low), kBar, x(v.interval.high), kBar, "bar");
  for (const double end : {v.interval.low, v.interval.high}) svg += line(x(end), kBar - 5, x(end), kBar + 5, "bar");
  return svg + circle(x(v.interval.mean), kBar, 4, "mean") + "</svg>\n";
}

}  // namespace etude::report
