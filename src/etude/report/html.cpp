#include "etude/report/html.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "etude/base/assets.h"
#include "etude/base/error.h"
#include "etude/base/file.h"
#include "etude/report/format.h"
#include "etude/report/plot.h"

namespace etude::report {
namespace {

constexpr std::string_view kTrainingLoss = "train/loss";
constexpr size_t kMostNoisyPoints = 100;  // of the training loss, which is that of single batches
constexpr size_t kFewPoints = 3;          // show nothing that the whole curve doesn't
constexpr size_t kMostRows = 2000, kMostPlots = 16;
/// What all curves together may have: three numbers of some 11 bytes each.
constexpr size_t kMostPoints = 24000;

std::string style_sheet() {
  const auto text = asset("etude/report/assets/report.css");
  ETUDE_CHECK(text.has_value(), "the style of the report is not in the program");
  return std::string(*text);
}

std::string script() {
  const auto text = asset("etude/report/assets/report.js");
  ETUDE_CHECK(text.has_value(), "the script of the report is not in the program");
  return std::string(*text);
}

std::string element(std::string_view tag, std::string_view kind, const std::string& inside) {
  const std::string name(tag);
  return "<" + name + (kind.empty() ? "" : " class=\"" + std::string(kind) + "\"") + ">" + inside + "</" + name + ">";
}

std::string element(std::string_view tag, const std::string& inside) { return element(tag, "", inside); }

std::string of(size_t n, const std::string& what) { return std::to_string(n) + " " + what + (n == 1 ? "" : "s"); }

std::string_view kind_of(Outcome outcome) { return outcome == Outcome::not_shown ? "notshown" : outcome_name(outcome); }

std::string badge(Outcome outcome, const std::string& text) {
  const std::string_view mark = outcome == Outcome::holds       ? "✓ "
                                : outcome == Outcome::fails     ? "✗ "
                                : outcome == Outcome::not_shown ? "– "
                                                                : "~ ";
  return element("span", "badge " + std::string(kind_of(outcome)), std::string(mark) + text);
}

/// The page being written.
class Page {
 public:
  explicit Page(const Comparison& comparison) : c_(comparison), results_(summarise(comparison)) {
    if (!results_.reference.empty()) style_[results_.reference] = 0;  // the solid line
    for (const auto& arm : results_.arms) style_.try_emplace(arm.name, static_cast<int>(style_.size()));
    for (const auto& run : c_.runs) runs_[run.arm].push_back(&run);
    single_ = c_.runs.size() == 1 && c_.verdicts.empty();
  }

  std::string run() {
    std::string body = header() + verdicts() + curves();
    body += single_ ? last_values() : arms() + cost() + experiments() + simulations() + seeds();
    if (single_) body += cost();
    return "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
           "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
           "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src &#39;none&#39;; style-src "
           "&#39;unsafe-inline&#39;; script-src &#39;unsafe-inline&#39;\"/>\n"
           "<meta name=\"color-scheme\" content=\"light dark\"/>\n" +
           element("title", escaped(heading()) + ": report") + "\n<style>\n" + style_sheet() +
           "</style>\n</head>\n<body>\n<main>\n" + body + "</main>\n<script>\n" + script() +
           "</script>\n</body>\n</html>\n";
  }

 private:
  std::string heading() const {
    if (single_) return c_.method + "/" + c_.runs[0].arm + ", seed " + std::to_string(c_.runs[0].seed);
    return c_.title.empty() ? c_.method : c_.title;
  }

  std::string label(const MetricStyle& metric) const {
    if (metric.metric == kTrainingLoss && metric.label == kTrainingLoss) return "training loss";
    return metric.label + (metric.unit.empty() ? "" : " (" + metric.unit + ")");
  }

  std::string header() const {
    std::string html = "<header>\n" + element("p", "method", escaped(c_.method) + " · profile " + escaped(c_.profile)) +
                       "\n" + element("h1", escaped(heading())) + "\n";
    if (const auto paper = paper_text(); !paper.empty()) html += element("p", "paper", paper) + "\n";
    if (!c_.about.empty()) html += element("p", "about", escaped(c_.about)) + "\n";
    html += tally() + "<dl class=\"facts\">\n";
    const auto fact = [&](const std::string& name, const std::string& value) {
      if (!value.empty()) html += "<div>" + element("dt", name) + element("dd", value) + "</div>\n";
    };
    std::set<int64_t> seeds;
    size_t finished = 0;
    for (const auto& run : c_.runs)
      if (!c_.claims.experiment(run.arm)) seeds.insert(run.seed), finished += run.finished;
    fact("compared", single_ ? ""
                             : of(results_.arms.size(), "arm") + " × " + of(seeds.size(), "seed") + ", " +
                                   of(finished, "finished run"));
    size_t rehearsed = 0;
    for (const auto& e : results_.experiments)
      for (const auto& arm : e.arms) rehearsed += arm.seeds.size();
    if (rehearsed > 0)
      fact("experiments", std::to_string(results_.experiments.size()) + " with " + of(rehearsed, "finished run"));
    fact("date", escaped(c_.date));
    fact("commit", element("code", escaped(c_.commit.empty() ? "unknown" : short_commits(c_.commit))));
    fact("processor", escaped(c_.machine.processor));
    fact("threads of a run", std::to_string(c_.machine.threads));
    fact("instruction set", escaped(c_.machine.isa));
    fact("LibTorch", escaped(c_.machine.libtorch));
    if (!c_.claims.sha256.empty()) fact("claims, SHA-256", element("code", c_.claims.sha256.substr(0, 12)));
    html += "</dl>\n";
    if (!c_.command.empty())
      html += element("p", "again", "Make it again: " + element("code", escaped(c_.command))) + "\n";
    return html + "</header>\n";
  }

  std::string paper_text() const {
    const auto& p = c_.paper;
    std::string html = escaped(p.organisation);
    const auto add = [&](const std::string& more) { html += (html.empty() || more.empty() ? "" : ", ") + more; };
    if (!p.title.empty() && p.title != heading())
      html = element("cite", escaped(p.title)) + (html.empty() ? "" : ", ") + html;
    if (!p.arxiv.empty())
      add("<a href=\"https://arxiv.org/abs/" + escaped(p.arxiv) + "\">arXiv " + escaped(p.arxiv) + "</a>");
    add(escaped(p.date));
    return html;
  }

  /// How many claims hold, fail, ...
  std::string tally() const {
    std::string html;
    for (const auto outcome : {Outcome::holds, Outcome::fails, Outcome::inconclusive, Outcome::not_shown}) {
      const auto n =
          std::count_if(c_.verdicts.begin(), c_.verdicts.end(), [&](const Verdict& v) { return v.outcome == outcome; });
      std::string name(outcome_name(outcome));
      if (n > 1 && name.ends_with('s')) name.pop_back();  // "3 hold"
      if (n > 0) html += badge(outcome, std::to_string(n) + " " + name) + " ";
    }
    return html.empty() ? "" : "<p class=\"tally\">" + html + "</p>\n";
  }

  std::string verdicts() const {
    if (c_.verdicts.empty()) return "";
    std::string html = "<section>\n" + element("h2", "Claims of the paper") + "\n" +
                       element("p", "lead",
                               "A claim holds when the whole 95 % interval of the paired difference lies beyond the "
                               "margin (shaded), fails when all of it lies on the other side, and is inconclusive "
                               "otherwise. Bar: interval and mean; circles: seeds.") +
                       "\n";
    const auto caution = shared_caution(c_.verdicts);
    if (!caution.empty()) html += element("p", "caution", "Caution: " + escaped(caution) + ".") + "\n";
    html += "<div class=\"cards\">\n";
    for (const auto& v : c_.verdicts) html += card(v, caution);
    return html + "</div>\n</section>\n";
  }

  static std::string card(const Verdict& v, const std::string& said) {
    std::string html =
        "<article class=\"card " + std::string(kind_of(v.outcome)) + "\">\n" +
        element("p", "head", badge(v.outcome, std::string(outcome_name(v.outcome))) + element("code", escaped(v.id))) +
        "\n" + element("h3", escaped(v.text)) + "\n";
    if (!v.source.empty()) html += element("p", "source", "Paper: " + escaped(v.source)) + "\n";
    html += interval_svg(v);
    if (v.outcome != Outcome::not_shown) html += element("p", "measured", escaped(measured_text(v))) + "\n";
    for (const auto& remark : remarks(v, said)) html += element("p", "remark", escaped(remark)) + "\n";
    if (v.simulation)
      html += "<p class=\"remark\"><a href=\"#simulated-" + escaped(v.id) + "\">What the simulation shows</a></p>\n";
    if (!v.expression.empty()) html += element("p", "expression", element("code", escaped(v.expression))) + "\n";
    return html + "</article>\n";
  }

  std::string experiments() const {
    std::string tables;
    for (const auto& experiment : results_.experiments) {
      const ExperimentTable data = experiment_table(experiment);
      std::string head, rows;
      for (const auto& name : data.columns) head += column(name);
      for (const auto& row : data.rows) {
        rows += "<tr><th scope=\"row\">" + escaped(row[0]) + "</th>";
        for (size_t i = 1; i < row.size(); ++i) rows += element("td", escaped(row[i]));
        rows += "</tr>\n";
      }
      tables += table(data.title + " (" + data.conditions + ")", head, rows);
    }
    if (tables.empty()) return "";
    return "<section>\n" + element("h2", "Experiments") + "\n" +
           element("p", "lead",
                   "Ranks as processes, under conditions that are rehearsed; " + std::string(kExperimentNote) + ".") +
           "\n" + tables + "</section>\n";
  }

  /// The tables of clock models and the like, apart from what was measured.
  std::string simulations() const {
    std::string tables;
    for (const auto& v : c_.verdicts) {
      if (!v.simulation) continue;
      std::string head, rows;
      for (const auto& name : v.simulation->columns) head += column(name);
      for (const auto& row : cells(*v.simulation)) {
        rows += "<tr>";
        for (const auto& cell : row) rows += element("td", escaped(cell));
        rows += "</tr>\n";
      }
      tables += "<div id=\"simulated-" + escaped(v.id) + "\">\n" + table(v.simulation->title, head, rows) + "</div>\n";
    }
    if (tables.empty()) return "";
    return "<section>\n" + element("h2", "Simulated") + "\n<div class=\"figures\">\n" + tables + "</div>\n</section>\n";
  }

  /// The claims' metrics; without any, everything that was evaluated; and the training loss.
  std::vector<std::string> shown_metrics() const {
    std::vector<std::string> metrics;
    const auto add = [&](const std::string& metric) {
      const bool there =
          std::any_of(c_.runs.begin(), c_.runs.end(), [&](const RunRecord& r) { return r.find(metric); });
      if (there && std::find(metrics.begin(), metrics.end(), metric) == metrics.end()) metrics.push_back(metric);
    };
    add(c_.claims.metric);
    for (const auto& style : c_.claims.show) add(style.metric);
    for (const auto& run : c_.runs)
      for (const auto& series : run.series)
        if (series.metric == kTrainingLoss || (series.evaluation && c_.claims.show.empty())) add(series.metric);
    if (metrics.size() > kMostPlots) metrics.resize(kMostPlots);
    return metrics;
  }

  std::string curves() const {
    const auto metrics = shown_metrics();
    if (metrics.empty()) return "";
    const size_t lines = (metrics.size() + 1) * std::max<size_t>(1, results_.arms.size());
    const size_t most = std::clamp<size_t>(kMostPoints / lines, 20, 400);
    std::string figures;
    for (const auto& metric : metrics)
      figures += figure(metric, metric == kTrainingLoss ? std::min(most, kMostNoisyPoints) : most);
    if (figures.empty()) return "";
    return "<section>\n" + element("h2", "Curves") + "\n" +
           element("p", "lead",
                   single_ ? "Long curves are thinned: a point is the mean of neighbours, the band their range."
                           : "Line: mean over seeds. Band: from the lowest to the highest seed. Long curves "
                             "are thinned, neighbours with neighbours; the last point stays as it is.") +
           "\n<div class=\"figures\">\n" + figures + "</div>\n</section>\n";
  }

  std::string figure(const std::string& metric, size_t most) const {
    const auto style = c_.claims.style(metric);
    Plot plot{c_.claims.axis, label(style), style.log, {}};
    std::string left_out;
    for (const auto& arm : results_.arms) {
      const auto runs = runs_.find(arm.name);
      if (runs == runs_.end()) continue;
      std::vector<int64_t> partly;
      for (const auto* run : runs->second)
        if (not_drawn(*run, metric, style.log)) partly.push_back(run->seed);
      if (!partly.empty())
        left_out += (left_out.empty() ? "" : ", ") + seeds_text(arm.name, partly, runs->second.size());
      Curve curve = mean_curve(runs->second, metric, axis(), style.log, most);
      if (curve.x.empty()) continue;
      curve.name = single_ ? "" : arm.name;
      curve.style = style_.at(arm.name);
      curve.emphasis = arm.name == results_.reference;
      plot.curves.push_back(std::move(curve));
    }
    if (plot.curves.empty()) return "";
    std::string caption = element("b", escaped(plot.y_label)), remark;
    if (style.log) caption += ", logarithmic";
    if (metric == c_.claims.metric) caption += style.lower_is_better ? ", lower is better" : ", higher is better";
    if (!left_out.empty())
      remark = std::string("Without values that are not ") + (style.log ? "above 0" : "finite") + ": " + left_out;
    std::string html = drawn(plot, caption, remark);
    if (metric == c_.claims.metric && results_.arms.size() > 1)
      if (const auto late = second_half(plot); !late.curves.empty())
        html += drawn(late, element("b", escaped(plot.y_label)) + ", the second half", "");
    return html;
  }

  static std::string drawn(const Plot& plot, const std::string& caption, const std::string& remark) {
    return "<figure>\n<figcaption>" + caption + "</figcaption>\n" + curves_svg(plot) +
           (remark.empty() ? "" : element("p", "remark", escaped(remark)) + "\n") + "</figure>\n";
  }

  /// Where arms end is what they are compared by, and seldom seen beside where they began.
  static Plot second_half(const Plot& plot) {
    Plot late = plot;
    double end = 0;
    for (const auto& curve : plot.curves) end = std::max(end, curve.x.back());
    for (auto& curve : late.curves) curve = from(curve, end / 2);
    std::erase_if(late.curves, [](const Curve& curve) { return curve.x.size() < kFewPoints; });
    return late;
  }

  Unit axis() const { return Count::parse("1 " + c_.claims.axis).unit; }

  static std::string seeds_text(const std::string& arm, const std::vector<int64_t>& seeds, size_t all) {
    if (seeds.size() == all) return arm;
    std::string text = arm + (seeds.size() == 1 ? " (seed" : " (seeds");
    for (const auto seed : seeds) text += " " + std::to_string(seed);
    return text + ")";
  }

  static bool not_drawn(const RunRecord& run, const std::string& metric, bool log) {
    const auto* series = run.find(metric);
    return series && std::any_of(series->value.begin(), series->value.end(),
                                 [&](double v) { return !std::isfinite(v) || (log && v <= 0); });
  }

  std::string table(const std::string& caption, const std::string& head, const std::string& rows) const {
    return "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"" + escaped(caption) + "\"><table>\n" +
           element("caption", element("span", escaped(caption))) + "\n<thead><tr>" + head + "</tr></thead>\n<tbody>\n" +
           rows + "</tbody>\n</table></div>\n";
  }

  static std::string column(const std::string& name) { return "<th scope=\"col\">" + escaped(name) + "</th>"; }

  std::string arm_cell(const ArmRow& row, bool described) const {
    return "<th scope=\"row\"><span class=\"s" + std::to_string(style_.at(row.name) % kStyles) +
           "\"><span class=\"swatch\"></span></span>" + escaped(row.name) +
           (row.description.empty() || !described ? "" : element("small", escaped(row.description))) + "</th>";
  }

  std::string arms() const {
    const auto rows = arm_rows(results_);
    if (rows.empty()) return "";
    const bool items = std::any_of(rows.begin(), rows.end(), [](const ArmRow& row) { return row.items.has_value(); });
    std::string head = column("arm") + column("seeds") +
                       column(label(results_.metric) + (results_.metric.lower_is_better ? " ↓" : " ↑"));
    if (!results_.reference.empty()) head += column("difference to " + results_.reference);
    if (items) head += column("the same over items");
    std::string body;
    for (const auto& row : rows) {
      body += (row.reference ? "<tr class=\"own\">" : "<tr>") + arm_cell(row, true) +
              element("td", std::to_string(row.n)) + element("td", row.value_text);
      if (!results_.reference.empty()) body += element("td", row.difference_text);
      if (items) body += element("td", row.items_text);
      body += "</tr>\n";
    }
    return "<section>\n" + element("h2", "Arms") + "\n" +
           table("Last value of every arm: mean ± standard deviation over seeds" +
                     std::string(results_.reference.empty() ? ""
                                                            : "; difference paired by seed, with its 95 % interval") +
                     (items ? "; over items: bootstrap over the items of the evaluation" : ""),
                 head, body) +
           "</section>\n";
  }

  std::string cost() const {
    if (results_.arms.empty()) return "";
    std::string head = column(single_ ? "run" : "arm"), body;
    const std::vector<CostColumn> costs = cost_columns(results_);
    for (const auto& c : costs) head += column(std::string(c.heading));
    for (const auto& row : arm_rows(results_)) {
      body += (row.reference ? "<tr class=\"own\">" : "<tr>") + arm_cell(row, false);
      for (const auto& c : costs) body += element("td", cost_text(row.cost, c));
      body += "</tr>\n";
    }
    return "<section>\n" + element("h2", "Cost") + "\n" +
           table(single_ ? "What the run cost" : "What a run cost: means over seeds", head, body) + "</section>\n";
  }

  std::string last_values() const {
    std::string body;
    for (const auto& arm : results_.arms)
      for (const auto& seed : arm.seeds)
        for (const auto& [metric, value] : seed.values)
          body += "<tr><th scope=\"row\">" + escaped(label(c_.claims.style(metric))) + "</th>" +
                  element("td", "<code>" + escaped(metric) + "</code>") + element("td", significant(value, 5)) +
                  "</tr>\n";
    if (body.empty()) return "";
    return "<section>\n" + element("h2", "Last values") + "\n" +
           table("Last value of every metric", column("metric") + column("name in files") + column("value"), body) +
           "</section>\n";
  }

  std::string seeds() const {
    std::string head = column("arm") + column("seed"), body;
    const auto metrics = shown_metrics();
    for (const auto& metric : metrics) head += column(label(c_.claims.style(metric)));
    std::vector<CostColumn> costs = cost_columns(results_);
    std::vector<std::pair<std::string, const ArmResult*>> arms;
    for (const auto& arm : results_.arms) arms.emplace_back(arm.name, &arm);
    for (const auto& e : results_.experiments)
      for (const auto& arm : e.arms) arms.emplace_back(arm.name + "@" + e.id, &arm);
    if (!results_.experiments.empty()) costs.push_back(idle_column());
    for (const auto& c : costs) head += column(std::string(c.heading));
    head += column("recipe");
    size_t rows = 0, all = 0;
    for (const auto& [name, arm] : arms)
      for (const auto& seed : arm->seeds) {
        if (++all > kMostRows) continue;
        ++rows;
        body += "<tr><th scope=\"row\">" + escaped(name) + "</th>" + element("td", std::to_string(seed.seed));
        for (const auto& metric : metrics) {
          const auto found = seed.values.find(metric);
          body += element("td", found == seed.values.end() ? "–" : significant(found->second, 6));
        }
        for (const auto& c : costs) body += element("td", cost_text(seed.cost, c));
        body += element("td", element("code", escaped(seed.key))) + "</tr>\n";
      }
    if (rows == 0) return "";
    return "<section>\n<details>\n" + element("summary", "Every seed (" + of(all, "run") + ")") + "\n" +
           table("Last values and cost of every finished run" +
                     std::string(rows < all ? "; " + of(all - rows, "more run") + " left out" : ""),
                 head, body) +
           "</details>\n</section>\n";
  }

  const Comparison& c_;
  Results results_;
  std::map<std::string, int> style_;
  std::map<std::string, std::vector<const RunRecord*>> runs_;
  bool single_ = false;
};

}  // namespace

std::string to_html(const Comparison& comparison) { return Page(comparison).run(); }

void write_html(const std::string& path, const Comparison& comparison) {
  file::make_directories(std::filesystem::path(path).parent_path().string());
  file::write_atomically(path, to_html(comparison));
}

}  // namespace etude::report
