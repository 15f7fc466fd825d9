#pragma once
// `--nproc N`: one command as N processes of this machine, told as one.

#include <CLI/CLI.hpp>

#include <string>

#include "etude/train/run.h"

namespace etude::cli {

struct Session;

struct RankOptions {
  int64_t nproc = 1;
  std::string interface;  ///< "": as ETUDE_INTERFACE says
  double deadline = 0;    ///< seconds; 0: as ETUDE_DEADLINE says
  int64_t restarts = 0;   ///< ranks that may be started again when they have been killed, all together
};
/// Declares --nproc, --interface and --deadline.
void add_rank_options(CLI::App& command, RankOptions& options);
/// Puts what was said on the command line into the environment, where ranks look for it.
void put_into_environment(const RankOptions& options);

/// Starts the ranks, shows what the leading one does, keeps each one's messages in `ranks/<r>.txt` of the run's
/// directory, passes an interrupt on. Returns 0 when the run is finished, whoever died on the way, and 130 when it was
/// interrupted. Errors: the one that says most of those that ranks ended with; Code::usage among ranks that another
/// program started; Code::io where none can be started.
int run_ranks(const Recipe& recipe, const Session& session, const RankOptions& options, const RunSettings& settings);

}  // namespace etude::cli
