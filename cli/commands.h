#pragma once
// The commands of `etude`. Each add_NAME declares one: its options, its help with examples, and what it does.

#include <CLI/CLI.hpp>

#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "etude/comm/rehearsal.h"
#include "etude/train/registry.h"
#include "etude/train/run.h"

namespace etude::cli {

/// What all commands share.
struct Session {
  Registry registry;
  std::vector<std::string> arguments;  ///< the whole command line, without the program
  bool json = false;
  int status = 0;  ///< exit code when no error was thrown
};

void add_list(CLI::App& app, Session& session);
void add_show(CLI::App& app, Session& session);
void add_run(CLI::App& app, Session& session);
void add_train(CLI::App& app, Session& session);
void add_compare(CLI::App& app, Session& session);
void add_check(CLI::App& app, Session& session);
void add_eject(CLI::App& app, Session& session);
void add_generate(CLI::App& app, Session& session);
void add_export(CLI::App& app, Session& session);
void add_inspect(CLI::App& app, Session& session);
void add_report(CLI::App& app, Session& session);
void add_data(CLI::App& app, Session& session);
void add_bench(CLI::App& app, Session& session);
void add_doctor(CLI::App& app, Session& session);
void add_completion(CLI::App& app, Session& session);
void add_version(CLI::App& app, Session& session);

inline constexpr const char* kVersion = "0.1";

// catalogue.cpp: papers, arms, recipes by name

/// A paper of the catalogue.
struct Paper {
  std::string slug, title, organisation, arxiv, family, date;
  bool built = false;
};
std::vector<Paper> catalogue();
/// Errors: Code::usage with the nearest slug.
Paper find_paper(const std::string& slug);
/// The same for a method that has arms. Errors: Code::usage.
Paper find_built(const std::string& slug);

/// "noloco/diloco", "noloco" (the arm of the method's own name), or a .toml file. Errors: Code::usage for unknown
/// names, profiles and files that aren't there; those of read_recipe().
Recipe find_recipe(const std::string& what, const std::string& profile, const std::vector<std::string>& overrides,
                   const Registry& registry);
/// Whether `what` names a recipe file rather than an arm.
bool is_file_name(const std::string& what);

// train.cpp: one run

inline constexpr std::string_view kSaving = "\nfinishing this step and saving; once more leaves at once\n";
/// Ctrl-C (or a hang-up, or SIGTERM): the first asks to leave in order, and is answered on a terminal; the second
/// leaves at once. `said` lives as long as the program.
void catch_interrupts(std::string_view said);
bool interrupted();

/// Trains with a live line (or JSON lines on standard output) and says how it ended. Returns the exit code.
int run_and_tell(const Recipe& recipe, Session& session, RunSettings settings);

// How a run is told, whether it is trained here or by ranks that are heard.

/// The line of a JSON "progress" object.
std::string live_text(const nlohmann::json& progress);
void tell_start(const Recipe& recipe, const std::string& directory);
/// Results, or that it was interrupted. Returns the exit code.
int tell_end(const Recipe& recipe, const Outcome& outcome, const Session& session);
/// The faults of ranks that --inject wants of this recipe, with chaos drawn. Errors: Code::usage for a rank that there
/// isn't.
Rehearsal drawn_rehearsal(int ranks, const Recipe& recipe);

/// What a few steps tell about a run. Nothing is written.
struct Probe {
  double step_seconds = 0;      ///< of one step, without what the first one pays
  double evaluate_seconds = 0;  ///< of one evaluation
  double seconds = 0;           ///< predicted for the whole run
  Counters each;                ///< what one step counts
  Fit fit;
};
Probe probe(const Recipe& recipe, const Registry& registry, int64_t steps);

// text.cpp: for people

std::string human_time(double seconds);  ///< "1 min 20 s"
std::string human_bytes(double bytes);   ///< "2.3 MiB"
std::string human_count(double count);   ///< "1.2M"
std::string padded(const std::string& text, int width);
/// Words in lines of at most `width` columns; each line but the first begins with `indent` blanks.
std::string wrapped(const std::string& text, int indent, int width = 80);
/// Columns of the terminal that standard output is; 0 if it is none.
int output_width();

// arguments.cpp: options of commands

/// Checks of an option's value that say what is wrong in our words.
CLI::Validator whole(int64_t low, int64_t high);
CLI::Validator number(double low, double high);
CLI::Validator not_empty();

/// A user's text and tokenizer in place of the recipe's.
struct OwnData {
  std::string path, tokenizer;
};
/// Declares --data and --tokenizer.
void add_own_data(CLI::App& command, OwnData& own);
/// What they stand for.
std::vector<std::string> overrides_of(const OwnData& own);

/// What names a recipe on the command line.
struct RecipeChoice {
  std::string what, profile;
  OwnData own;
  std::vector<std::string> overrides, with;
  std::string device{};
};
/// Declares what chooses data, with, device and overrides.
void add_choice(CLI::App& command, RecipeChoice& choice);
/// Errors: those of find_recipe(); Code::usage for an unknown technique.
Recipe chosen_recipe(const RecipeChoice& choice, const Registry& registry);

}  // namespace etude::cli
