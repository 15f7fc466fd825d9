#include "etude/report/plot.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "etude/report/testing.h"

namespace etude::report::plot_test {
namespace {

using testing::run;

std::vector<std::string> labels(const Axis& axis) {
  std::vector<std::string> all;
  for (const double tick : axis.ticks()) all.push_back(axis.label(tick));
  return all;
}

using Labels = std::vector<std::string>;

TEST(Axes, HaveRoundTicks) {
  EXPECT_EQ(labels({0, 400, false, false, 5}), (Labels{"0", "100", "200", "300", "400"}));
  EXPECT_EQ(labels({2.31, 4.62, false, true, 6}), (Labels{"2.0", "2.5", "3.0", "3.5", "4.0", "4.5", "5.0"}));
  EXPECT_EQ(labels({-0.013, 0.011, false, false, 5}), (Labels{"−0.010", "−0.005", "0", "0.005", "0.010"}));
  EXPECT_EQ(labels({0, 2.4e6, false, false, 5}), (Labels{"0", "0.5 M", "1.0 M", "1.5 M", "2.0 M"}));
  EXPECT_EQ(labels({1e-8, 3e-8, false, false, 5}).front(), "1.0e-08");
  EXPECT_EQ(labels({0.0012, 0.04, true, true, 6}), (Labels{"0.001", "0.002", "0.005", "0.01", "0.02", "0.05"}));
  EXPECT_EQ(labels({0.002, 300, true, true, 6}), (Labels{"0.001", "0.01", "0.1", "1", "10", "100", "1000"}));
}

TEST(Axes, PlaceValues) {
  const Axis linear(2.31, 4.62, false, true, 6);
  EXPECT_EQ(linear.low(), 2);
  EXPECT_EQ(linear.high(), 5);
  EXPECT_DOUBLE_EQ(linear.at(2.75), 0.25);
  const Axis log(0.01, 100, true, true, 6);
  EXPECT_DOUBLE_EQ(log.at(1), 0.5);
}

TEST(Axes, OfASingleValueHaveRoom) {
  for (const double value : {0.0, 3.0, -3.0, 1e-300, 1e300}) {
    const Axis axis(value, value, false, true, 6);
    EXPECT_LT(axis.low(), value);
    EXPECT_GT(axis.high(), value);
    EXPECT_FALSE(axis.ticks().empty());
  }
  EXPECT_GT(Axis(5, 5, true, true, 6).at(5), 0);
}

TEST(Curves, AreMeanAndRangeOverSeeds) {
  const RunRecord a = run("ours", 0, {4, 3, 2}), b = run("ours", 1, {6, 4, 2.5});
  const Curve curve = mean_curve({&a, &b}, "valid/loss", Unit::steps, false, 100);
  EXPECT_EQ(curve.x, (std::vector<double>{10, 20, 30}));
  EXPECT_EQ(curve.mean, (std::vector<double>{5, 3.5, 2.25}));
  EXPECT_EQ(curve.low, (std::vector<double>{4, 3, 2}));
  EXPECT_EQ(curve.high, (std::vector<double>{6, 4, 2.5}));
  EXPECT_EQ(mean_curve({&a}, "valid/loss", Unit::tokens, false, 100).x, (std::vector<double>{1000, 2000, 3000}));
  EXPECT_TRUE(mean_curve({&a}, "nothing", Unit::steps, false, 100).x.empty());
  EXPECT_EQ(from(curve, 15).x, (std::vector<double>{20, 30}));
}

TEST(Curves, SpanWhatAllSeedsCover) {
  RunRecord late = run("ours", 0, {4, 3, 2}), early = run("ours", 1, {8, 6, 4});
  for (auto& at : early.points) at[Unit::steps] -= 5;  // measured at 5, 15, 25
  const Curve curve = mean_curve({&late, &early}, "valid/loss", Unit::steps, false, 100);
  EXPECT_EQ(curve.x, (std::vector<double>{10, 20}));
  EXPECT_EQ(curve.mean, (std::vector<double>{(4 + 7) / 2.0, (3 + 5) / 2.0}));
  EXPECT_EQ(mean_curve({&early, &late}, "valid/loss", Unit::steps, false, 100).x, (std::vector<double>{15, 25}));
}

TEST(Curves, LeaveOutWhatCantBeDrawn) {
  RunRecord a = run("ours", 0, {0, 2, std::numeric_limits<double>::infinity(), std::nan(""), 1});
  EXPECT_EQ(mean_curve({&a}, "valid/loss", Unit::steps, false, 100).mean, (std::vector<double>{0, 2, 1}));
  EXPECT_EQ(mean_curve({&a}, "valid/loss", Unit::steps, true, 100).mean, (std::vector<double>{2, 1}));
  a.points[2] = a.points[1];
  a.series[0].value[2] = 7;
  EXPECT_EQ(mean_curve({&a}, "valid/loss", Unit::steps, false, 100).x, (std::vector<double>{10, 20, 50}));
}

TEST(Curves, AreThinnedButKeepTheirRangeAndTheirEnd) {
  std::vector<double> loss(1001, 1.0);
  loss[500] = 9;
  loss[1000] = 0.5;
  const RunRecord a = run("ours", 0, loss);
  const Curve curve = mean_curve({&a}, "valid/loss", Unit::steps, false, 101);
  ASSERT_EQ(curve.x.size(), 101u);
  EXPECT_EQ(curve.x.front(), 55) << "the mean of 10, 20, ..., 100";
  EXPECT_EQ(curve.mean[50], 1.8) << "nine ones and a nine";
  EXPECT_EQ(curve.high[50], 9);
  EXPECT_EQ(curve.low[50], 1);
  EXPECT_EQ(curve.x.back(), 10010);
  EXPECT_EQ(curve.mean.back(), 0.5);
}

std::string between(const std::string& text, const std::string& begin, const std::string& end, size_t from = 0) {
  const auto at = text.find(begin, from);
  if (at == std::string::npos) return "";
  return text.substr(at + begin.size(), text.find(end, at + begin.size()) - at - begin.size());
}

TEST(Svg, PutsPointsWhereTheyBelong) {
  Plot plot{"steps", "loss", false, {{"ours", 0, true, {0, 50, 100}, {4, 2, 0}, {4, 1, 0}, {4, 3, 0}}}};
  const std::string svg = curves_svg(plot);
  // x from 0 to 100 on 52 to 402, y from 0 to 4 on 240 (below) to 10.
  EXPECT_EQ(between(svg, "data-name=\"ours\" d=\"", "\""), "M52 10L227 125L402 240");
  EXPECT_EQ(between(svg, "class=\"band\" d=\"", "\""), "M52 10L227 67.5L402 240L402 240L227 182.5L52 10Z");
  EXPECT_NE(svg.find("aria-label=\"loss against steps; at the end: ours 0\""), std::string::npos) << svg;
  EXPECT_NE(svg.find("data-x=\"0 100\" data-y=\"0 4\""), std::string::npos) << svg;
}

TEST(Svg, LogarithmicAxis) {
  Plot plot{"steps", "spread", true, {{"ours", 0, false, {0, 50, 100}, {1, 10, 100}, {1, 10, 100}, {1, 10, 100}}}};
  const std::string svg = curves_svg(plot);
  EXPECT_EQ(between(svg, "data-name=\"ours\" d=\"", "\""), "M52 240L227 125L402 10");
  EXPECT_EQ(svg.find("class=\"band\""), std::string::npos) << "one seed has no band";
}

TEST(Svg, NamesOfCurvesThatEndTogetherStandApartAndInside) {
  for (const double end : {0.0, 2.0, 4.0}) {  // at the bottom, in the middle, at the top
    Plot plot{"steps", "loss", false, {}};
    for (const char* name : {"a", "b", "c"})
      plot.curves.push_back({name, 0, false, {0, 0.5, 1}, {4, 0, end}, {4, 0, end}, {4, 0, end}});
    const std::string svg = curves_svg(plot);
    std::vector<double> heights;
    for (size_t at = svg.find("class=\"arm\""); at != std::string::npos; at = svg.find("class=\"arm\"", at + 1))
      heights.push_back(std::stod(svg.substr(svg.rfind("y=\"", at) + 3)));
    ASSERT_EQ(heights.size(), 3u);
    std::sort(heights.begin(), heights.end());
    EXPECT_GE(heights[1] - heights[0], 14);
    EXPECT_GE(heights[2] - heights[1], 14);
    EXPECT_GE(heights[0], kPlotTop);
    EXPECT_LE(heights[2], kPlotTop + kPlotHeight + 5);
  }
}

TEST(Svg, IntervalAgainstItsMargin) {
  Verdict v;
  v.kind = "superiority";
  v.outcome = Outcome::holds;
  v.margin = 0;
  v.seeds = {{0, 25}, {1, 75}};
  v.interval = {2, 50, 1, 20, 100};
  // From -8 to 108 on 12 to 408: a value v lies at 12 + 396 (v + 8) / 116.
  const std::string svg = interval_svg(v);
  EXPECT_NE(svg.find("<rect class=\"beyond\" x=\"39.3\" y=\"18\" width=\"368.7\""), std::string::npos) << svg;
  EXPECT_NE(svg.find("<line x1=\"107.6\" y1=\"34\" x2=\"380.7\" y2=\"34\" class=\"bar\"/>"), std::string::npos) << svg;
  EXPECT_NE(svg.find("<circle cx=\"210\" cy=\"34\" r=\"4\" class=\"mean\"/>"), std::string::npos) << svg;
  EXPECT_NE(svg.find("<circle cx=\"124.7\" cy=\"47\""), std::string::npos) << svg;
  EXPECT_NE(svg.find("class=\"interval holds\""), std::string::npos);

  v.kind = "equivalence";
  v.margin = 10;
  v.outcome = Outcome::fails;  // the band from -10 to 10; the range from -18.8 to 108.8
  EXPECT_NE(interval_svg(v).find("<rect class=\"beyond\" x=\"39.3\" y=\"18\" width=\"62.1\""), std::string::npos)
      << interval_svg(v);
  v.interval = mean_interval(std::vector<double>{1});
  EXPECT_EQ(interval_svg(v), "") << "nothing to draw";
}

}  // namespace
}  // namespace etude::report::plot_test
