#pragma once
// Finished runs of one method as a comparison: judged, shown as table, verdicts and HTML report, and stored with the
// method's card.

#include <string>
#include <vector>

#include "cli/commands.h"
#include "etude/report/results.h"

namespace etude::cli {

/// The claims of a method; none if it has no claims.toml.
report::Claims read_claims(const std::string& slug);

/// What `etude compare` trains of a method if nothing else is said: arms of the headline and of claims, those of
/// experiments last.
std::vector<std::string> default_arms(const report::Claims& claims);
/// "noloco" or "noloco@straggler" of a method as a recipe, and the folder below `out` that its runs are kept in.
struct ArmRecipe {
  Recipe recipe;
  std::string out;
};
/// `overrides` come after those of the experiment. Errors: those of find_recipe().
ArmRecipe arm_recipe(const std::string& slug, const std::string& arm, const report::Claims& claims,
                     const std::string& profile, const std::vector<std::string>& overrides, const std::string& out,
                     const Registry& registry);

/// "etude compare noloco --profile small --seeds 5 ...", as someone would type it.
std::string compare_command(const std::string& slug, const std::string& profile, int64_t seeds,
                            const std::vector<std::string>& arms, const std::vector<std::string>& overrides);

/// The runs with all that catalogue, recipes and claims say about them. Ordinary `arms` stand first in tables, in this
/// order, whether they have runs or not.
report::Comparison compared(const std::string& method, const std::string& profile, const std::vector<std::string>& arms,
                            std::vector<report::RunRecord> runs, const Registry& registry);

/// The same without claims, for a run by itself.
report::Comparison alone(report::Comparison comparison);

/// Prints the table and the verdicts (with --json one object), writes the report below `out` and says where it is.
void tell(const report::Comparison& comparison, const std::string& out, const Session& session);

/// The method's folder in the checkout around the working directory. Errors: Code::usage if there is none or if its
/// claims are not those of this program.
std::string checkout_folder(const std::string& slug);
/// Writes results.json there and renews the card's table.
void record(const report::Comparison& comparison);

}  // namespace etude::cli
