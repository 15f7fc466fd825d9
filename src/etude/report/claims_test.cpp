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
  const std::string claim = "[[claim]]\nid = 'a'\ntext = 'A.'\n",
                    experiment = "[[experiment]]\nid = 'e'\nabout = 'a'\narms = ['x']\n";
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
      {claim + "expression = 'value(a) +'\nmargin = 1\n", "c.toml:4:25", "found end"},
      {claim + "expression = '''\n  value(a)\n  + valu(b)'''\nmargin = 1\n", "c.toml:6:5", "unknown function 'valu'"},
      {claim + "expression = \"value(\\\"a\\\") ? 1\"\nmargin = 1\n", "c.toml:4:28", "unexpected '?'"},
      {claim + "expression = '1'\nmargin = 1\n" + claim + "expression = '1'\nmargin = 1\n", "c.toml:7:1", "two claims"},
      {"[[experiment]]\nabout = 'a'\narms = ['x']\n", "c.toml:1:1", "the id ''"},
      {"[[experiment]]\nid = 'a@b'\nabout = 'a'\narms = ['x']\n", "c.toml:2:1", "the id 'a@b'"},
      {"[[experiment]]\nid = 'a'\narms = ['x']\n", "c.toml:1:1", "says nothing"},
      {"[[experiment]]\nid = 'a'\nabout = 'a'\n", "c.toml:1:1", "has no arms"},
      {experiment + "nproc = 1\n", "c.toml:5:1", "1"},
      {experiment + "seeds = 0\n", "c.toml:5:1", "0"},
      {experiment + "ranks = 2\n", "c.toml:5:1", "ranks"},
      {experiment + experiment, "c.toml:6:1", "two experiments"},
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

// ---- experiments

const char* const kExperiment = R"(headline = ["ours", "base"]
[[experiment]]
id = "slow"
about = "2 ranks, one of them slow"
arms = ["ours", "base"]
nproc = 2
inject = "rank:1:slow=10"
set = ['stop="2 steps"', 'seed=1']
seeds = 3
[[claim]]
id = "waits-less"
text = "Ours waits less."
expression = 'cost(base@slow, idle_seconds) - cost(ours@slow, idle_seconds)'
margin = 0.5
simulation = "toy/clock"
)";

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  return text.replace(text.find(from), from.size(), to);
}

TEST(Experiments, AreReadAndHaveArmsOfTheirOwn) {
  const Claims claims = parse_claims(kExperiment, "claims.toml");
  ASSERT_EQ(claims.experiments.size(), 1u);
  const Experiment& slow = claims.experiments[0];
  EXPECT_EQ(slow.about, "2 ranks, one of them slow");
  EXPECT_EQ(slow.nproc, 2);
  EXPECT_EQ(slow.inject, "rank:1:slow=10");
  EXPECT_EQ(slow.set, (std::vector<std::string>{"stop=\"2 steps\"", "seed=1"}));
  EXPECT_EQ(slow.seeds, 3);
  EXPECT_EQ(claims.arms(), (std::vector<std::string>{"ours", "base"})) << "ordinary ones";
  EXPECT_EQ(claims.experiment_arms(), (std::vector<std::string>{"ours@slow", "base@slow"}));
  EXPECT_EQ(claims.experiment("base@slow"), &slow);
  EXPECT_EQ(claims.experiment("base"), nullptr);
  EXPECT_EQ(claims.experiment("base@slower"), nullptr);
  EXPECT_EQ(claims.claims[0].simulation, "toy/clock") << "beside what is measured";
}

TEST(Experiments, OfOtherRanksOrConditionsHaveAnotherFolder) {
  const auto folder = [](const std::string& text) { return parse_claims(text, "c.toml").experiments[0].folder(); };
  const std::string before = folder(kExperiment);
  EXPECT_EQ(before, "@slow-" + file::sha256("2 rank:1:slow=10").substr(0, 8));
  EXPECT_NE(folder(replaced(kExperiment, "nproc = 2", "nproc = 3")), before);
  EXPECT_NE(folder(replaced(kExperiment, "slow=10", "slow=11")), before);
  EXPECT_EQ(folder(replaced(kExperiment, "2 steps", "4 steps")), before) << "the recipe's hash tells these apart";
}

TEST(Experiments, UnknownArmsAreNamedWithTheNearest) {
  const std::vector<std::string> known = {"ours", "base"};
  EXPECT_NO_THROW(parse_claims(kExperiment, "c.toml").check_arms(known));
  const auto refused = [&](const std::string& from, const std::string& to, const std::string& where,
                           const std::string& message, const std::string& hint) {
    try {
      parse_claims(replaced(kExperiment, from, to), "c.toml").check_arms(known);
      ADD_FAILURE() << to;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::config);
      EXPECT_EQ(error.where(), where);
      EXPECT_EQ(error.message(), message);
      EXPECT_EQ(error.hint(), hint);
    }
  };
  refused("arms = [\"ours\"", "arms = [\"hours\"", "c.toml:5:1", "unknown arm 'hours'", "did you mean 'ours'?");
  refused("base@slow", "base@slaw", "c.toml:13:20", "unknown arm 'base@slaw'", "did you mean 'base@slow'?");
  refused("arms = [\"ours\", \"base\"]", "arms = [\"base\"]", "c.toml:13:52", "unknown arm 'ours@slow'",
          "arms are the files of the method's arms folder, and ARM@EXPERIMENT those of an experiment of this file");
}

TEST(Experiments, AreJudgedByTheirOwnRuns) {
  std::vector<RunRecord> runs;
  for (int64_t seed = 0; seed < 3; ++seed)
    for (const auto& [arm, idle] : {std::pair{"ours@slow", 1.0}, {"base@slow", 3.0}, {"ours", 99.0}, {"base", 0.0}}) {
      runs.push_back(run(arm, seed, {1}));
      runs.back().cost["idle_seconds"] = idle + 0.1 * static_cast<double>(seed) * (idle > 2 ? 2 : 1);
    }
  // Differences 2, 2.1, 2.2: mean 2.1, interval 2.1 -+ 4.302653 * 0.1 / sqrt(3).
  const Verdict verdict = judge_all(parse_claims(kExperiment, "c.toml"), runs, "small").at(0);
  EXPECT_EQ(verdict.outcome, Outcome::holds);
  EXPECT_NEAR(verdict.interval.mean, 2.1, 1e-12);
  EXPECT_NEAR(verdict.interval.low, 2.1 - 4.302653 * 0.1 / std::sqrt(3), 1e-6);
  std::erase_if(runs, [](const RunRecord& r) { return r.arm == "base@slow"; });
  EXPECT_EQ(judge_all(parse_claims(kExperiment, "c.toml"), runs, "small").at(0).reason,
            "no finished run of base@slow; the profile small has it");
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
