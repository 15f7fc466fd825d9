#pragma once
// What the conformance suite looks at: every arm of every method that is built, found by itself.

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "etude/train/recipe.h"
#include "tests/support/resume.h"

namespace etude::conformance {

using test::append;
using test::Problems;

/// A recipe of smoke size, with what its claims say of its progress.
struct Subject {
  std::string slug, arm;
  Recipe recipe;
  const Registry* registry = nullptr;
  std::string metric = "valid/loss";
  bool lower_is_better = true;

  std::string name() const { return slug + "/" + arm; }
  TrainStage stage() const { return make_stage(recipe, *registry); }
  /// The same with other options.
  Subject with(const std::function<void(RecipeOptions&)>& change) const;
  /// All kinds that the recipe names (data, nets, objectives, techniques and the parts within them), and whether it
  /// has replicas. Expensive checks are run on one subject of each signature.
  std::string signature() const;
};

/// All that is registered. Data sets, which are pure, are opened once for the whole process.
const Registry& everything();
/// The same for a registry of the caller's.
Registry with_shared_data(const Registry& registry);

/// Slugs of the methods that are built.
std::vector<std::string> methods();
/// Errors: those of reading a recipe.
Subject subject(const std::string& slug, const std::string& arm);
/// The first subject of each signature: the frame alone, with its moving average, and with gaps to fill in place of
/// texts to go on with; then in the order of methods and arms. Arms that can't be read are left out: the check of their
/// method says why.
std::vector<Subject> representatives();

/// methods/<slug>/excuses.toml: known debts, each with its reason.
///
///   card_options = "why"        a check of the method
///   [noloco]                    an arm
///   resume = "why"
class Excuses {
 public:
  explicit Excuses(const std::string& slug);
  Excuses(const std::string& toml, const std::string& file_name);
  /// What is left of the problems of a check: none if they are excused; that the excuse is idle if there are none.
  Problems judge(const std::string& arm, const std::string& check, const Problems& problems) const;
  /// Excuses for what no check of these names looks at ("resume", "noloco/resume").
  Problems unknown(const std::vector<std::string>& checks) const;
  size_t count() const { return reasons_.size(); }

 private:
  void read(const std::string& toml, const std::string& file_name);
  std::map<std::string, std::string> reasons_;  ///< by "check" or "arm/check"
  std::string place_;
};

}  // namespace etude::conformance
