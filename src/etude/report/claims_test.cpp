#include "etude/report/claims.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "etude/base/file.h"
#include "etude/report/results.h"
#include "etude/report/testing.h"

namespace etude::report::claims_test {
namespace {

using testing::run;

// ---- reading

const char* const kFile = R"(headline = ["ours", "base"]
metric = "valid/loss"
label = "validation loss"
unit = "nats"
[[show]]
metric = "spread"
label = "weight spread"
log = true
lower_is_better = false
[[claim]]
id = "better"
text = "Ours is better."
expression = 'value(base) - value(ours)'
margin = 0.02
[[claim]]
id = "same"
text = "Both spread alike."
kind = "equivalence"
expression = 'value(other, spread) - value(ours, spread)'
band = 0.5
[[claim]]
id = "fast"
text = "It is fast."
kind = "not shown"
note = "A clock model stands in."
)";

TEST(ClaimsFile, IsReadWithItsDefaults) {
  const Claims claims = parse_claims(kFile, "claims.toml");
  EXPECT_EQ(claims.seeds, 5);
  EXPECT_EQ(claims.axis, "steps");
  EXPECT_EQ(claims.profile, "small");
  EXPECT_EQ(claims.reference, "ours") << "the first of the headline";
  EXPECT_EQ(claims.arms(), (std::vector<std::string>{"ours", "base", "other"}));
  EXPECT_EQ(claims.sha256, file::sha256(kFile));
  ASSERT_EQ(claims.claims.size(), 3u);
  EXPECT_EQ(claims.claims[0].margin, 0.02);
  EXPECT_EQ(claims.claims[1].band, 0.5);
  EXPECT_EQ(claims.style("valid/loss").label, "validation loss");
  EXPECT_TRUE(claims.style("valid/loss").lower_is_better);
  EXPECT_TRUE(claims.style("spread").log);
  EXPECT_FALSE(claims.style("spread").lower_is_better);
  EXPECT_EQ(claims.style("nobody/knows").label, "nobody/knows");
}

struct Mistake {
  std::string text, where, message;
};

TEST(ClaimsFile, MistakesAreNamedWithTheirPlace) {
  const std::string claim = "[[claim]]\nid = 'a'\ntext = 'A.'\n";
  const Mistake mistakes[] = {
      {"seeeds = 5\n", "c.toml:1:1", "seeeds"},
      {"seeds = 0\n", "c.toml:1:1", "0"},
      {"axis = 'parsecs'\n", "c.toml:1:1", "parsecs"},
      {"[[claim]]\ntext = 'A.'\n", "c.toml:1:1", "a claim has no id"},
      {"[[claim]]\nid = 'a'\n", "c.toml:1:1", "claim 'a' has no text"},
      {claim + "margin = 1\n", "c.toml:1:1", "has no expression"},
      {claim + "expression = '1'\n", "c.toml:1:1", "has no margin"},
      {claim + "kind = 'superior'\nexpression = '1'\nmargin = 1\n", "c.toml:4:1", "superior"},
      {claim + "kind = 'equivalence'\nexpression = '1'\nmargin = 1\nband = 1\n", "c.toml:6:1", "a margin"},
      {claim + "kind = 'equivalence'\nexpression = '1'\n", "c.toml:1:1", "no band"},
      {claim + "kind = 'equivalence'\nexpression = '1'\nband = 0\n", "c.toml:6:1", "0"},
      {claim + "expression = '1'\nmargin = 1\nband = 1\n", "c.toml:6:1", "a band"},
      {claim + "kind = 'not shown'\n", "c.toml:1:1", "has no note"},
      {claim + "kind = 'not shown'\nnote = 'n'\nexpression = '1'\n", "c.toml:6:1", "has an expression"},
      {claim + "expression = '1'\nmargin = 1\nsimulation = 's'\n", "c.toml:6:1", "names a simulation"},
      {claim + "expression = 'value(a) +'\nmargin = 1\n", "c.toml:4:25", "found end"},
      {claim + "expression = '''\n  value(a)\n  + valu(b)'''\nmargin = 1\n", "c.toml:6:5", "unknown function 'valu'"},
      {claim + "expression = \"value(\\\"a\\\") ? 1\"\nmargin = 1\n", "c.toml:4:28", "unexpected '?'"},
      {claim + "expression = '1'\nmargin = 1\n" + claim + "expression = '1'\nmargin = 1\n", "c.toml:7:1", "two claims"},
  };
  for (const auto& [text, where, message] : mistakes) {
    try {
      parse_claims(text, "c.toml");
      ADD_FAILURE() << "was read: " << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::config) << text;
      EXPECT_EQ(error.where(), where) << text << error.what();
      EXPECT_NE(error.message().find(message), std::string::npos) << text << error.what();
    }
  }
}

TEST(ClaimsFile, ArmsThatAreNotThereAreNamedWithTheNearest) {
  const Claims claims = parse_claims(kFile, "claims.toml");
  EXPECT_NO_THROW(claims.check_arms({"ours", "base", "other"}));
  try {
    claims.check_arms({"ours", "base", "another"});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.where(), "claims.toml:19:21");
    EXPECT_EQ(error.message(), "unknown arm 'other'");
  }
  try {
    claims.check_arms({"our", "base", "other"});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.where(), "claims.toml:1:1");
    EXPECT_EQ(error.hint(), "did you mean 'our'?");
  }
}

// ---- judging

/// Runs whose difference base - ours is `difference[seed]`.
std::vector<RunRecord> pairs(const std::vector<double>& difference) {
  std::vector<RunRecord> runs;
  for (size_t s = 0; s < difference.size(); ++s) {
    const double base = 3 + static_cast<double>(s);  // seeds differ by far more than arms: only pairs tell
    runs.push_back(run("ours", static_cast<int64_t>(s), {9, base}));
    runs.push_back(run("base", static_cast<int64_t>(s), {9, base + difference[s]}));
  }
  return runs;
}

Verdict judged(const std::string& margin, const std::vector<RunRecord>& runs, const std::string& profile = "small") {
  return judge_all(testing::claims(margin), runs, profile).at(0);
}

// Differences 1, 2, 3, 4, 5: mean 3, interval 3 -+ 2.776445 sqrt(2.5 / 5) = [1.036757, 4.963243].
TEST(Verdicts, SuperiorityByHand) {
  const auto runs = pairs({1, 2, 3, 4, 5});
  const Verdict holds = judged("1.036", runs), open = judged("1.037", runs), still_open = judged("4.963", runs),
                fails = judged("4.964", runs);
  EXPECT_EQ(holds.outcome, Outcome::holds);
  EXPECT_EQ(open.outcome, Outcome::inconclusive);
  EXPECT_EQ(still_open.outcome, Outcome::inconclusive);
  EXPECT_EQ(fails.outcome, Outcome::fails);
  EXPECT_NEAR(holds.interval.low, 1.036757, 1e-6);
  EXPECT_NEAR(holds.interval.high, 4.963243, 1e-6);
  ASSERT_EQ(holds.seeds.size(), 5u);
  EXPECT_EQ(holds.seeds[4].value, 5);
  EXPECT_EQ(holds.source, "table 1");
}

TEST(Verdicts, NameTheSeedsThatWouldDecide) {
  // sd sqrt(2.5) = 1.5811, distance 3 - 1.5 = 1.5: t(n-1)/sqrt(n) < 0.94868 first at n = 7 (0.9249; n = 6: 1.0494).
  EXPECT_EQ(judged("1.5", pairs({1, 2, 3, 4, 5})).seeds_needed, 7);
  const Verdict never = judged("3", pairs({1, 2, 3, 4, 5}));
  EXPECT_EQ(never.seeds_needed, std::nullopt) << "the mean lies on the margin";
  EXPECT_EQ(remarks(never).at(0), "more than 1000 seeds would be needed to decide");
  EXPECT_EQ(judged("1", pairs({1, 2, 3, 4, 5})).seeds_needed, std::nullopt) << "decided already";
}

TEST(Verdicts, EquivalenceByHand) {
  const auto verdict = [](double band, const std::vector<double>& difference) {
    const Claims claims = parse_claims(
        "[[claim]]\nid = 'same'\ntext = 'Alike.'\nkind = 'equivalence'\n"
        "expression = 'value(base) - value(ours)'\nband = " +
            std::to_string(band) + "\n",
        "claims.toml");
    return judge_all(claims, pairs(difference), "small").at(0);
  };
  // mean 0, half width 2.776445 sqrt(2.5 / 5) = 1.963243.
  EXPECT_EQ(verdict(1.97, {-2, -1, 0, 1, 2}).outcome, Outcome::holds);
  EXPECT_EQ(verdict(1.96, {-2, -1, 0, 1, 2}).outcome, Outcome::inconclusive);
  EXPECT_EQ(verdict(1, {1, 2, 3, 4, 5}).outcome, Outcome::fails) << "[1.04, 4.96] is wholly above";
  EXPECT_EQ(verdict(1, {-1, -2, -3, -4, -5}).outcome, Outcome::fails) << "and wholly below";
  EXPECT_EQ(verdict(2, {1, 2, 3, 4, 5}).outcome, Outcome::inconclusive);
  // The mean -3 is 1.5 outside of the band of 1.5: as above, 7 seeds.
  EXPECT_EQ(verdict(1.5, {-1, -2, -3, -4, -5}).seeds_needed, 7);
}

TEST(Verdicts, SwappingTheArmsTurnsThemAndFiveNatsAreTooMuch) {
  auto runs = pairs({0.1, 0.12, 0.09, 0.11, 0.1});
  EXPECT_EQ(judged("0.02", runs).outcome, Outcome::holds);
  EXPECT_EQ(judged("5", runs).outcome, Outcome::fails);
  for (auto& r : runs) r.arm = r.arm == "ours" ? "base" : "ours";
  EXPECT_EQ(judged("0.02", runs).outcome, Outcome::fails);
}

TEST(Verdicts, FewerThanTwoPairsDecideNothing) {
  const Verdict one = judged("-100", pairs({1}));
  EXPECT_EQ(one.outcome, Outcome::inconclusive);
  EXPECT_EQ(one.reason, "at least 2 paired seeds are needed");
  EXPECT_EQ(one.seeds_needed, std::nullopt);
  EXPECT_EQ(measured_text(one), one.reason);
  EXPECT_EQ(judged("-100", {}).reason, "no finished run of base and ours; the profile small has them");
  EXPECT_EQ(judged("-100", {run("ours", 0, {1})}).reason, "no finished run of base; the profile small has it");
}

TEST(Verdicts, OnlyPairedSeedsAndFinishedRunsCount) {
  auto runs = pairs({1, 1.1, 100, 50});
  runs[5].finished = false;  // base, seed 2
  std::erase_if(runs, [](const RunRecord& r) { return r.seed == 3 && r.arm == "ours"; });
  runs.push_back(run("stranger", 3, {1}));
  const Verdict verdict = judged("0", runs);
  EXPECT_EQ(verdict.interval.n, 2);
  EXPECT_NEAR(verdict.interval.mean, 1.05, 1e-12);
}

TEST(Verdicts, ASeedWithoutAValueIsNotLeftOut) {
  // Four seeds in favour and one that diverged: leaving it out would hide the failure.
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    auto runs = pairs({1, 1.1, 1, 1.1, 1});
    runs[6].series[0].value.back() = bad;  // ours, seed 3
    const Verdict verdict = judged("0.5", runs);
    EXPECT_EQ(verdict.outcome, Outcome::inconclusive);
    EXPECT_EQ(verdict.reason, "seed 3: a value is not finite");
  }
}

TEST(Verdicts, AnotherProfileIsACautionAndNotShownStaysSo) {
  EXPECT_EQ(judged("0.02", pairs({1, 2, 3}), "smoke").caution,
            "the margin was calibrated for the profile small, not for smoke");
  EXPECT_EQ(judged("0.02", pairs({1, 2, 3})).caution, "");
  const auto verdicts = judge_all(parse_claims(kFile, "claims.toml"), pairs({1, 2, 3}), "small");
  EXPECT_EQ(verdicts.at(2).outcome, Outcome::not_shown);
  EXPECT_EQ(verdicts.at(1).outcome, Outcome::inconclusive) << "the arm other has no runs";
  EXPECT_EQ(verdicts.at(1).reason, "no finished run of other; the profile small has it");
}

TEST(Verdicts, HaveNamesThatReadBack) {
  for (const auto outcome : {Outcome::holds, Outcome::inconclusive, Outcome::fails, Outcome::not_shown})
    EXPECT_EQ(outcome_of(outcome_name(outcome)), outcome);
  EXPECT_EQ(outcome_of("maybe"), std::nullopt);
}

}  // namespace
}  // namespace etude::report::claims_test
