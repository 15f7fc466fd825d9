// The suite: one test for each method (its arms and papers) and one for each signature (what trains longer).
// A new method brings nothing but its folder.

#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>

#include "tests/conformance/checks.h"

namespace etude::conformance {

void PrintTo(const Subject& s, std::ostream* out) { *out << s.name(); }

namespace {

void tell(const std::string& what, const Problems& problems) {
  for (const std::string& problem : problems) ADD_FAILURE() << what << ": " << problem;
}

/// A name that GoogleTest takes.
std::string test_name(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return !std::isalnum(c); }, '_');
  return text;
}

std::vector<std::string> names_of_checks(const std::string& slug) {
  std::vector<std::string> names;
  for (const MethodCheck& check : method_checks()) names.push_back(check.id);
  for (const std::string& arm : arms(slug))
    for (const Check& check : arm_checks()) names.push_back(arm + "/" + check.id);
  for (const Subject& s : representatives())
    if (s.slug == slug)
      for (const Check& check : signature_checks()) names.push_back(s.arm + "/" + check.id);
  return names;
}

class Method : public testing::TestWithParam<std::string> {};

TEST_P(Method, Conforms) {
  const std::string& slug = GetParam();
  const Excuses excuses(slug);
  tell(slug, excuses.unknown(names_of_checks(slug)));
  const Papers own = papers(slug);
  for (const MethodCheck& check : method_checks())
    tell(slug + ", " + check.id, excuses.judge("", check.id, run_method_check(check.id, own)));
  for (const std::string& arm : arms(slug)) {
    const Subject s = subject(slug, arm);
    for (const Check& check : arm_checks())
      tell(s.name() + ", " + check.id, excuses.judge(arm, check.id, run_check(check.id, s)));
  }
  std::cout << slug << ": " << arms(slug).size() << " arms, " << excuses.count() << " excuses\n";
}

INSTANTIATE_TEST_SUITE_P(All, Method, testing::ValuesIn(methods()), [](const auto& of) { return test_name(of.param); });

class Signature : public testing::TestWithParam<Subject> {};

TEST_P(Signature, Conforms) {
  const Subject& s = GetParam();
  std::cout << s.signature() << '\n';
  const Excuses excuses(s.slug);
  for (const Check& check : signature_checks())
    tell(s.name() + ", " + check.id, excuses.judge(s.arm, check.id, run_check(check.id, s)));
}

INSTANTIATE_TEST_SUITE_P(All, Signature, testing::ValuesIn(representatives()),
                         [](const auto& of) { return test_name(of.param.name()); });

TEST(Conformance, CountsExcuses) {
  ASSERT_FALSE(methods().empty());
  size_t count = 0;
  for (const std::string& slug : methods()) count += Excuses(slug).count();
  std::cout << methods().size() << " methods, " << representatives().size() << " signatures, " << count << " excuses\n";
}

}  // namespace

}  // namespace etude::conformance
