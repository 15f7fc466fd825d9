#pragma once
// What may stand at the end of a command line, for the shells' completion.

#include <string>
#include <vector>

#include "cli/commands.h"

namespace etude::cli {

struct Completion {
  /// Words stand alone; beginnings are gone on with, so that no blank follows; paths are for the shell to quote.
  enum class Kind { words, beginnings, paths } kind = Kind::words;
  struct Candidate {
    std::string word;
    std::string help = {};
  };
  std::vector<Candidate> candidates = {};  ///< that begin with the last word
};

/// `words`: those behind the program, the last one being what is written just now, "" for a new one. Never throws:
/// where a recipe or a folder can't be read there are no candidates.
Completion complete(const CLI::App& app, const Registry& registry, const std::vector<std::string>& words);

}  // namespace etude::cli
