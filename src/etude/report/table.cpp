#include "etude/report/table.h"

#include <algorithm>
#include <sstream>

#include "etude/base/text.h"
#include "etude/report/format.h"

namespace etude::report {
namespace {

/// Cells by column; the first row is the heading, the first column flushes left, the others right.
using Columns = std::vector<std::vector<std::string>>;

constexpr int kGap = 2;

std::string shown(std::string_view text, const TableStyle& style) {
  return style.unicode ? std::string(text) : plain(text);
}

void make_shown(Columns& table, const TableStyle& style) {
  for (auto& column : table)
    for (auto& cell : column) cell = shown(printable(cell), style);
}

std::string repeat(std::string_view text, int times) {
  std::string result;
  for (int i = 0; i < times; ++i) result += text;
  return result;
}

int width_of(const std::vector<std::string>& column) {
  int width = 0;
  for (const auto& cell : column) width = std::max(width, columns(cell));
  return width;
}

int width_of(const Columns& table) {
  int width = -kGap;
  for (const auto& column : table) width += width_of(column) + kGap;
  return width;
}

std::string render(const Columns& table, const TableStyle& style) {
  std::string text;
  for (size_t row = 0; row < table[0].size(); ++row) {
    for (size_t c = 0; c < table.size(); ++c) {
      const auto& cell = table[c][row];
      const std::string padding(static_cast<size_t>(width_of(table[c]) - columns(cell)), ' ');
      text += (c == 0 ? "" : std::string(kGap, ' ')) + (c == 0 ? cell + padding : padding + cell);
    }
    while (text.ends_with(' ')) text.pop_back();
    text += "\n";
    if (row == 0) text += repeat(style.unicode ? "─" : "-", width_of(table)) + "\n";
  }
  return text;
}

/// As many columns side by side as fit, the others below; the first stands before each part.
std::string rendered_in_parts(const Columns& table, const TableStyle& style) {
  std::string text;
  Columns part = {table[0]};
  for (size_t c = 1; c < table.size(); ++c) {
    if (part.size() > 1 && width_of(part) + kGap + width_of(table[c]) > style.width) {
      text += render(part, style) + "\n";
      part.resize(1);
    }
    part.push_back(table[c]);
  }
  return text + render(part, style);
}

std::string_view mark(Outcome outcome) {
  switch (outcome) {
    case Outcome::holds:
      return "✓";
    case Outcome::fails:
      return "✗";
    case Outcome::not_shown:
      return "–";
    case Outcome::inconclusive:
      break;
  }
  return "~";
}

std::string coloured(Outcome outcome, const std::string& text, const TableStyle& style) {
  if (!style.colour) return text;
  const char* code = outcome == Outcome::holds          ? "32"
                     : outcome == Outcome::fails        ? "31"
                     : outcome == Outcome::inconclusive ? "33"
                                                        : "2";
  return "\x1b[" + std::string(code) + "m" + text + "\x1b[0m";
}

/// Words of `text` in lines of `width` columns, each line after `indent` blanks but the first.
std::string wrapped(const std::string& text, int width, int indent) {
  std::istringstream words(text);
  std::string result;
  int used = 0;
  for (std::string word; words >> word;) {
    const int length = columns(word);
    if (used > 0 && used + 1 + length > width) {
      result += "\n" + std::string(static_cast<size_t>(indent), ' ');
      used = 0;
    }
    result += (used > 0 ? " " : "") + word;
    used += length + (used > 0 ? 1 : 0);
  }
  return result;
}

}  // namespace

std::string arms_text(const Results& results, const TableStyle& style) {
  const auto rows = arm_rows(results);
  const auto& metric = results.metric;
  std::vector<std::string> arm = {"arm"}, seeds = {"seeds"}, difference = {"vs " + results.reference + " [95 %]"},
                           value = {metric.label + (metric.lower_is_better ? " ↓" : " ↑")};
  for (const auto& row : rows) {
    arm.push_back(row.name);
    seeds.push_back(std::to_string(row.n));
    value.push_back(row.value_text);
    difference.push_back(row.difference_text);
  }
  Columns quality = {arm, seeds, value}, cost = {arm};
  if (!results.reference.empty()) quality.push_back(difference);
  for (const auto& kind : cost_columns(results)) {
    std::vector<std::string> column = {std::string(kind.heading)};
    for (const auto& row : rows) column.push_back(cost_text(row.cost, kind));
    cost.push_back(std::move(column));
  }
  for (auto* table : {&quality, &cost}) make_shown(*table, style);
  Columns whole = quality;
  whole.insert(whole.end(), cost.begin() + 1, cost.end());
  if (width_of(whole) <= style.width) return render(whole, style);
  return rendered_in_parts(quality, style) + "\n" + rendered_in_parts(cost, style);
}

std::string experiments_text(const std::vector<ExperimentResult>& experiments, const TableStyle& style) {
  std::string text;
  for (const auto& experiment : experiments) {
    const ExperimentTable table = experiment_table(experiment);
    Columns columns;
    for (size_t c = 0; c < table.columns.size(); ++c) {
      columns.push_back({table.columns[c]});
      for (const auto& row : table.rows) columns.back().push_back(row[c]);
    }
    make_shown(columns, style);
    const std::string heading = table.title + " (" + table.conditions + "; " + std::string(kExperimentNote) + ")";
    text += (text.empty() ? "" : "\n") + wrapped(shown(printable(heading), style), style.width, 0) + "\n" +
            rendered_in_parts(columns, style);
  }
  return text;
}

std::string verdicts_text(const std::vector<Verdict>& verdicts, const TableStyle& style) {
  constexpr int kIndent = 16;  // "✓ inconclusive  "
  const int width = std::max(style.width - kIndent, 20);
  const std::string caution = shared_caution(verdicts);
  std::string result;
  for (const auto& v : verdicts) {
    std::string name(outcome_name(v.outcome));
    name.resize(12, ' ');
    const std::string head = shown(mark(v.outcome), style) + " " + name;
    auto lines = remarks(v, caution);
    lines.insert(lines.begin(),
                 {v.id + ": " + v.text + (v.source.empty() ? "" : " (" + v.source + ")"), measured_text(v)});
    std::string body;
    for (const auto& line : lines)
      body += (body.empty() ? "" : "\n" + std::string(kIndent, ' ')) +
              wrapped(shown(printable(line), style), width, kIndent);
    result += coloured(v.outcome, head, style) + "  " + body + "\n";
  }
  if (!caution.empty()) result += wrapped(shown("caution: " + printable(caution), style), style.width, 0) + "\n";
  return result;
}

}  // namespace etude::report
