#pragma once
// The commands of `etude`. Each file declares one: its options, and what it does.

#include <CLI/CLI.hpp>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "etude/train/registry.h"
#include "etude/train/run.h"

namespace etude::cli {

/// What all commands share.
struct Session {
  Registry registry;
  bool json = false;
  int status = 0;   ///< exit code when no error was thrown
};

void add_list(CLI::App& app, Session& session);
void add_show(CLI::App& app, Session& session);
void add_run(CLI::App& app, Session& session);
void add_train(CLI::App& app, Session& session);
void add_check(CLI::App& app, Session& session);
void add_eject(CLI::App& app, Session& session);
void add_compare(CLI::App& app, Session& session);
void add_generate(CLI::App& app, Session& session);
void add_doctor(CLI::App& app, Session& session);

/// A paper of the catalogue.
struct Paper {
  std::string slug, title, arxiv, family, date;
  bool built = false;
};
std::vector<Paper> catalogue();
/// Errors: Code::usage with the nearest slug.
Paper find_paper(const std::string& slug);

/// "noloco/diloco", "noloco" (the arm of the method's own name), or a .toml file.
Recipe find_recipe(const std::string& what, const std::string& profile, const std::vector<std::string>& overrides, const Registry& registry);

/// Ctrl-C: the first asks the run to save and leave, the second leaves at once.
void catch_interrupts();
bool interrupted();

/// Trains with a live line (or JSON lines on standard output) and says how it ended. Returns the exit code.
int run_and_tell(const Recipe& recipe, Session& session, RunSettings settings);

std::string human_time(double seconds);
std::string human_bytes(double bytes);
std::string human_count(double count);

}  // namespace etude::cli
