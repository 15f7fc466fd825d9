#pragma once
// The checks. Each returns what is wrong, one line a problem, so that the suite's own tests can see it fail.

#include <optional>
#include <string>
#include <vector>

#include "tests/conformance/subject.h"

namespace etude::conformance {

/// `id` is what excuses.toml calls it.
struct Check {
  const char* id;
  Problems (*run)(const Subject&);
};

/// Cheap ones, for every arm (recipe_checks.cpp).
const std::vector<Check>& arm_checks();
/// Those that train more, for one subject of each signature (training_checks.cpp).
const std::vector<Check>& signature_checks();
/// Runs a check of either list; an exception is a problem.
Problems run_check(const std::string& id, const Subject& subject);

/// What a method says of itself, as the program carries it.
struct Papers {
  std::string slug, card, claims;
  std::optional<std::string> results;
  std::vector<std::string> arms;
};
/// Errors: Code::config when there is no card or no claims file.
Papers papers(const std::string& slug);

/// Checks of those (card_checks.cpp).
struct MethodCheck {
  const char* id;
  Problems (*run)(const Papers&);
};
const std::vector<MethodCheck>& method_checks();
Problems run_method_check(const std::string& id, const Papers& papers);
/// Every command line of Etude in a text can be read: command, flags, method, arm, profile, options.
Problems check_commands(const std::string& text, const std::string& name);

}  // namespace etude::conformance
