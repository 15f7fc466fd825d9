#pragma once
// From finished runs to a table, verdicts, and the files that keep them.

#include <string>
#include <vector>

#include "cli/commands.h"
#include "etude/report/claims.h"
#include "etude/report/run_record.h"

namespace etude::cli {

/// The claims of a method; only defaults if it has no claims.toml. Errors: Code::config.
report::Claims read_claims(const std::string& slug);

struct Conclusion {
  Paper paper;
  std::string profile, command, out;
  std::vector<std::string> arms;  ///< in the order of tables
  const report::Claims* claims = nullptr;
  bool record = false;
};

/// Prints table and verdicts on standard output (or one JSON object).
void tell_verdicts(const Conclusion& conclusion, const std::vector<report::RunRecord>& runs, const Session& session);

}  // namespace etude::cli
