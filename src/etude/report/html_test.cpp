#include "etude/report/html.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>

#include <gtest/gtest.h>

#include "etude/base/file.h"
#include "etude/report/plot.h"
#include "etude/report/testing.h"

namespace etude::report::html_test {
namespace {

using testing::run;

/// What is wrong with the markup, read as XML is: each tag closed in order, attributes quoted, no stray '<' or '&'.
/// Empty if nothing is.
std::string faults(std::string_view html) {
  std::vector<std::string> open;
  constexpr std::string_view kDoctype = "<!DOCTYPE html>",
                             kName = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-";
  if (!html.starts_with(kDoctype)) return "no doctype";
  html.remove_prefix(kDoctype.size());
  for (size_t at = 0; at < html.size();) {
    const std::string near(html.substr(at, 60));
    if (html[at] == '&') {
      const auto end = html.find(';', at);
      const auto name = html.substr(at, end - at);
      if (name != "&amp" && name != "&lt" && name != "&gt" && name != "&quot" && name != "&#39")
        return "entity: " + near;
    }
    if (html[at] != '<') {
      ++at;
      continue;
    }
    const bool closes = html.substr(at).starts_with("</");
    size_t end = html.find_first_not_of(kName, at + 1 + closes);
    const std::string name(html.substr(at + 1 + closes, end - at - 1 - closes));
    while (end < html.size() && html[end] == ' ') {
      const size_t equals = html.find_first_not_of(kName, end + 1);
      if (!html.substr(equals).starts_with("=\"")) return "an attribute without a quoted value: " + near;
      end = std::min(html.find('"', equals + 2), html.size() - 1) + 1;
      if (html.substr(equals, end - equals).find('<') != std::string_view::npos) return "'<' in a value: " + near;
    }
    const bool empty = html.substr(end).starts_with("/>");
    if (name.empty() || !html.substr(end + empty).starts_with('>')) return "no tag: " + near;
    if (closes) {
      if (open.empty() || open.back() != name) return "closes what isn't open: " + near;
      open.pop_back();
    } else if (!empty) {
      open.push_back(name);
    }
    at = end + empty + 1;
  }
  return open.empty() ? "" : "not closed: " + open.back();
}

size_t count(std::string_view text, std::string_view what) {
  size_t n = 0;
  for (size_t at = text.find(what); at != std::string_view::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

/// No loads: links for people may stay.
void expect_self_contained(const std::string& html) {
  EXPECT_EQ(faults(html), "");
  for (const char* load : {"src=", "<link", "@import", "url(", "<iframe", "<img", "<object", "fetch(", "XMLHttp"})
    EXPECT_EQ(html.find(load), std::string::npos) << load;
  size_t links = count(html, "href=\"https://arxiv.org/abs/");
  EXPECT_EQ(count(html, "https://"), links);
  EXPECT_EQ(count(html, "http://"), 1u) << "the name of SVG in the script";
  EXPECT_LT(html.size(), 2'000'000u);
}

Comparison comparison() {
  Comparison c;
  c.method = "toy";
  c.title = "A Toy Method";
  c.profile = "small";
  c.paper = {"A Toy Method", "2501.00001", "2025-01-01", "Somewhere"};
  c.claims = parse_claims(R"(headline = ["ours", "base"]
metric = "valid/loss"
label = "validation loss"
unit = "nats"
[[claim]]
id = "lower"
text = "Ours ends lower."
expression = 'value(base) - value(ours)'
margin = 0.02
[[claim]]
id = "much-lower"
text = "Much lower."
expression = 'value(base) - value(ours)'
margin = 5.0
[[claim]]
id = "maybe"
text = "Perhaps as low."
kind = "equivalence"
expression = 'value(base) - value(ours)'
band = 0.1
[[claim]]
id = "network"
text = "It is fast on a network."
kind = "not shown"
note = "A clock model stands in."
)",
                          "claims.toml");
  c.command = "etude compare toy";
  c.date = "2026-01-02";
  c.commit = "0123456789abcdef0123";
  c.machine = {"A Processor 9000", "AVX2", "2.15.0", 1};
  c.arms = {{"ours", "the method"}, {"base", "the baseline"}};
  for (int64_t s = 0; s < 4; ++s) {
    const double x = 0.01 * static_cast<double>(s);
    c.runs.push_back(run("ours", s, {5, 4, 3, 2 + x}));
    c.runs.push_back(run("base", s, {5, 4, 3, 2.1 + 2 * x}));
  }
  c.verdicts = judge_all(c.claims, c.runs, c.profile);
  return c;
}

TEST(Html, ShowsEveryVerdictWithItsEvidence) {
  const Comparison c = comparison();
  const std::string html = to_html(c);
  expect_self_contained(html);
  EXPECT_EQ(c.verdicts[0].outcome, Outcome::holds);
  EXPECT_EQ(c.verdicts[1].outcome, Outcome::fails);
  EXPECT_EQ(c.verdicts[2].outcome, Outcome::inconclusive);
  for (const char* text :
       {"✓ holds</span><code>lower</code>", "✗ fails</span><code>much-lower</code>",
        "~ inconclusive</span><code>maybe</code>", "– not shown</span><code>network</code>", "A clock model stands in.",
        "seeds would decide", "margin 0.02, 4 seeds", "band ±0.1", "value(base) - value(ours)"})
    EXPECT_NE(html.find(text), std::string::npos) << text;
  EXPECT_EQ(count(html, "class=\"interval"), 3u) << "none for what is not shown";
}

TEST(Html, ShowsSimulationsApartFromWhatWasMeasured) {
  Comparison c = comparison();
  EXPECT_EQ(to_html(c).find("Simulated"), std::string::npos);
  c.verdicts[3].simulation = NumberTable{"A clock & its time", {"replicas", "ratio"}, {{8, 5.8123}, {64, 13}}};
  const std::string html = to_html(c);
  expect_self_contained(html);
  EXPECT_EQ(count(html, "href=\"#simulated-network\""), 1u);
  EXPECT_EQ(count(html, "id=\"simulated-network\""), 1u);
  EXPECT_NE(html.find("A clock &amp; its time"), std::string::npos);
  EXPECT_NE(html.find("<tr><td>8</td><td>5.81</td></tr>\n<tr><td>64</td><td>13.0</td></tr>"), std::string::npos);
}

TEST(Html, ShowsExperimentsApartFromOrdinaryArms) {
  Comparison c = comparison();
  const std::string before = to_html(c);
  EXPECT_EQ(before.find("Experiments"), std::string::npos);
  testing::add_experiment(c.claims, c.runs);
  const std::string html = to_html(c);
  expect_self_contained(html);
  for (const char* text :
       {"2 arms × 4 seeds, 8 finished runs", "1 with 2 finished runs", "slow: one rank is | slow",
        "--nproc 2 --inject rank:1:slow=10 stop=&quot;2 steps&quot;",
        "<th scope=\"row\">base</th><td>1</td><td>8.00\u00a0s</td><td>6.00\u00a0s</td><td>3.00\u00a0kB</td>",
        "Every seed (10 runs)", "<th scope=\"row\">base@slow</th><td>0</td>"})
    EXPECT_NE(html.find(text), std::string::npos) << text;
  const auto section = [](const std::string& page, const std::string& heading) {
    const size_t begin = page.find("<h2>" + heading + "</h2>");
    return page.substr(begin, page.find("</section>", begin) - begin);
  };
  for (const char* heading : {"Curves", "Arms", "Cost"})
    EXPECT_EQ(section(html, heading), section(before, heading)) << "ordinary runs only";
}

TEST(Html, OfExperimentsOnlyIsWhole) {
  Comparison c = comparison();
  c.runs.clear();
  c.arms.clear();
  testing::add_experiment(c.claims, c.runs);
  c.verdicts = judge_all(c.claims, c.runs, c.profile);
  const std::string html = to_html(c);
  expect_self_contained(html);
  EXPECT_NE(html.find("<h2>Experiments</h2>"), std::string::npos);
  EXPECT_EQ(html.find("<h2>Arms</h2>"), std::string::npos);
}

TEST(Html, SaysWhereItIsFrom) {
  const std::string html = to_html(comparison());
  for (const char* text :
       {"<h1>A Toy Method</h1>", "arXiv 2501.00001", "Somewhere", "2026-01-02", "0123456789ab<", "A Processor 9000",
        "AVX2", "2.15.0", "etude compare toy", "2 arms × 4 seeds, 8 finished runs", "the baseline",
        "difference to ours", "bytes sent", "Every seed (8 runs)"})
    EXPECT_NE(html.find(text), std::string::npos) << text;
}

TEST(Html, NamesAreNeverMarkup) {
  Comparison c = comparison();
  const std::string evil = "<script>alert('&\"')</script>";
  for (auto& r : c.runs)
    if (r.arm == "base") r.arm = evil, r.key = evil;
  c.arms[1] = {evil, evil};
  c.title = c.command = c.date = c.commit = c.about = c.profile = c.paper.arxiv = c.paper.organisation = evil;
  c.machine = {evil, evil, evil, 1};
  c.claims.label = c.claims.unit = evil;
  for (auto& v : c.verdicts) v.id = v.text = v.source = v.note = v.expression = v.unit = v.caution = evil;
  c.verdicts[0].reason = evil;
  const std::string html = to_html(c);
  EXPECT_EQ(faults(html), "");
  EXPECT_EQ(count(html, "<script>"), 1u) << "our own";
  EXPECT_GT(count(html, "&lt;script&gt;"), 20u);
}

TEST(Html, TheCheckOfMarkupFindsFaults) {
  const std::string good = to_html(comparison());
  for (const auto& [from, to] : {std::pair{"</h1>", ""},
                                 {"</td>", "</th>"},
                                 {"<main>", "<p>"},
                                 {" · profile", " & profile"},
                                 {"class=\"card", "class=card\""},
                                 {"</html>", "</html></p>"}}) {
    std::string bad = good;
    const auto at = bad.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    bad.replace(at, std::string(from).size(), to);
    EXPECT_NE(faults(bad), "") << from;
  }
}

TEST(Html, StaysSmallWhenThereIsMuch) {
  const auto size_of = [](int64_t arms, int64_t seeds, size_t points) {
    Comparison c = comparison();
    c.runs.clear();
    c.arms.clear();
    for (int64_t a = 0; a < arms; ++a)
      for (int64_t s = 0; s < seeds; ++s) {
        std::vector<double> loss(points);
        for (size_t i = 0; i < points; ++i)
          loss[i] = 2 + std::sin(static_cast<double>(i * (a + 3) + s)) + 1000.0 / static_cast<double>(i + 1);
        c.runs.push_back(run("an-arm-with-a-name-" + std::to_string(a), s, loss));
      }
    const std::string html = to_html(c);
    expect_self_contained(html);
    EXPECT_EQ(html.find("1000 more runs left out") != std::string::npos, arms * seeds == 3000);
    return html.size();
  };
  EXPECT_LT(size_of(8, 20, 1000), 500'000u);
  EXPECT_LT(size_of(8, 1, 100'000), 500'000u);
  EXPECT_LT(size_of(60, 50, 50), 2'000'000u) << "more runs than are listed";
}

TEST(Html, OfAPartialComparisonIsWhole) {
  Comparison c = comparison();
  std::erase_if(c.runs, [](const RunRecord& r) { return r.arm == "base" && r.seed > 0; });
  c.runs[0].series[0].value[2] = std::numeric_limits<double>::quiet_NaN();
  c.runs[3].finished = false;
  c.arms.push_back({"other", ""});
  c.verdicts = judge_all(c.claims, c.runs, c.profile);
  const std::string html = to_html(c);
  expect_self_contained(html);
  EXPECT_NE(html.find("at least 2 paired seeds are needed"), std::string::npos);
  EXPECT_NE(html.find("Without values that are not finite: ours (seed 0)"), std::string::npos);
  EXPECT_EQ(html.find("nan"), std::string::npos) << html.substr(html.find("nan") - 200, 300);
  c.runs.clear();
  c.verdicts = judge_all(c.claims, c.runs, c.profile);
  expect_self_contained(to_html(c));
}

TEST(Html, OfASingleRunShowsAllThatWasMeasured) {
  Comparison c;
  c.method = "own";
  c.runs = {run("mine", 7, {5, 4, 3})};
  c.runs[0].series.push_back({"train", "train/loss", false, {0, 1, 2}, {6, 5, 4}});
  c.runs[0].series.push_back({"train", "probe/accuracy", true, {1, 2}, {0.25, 0.5}});
  c.runs[0].final["probe/accuracy"] = 0.5;
  const std::string html = to_html(c);
  expect_self_contained(html);
  for (const char* text : {"<h1>own/mine, seed 7</h1>", "<b>valid/loss</b>", "<b>training loss</b>",
                           "<b>probe/accuracy</b>", "Last values", "What the run cost"})
    EXPECT_NE(html.find(text), std::string::npos) << text;
  EXPECT_EQ(html.find("Claims of the paper"), std::string::npos);
  EXPECT_EQ(html.find("Every seed"), std::string::npos);
}

TEST(Html, IsWrittenWhereItIsSaid) {
  const TestFolder folder;
  const Comparison c = comparison();
  write_html(folder.at("toy-report/small.html"), c);
  EXPECT_EQ(file::read(folder.at("toy-report/small.html")), to_html(c));
}

}  // namespace
}  // namespace etude::report::html_test
