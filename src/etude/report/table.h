#pragma once
// A comparison on a terminal: a table of arms and a line or two for each claim, readable without colour
// and at 80 columns.

#include <string>

#include "etude/report/results.h"

namespace etude::report {

struct TableStyle {
  int width = 80;       ///< columns; tables that don't fit are split
  bool unicode = true;  ///< else ASCII only
  bool colour = false;  ///< ANSI colours besides the marks
};

/// Arms: metric, paired difference to the reference, cost.
std::string arms_text(const Results& results, const TableStyle& style);
/// A table of cost for each experiment.
std::string experiments_text(const std::vector<ExperimentResult>& experiments, const TableStyle& style);
/// Claims: mark, verdict, sentence, numbers.
std::string verdicts_text(const std::vector<Verdict>& verdicts, const TableStyle& style);

}  // namespace etude::report
