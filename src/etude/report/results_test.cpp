#include "etude/report/results.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "etude/base/error.h"
#include "etude/base/text.h"
#include "etude/report/format.h"
#include "etude/report/table.h"
#include "etude/report/testing.h"

namespace etude::report::results_test {
namespace {

using testing::run;

/// ours 2, 2.5, 3 and base 2.25, 3, 3.75 at seeds 0, 1, 2: differences 0.25, 0.5, 0.75.
Comparison comparison() {
  Comparison c;
  c.method = "toy";
  c.profile = "small";
  c.claims = testing::claims("0.1");
  c.command = "etude compare toy";
  c.date = "2026-01-02";
  c.commit = "0123456789abcdef";
  c.machine = {"a processor", "AVX2", "2.15.0", 1};
  c.arms = {{"ours", "the method"}, {"base", "a | baseline"}};
  for (int64_t s = 2; s >= 0; --s) {
    const double x = static_cast<double>(s);
    c.runs.push_back(run("ours", s, {4, 2 + 0.5 * x}));
    c.runs.push_back(run("base", s, {4, 2.25 + 0.75 * x}));
  }
  c.verdicts = judge_all(c.claims, c.runs, c.profile);
  return c;
}

TEST(Summary, PairsArmsBySeed) {
  const Results results = summarise(comparison());
  EXPECT_EQ(results.reference, "ours");
  const auto rows = arm_rows(results);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_TRUE(rows[0].reference);
  EXPECT_FALSE(rows[0].difference);
  EXPECT_EQ(rows[0].mean, 2.5);
  EXPECT_EQ(rows[0].sd, 0.5);
  EXPECT_EQ(rows[1].mean, 3);
  EXPECT_EQ(rows[1].sd, 0.75);
  EXPECT_EQ(rows[1].difference->mean, 0.5);
  EXPECT_EQ(rows[1].difference->n, 3);
  EXPECT_NEAR(rows[1].difference->high, 0.5 + 4.302653 * 0.25 / std::sqrt(3), 1e-6);
  EXPECT_EQ(rows[1].cost.at("seconds"), 2);
  EXPECT_EQ(results.arms[0].seeds[0].seed, 0) << "ascending, though the runs were not";
  EXPECT_EQ(rows[0].value_text, "2.50 ± 0.50");
  EXPECT_EQ(rows[1].difference_text, "+0.50 [−0.12, +1.12]");
}

TEST(Summary, OfAPartialComparisonKeepsWhatThereIs) {
  Comparison c = comparison();
  std::erase_if(c.runs, [](const RunRecord& r) { return r.arm == "base" && r.seed != 1; });
  c.runs[0].finished = false;  // ours, seed 2
  c.arms.push_back({"other", ""});
  c.runs.push_back(run("unannounced", 1, {std::nan("")}));
  const auto rows = arm_rows(summarise(c));
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[0].n, 2);
  EXPECT_EQ(rows[1].difference->n, 1);
  EXPECT_EQ(rows[1].difference_text, "+0.5000");
  EXPECT_EQ(rows[2].n, 0);
  EXPECT_EQ(rows[2].value_text, "–");
  EXPECT_EQ(rows[2].difference_text, "–");
  EXPECT_EQ(rows[3].name, "unannounced");
  EXPECT_EQ(rows[3].n, 0) << "its value is not finite";
}

TEST(Summary, BootstrapsItemsThatBothMeasured) {
  Comparison c = comparison();
  for (auto& r : c.runs) {
    // Items 0..3; base is worse by the item's number, in every seed. Item 9 has no partner.
    for (int64_t i = 0; i < 4; ++i)
      r.rows["valid"].push_back({i, 1 + (r.arm == "base" ? static_cast<double>(i) : 0), i == 3 ? 5.0 : 1.0});
    if (r.arm == "base") r.rows["valid"].push_back({9, 100, 1});
  }
  const auto rows = arm_rows(summarise(c));
  ASSERT_TRUE(rows[1].items.has_value());
  EXPECT_FALSE(rows[0].items.has_value());
  EXPECT_DOUBLE_EQ(rows[1].items->mean, (0 + 1 + 2 + 5 * 3) / 8.0);
  EXPECT_EQ(rows[1].items->n, 4);

  c.runs[0].rows["valid"][2].value = std::nan("");  // item 2 in one of the three seeds: the others speak for it
  EXPECT_DOUBLE_EQ(arm_rows(summarise(c))[1].items->mean, (0 + 1 + 2 + 5 * 3) / 8.0);
}

TEST(ResultsFile, SurvivesToTheBit) {
  Comparison c = comparison();
  c.runs[0].final = {{"valid/loss", 0.1 + 0.2}, {"tiny", 5e-324}, {"broken", std::nan("")}};
  c.runs[1].cost["seconds"] = 1.0 / 3;
  c.verdicts[0].seeds_needed = 12;
  c.verdicts[0].caution = "\"quotes\" and \\ and ü";
  c.verdicts[0].simulation = NumberTable{"a clock", {"replicas", "ratio | x"}, {{8, 5.8123}, {64, 1.0 / 3}}};
  const Results results = summarise(c);
  const std::string text = to_json(results);
  const Results again = parse_results(text, "results.json");
  EXPECT_EQ(to_json(again), text);
  EXPECT_EQ(again.arms[0].seeds[2].values.at("valid/loss"), 0.1 + 0.2);
  EXPECT_EQ(again.arms[0].seeds[2].values.at("tiny"), 5e-324);
  EXPECT_TRUE(std::isnan(again.arms[0].seeds[2].values.at("broken")));
  EXPECT_EQ(again.verdicts[0].interval.low, results.verdicts[0].interval.low);
  EXPECT_EQ(again.verdicts[0].seeds_needed, 12);
  EXPECT_EQ(again.verdicts[0].caution, c.verdicts[0].caution);
  ASSERT_TRUE(again.verdicts[0].simulation.has_value());
  EXPECT_EQ(again.verdicts[0].simulation->columns, c.verdicts[0].simulation->columns);
  EXPECT_EQ(again.verdicts[0].simulation->rows, c.verdicts[0].simulation->rows);
  EXPECT_NE(results_table(again).find("Simulated: a clock.\n\n| replicas | ratio \\| x |\n|---|---|\n| 8 | 5.81 |\n"),
            std::string::npos)
      << results_table(again);
  EXPECT_EQ(again.claims_sha256, c.claims.sha256);
  EXPECT_EQ(again.machine, c.machine);
  EXPECT_EQ(results_table(again), results_table(results));

  const TestFolder folder;
  write_results(folder.at("results.json"), results);
  EXPECT_EQ(to_json(read_results(folder.at("results.json"))), text);
}

TEST(Summary, KeepsExperimentsApart) {
  Comparison c = comparison();
  const Results ordinary = summarise(c);
  testing::add_experiment(c.claims, c.runs);
  c.claims.experiments.push_back({"never", "was not run", {"ours"}, 2, "", {}, {}, ""});
  const Results results = summarise(c);
  ASSERT_EQ(results.arms.size(), ordinary.arms.size());
  for (size_t i = 0; i < results.arms.size(); ++i) EXPECT_EQ(results.arms[i].seeds.size(), 3u);
  ASSERT_EQ(results.experiments.size(), 1u);
  const ExperimentTable table = experiment_table(results.experiments[0]);
  EXPECT_EQ(table.title, "slow: one rank is | slow");
  EXPECT_EQ(table.conditions, "--nproc 2 --inject rank:1:slow=10 stop=\"2 steps\"");
  EXPECT_EQ(table.columns, (std::vector<std::string>{"arm", "seeds", "time", "idle", "bytes sent", "messages"}));
  EXPECT_EQ(table.rows,
            (std::vector<std::vector<std::string>>{{"ours", "1", "8.00\u00a0s", "1.50\u00a0s", "3.00\u00a0kB", "–"},
                                                   {"base", "1", "8.00\u00a0s", "6.00\u00a0s", "3.00\u00a0kB", "–"}}));
  const std::string card = results_table(results), before = results_table(ordinary);
  EXPECT_EQ(card.substr(0, card.find("\nExperiment")), before.substr(0, before.find("\n| claim"))) << "the arms' table";
  EXPECT_NE(
      card.find("\nExperiment slow: one rank is \\| slow (`--nproc 2 --inject rank:1:slow=10 stop=\"2 steps\"`; "),
      std::string::npos)
      << card;
  EXPECT_NE(card.find("\n| base | 1 | 8.00\u00a0s | 6.00\u00a0s | 3.00\u00a0kB | – |\n"), std::string::npos) << card;
}

TEST(ResultsFile, ExperimentsSurviveAndMayBeAbsent) {
  Comparison c = comparison();
  EXPECT_EQ(to_json(summarise(c)).find("experiments"), std::string::npos) << "as files were before there were any";
  EXPECT_TRUE(parse_results(to_json(summarise(c)), "r").experiments.empty());
  testing::add_experiment(c.claims, c.runs);
  const Results results = summarise(c), again = parse_results(to_json(results), "r");
  EXPECT_EQ(to_json(again), to_json(results));
  EXPECT_EQ(results_table(again), results_table(results));
  EXPECT_EQ(again.experiments.at(0).arms.at(1).seeds.at(0).cost.at("idle_seconds"), 6.0);
}

TEST(ResultsFile, UnpairedVerdictsSurviveToo) {
  Comparison c = comparison();
  c.runs.clear();
  c.verdicts = judge_all(c.claims, c.runs, c.profile);
  const Results again = parse_results(to_json(summarise(c)), "r");
  EXPECT_TRUE(std::isinf(again.verdicts[0].interval.low));
  EXPECT_EQ(again.verdicts[0].reason, c.verdicts[0].reason);
}

TEST(ResultsFile, DamageIsNamed) {
  std::string text = to_json(summarise(comparison()));
  const auto replaced = [&](const std::string& from, const std::string& to) {
    std::string other = text;
    other.replace(other.find(from), from.size(), to);
    return other;
  };
  for (const auto& damaged :
       {replaced("\"v\": 1", "\"v\": 2"), replaced("\"inconclusive\"", "\"held\""), replaced("\"method\"", "\"meth\""),
        replaced("\"seed\": 0", "\"seed\": 0.5"), replaced("{", "")}) {
    try {
      parse_results(damaged, "results.json");
      ADD_FAILURE() << damaged;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::checkpoint);
      EXPECT_EQ(error.where().substr(0, 12), "results.json");
    }
  }
}

TEST(Card, OnlyTheTableBetweenItsLinesIsRenewed) {
  const Results results = summarise(comparison());
  const std::string before = "# Toy\n\n## Result table\n<!-- results -->\n",
                    after = "<!-- /results -->\n\n## Options\n";
  const std::string card = with_results(before + "old\n" + after, results, "README.md");
  EXPECT_EQ(card, before + results_table(results) + after);
  EXPECT_EQ(with_results(card, results, "README.md"), card) << "a fresh card stays as it is";
  EXPECT_NE(card.find("| **ours** | 2.50 ± 0.50 |"), std::string::npos) << card;
  EXPECT_NE(card.find("`etude compare toy`"), std::string::npos);
  EXPECT_NE(card.find("commit 0123456789ab,"), std::string::npos);
  EXPECT_NE(card.find("**inconclusive**"), std::string::npos);
  for (const std::string& lacking : {before, after + before, std::string("# Toy\n")}) {
    try {
      with_results(lacking, results, "README.md");
      ADD_FAILURE() << lacking;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::config);
      EXPECT_EQ(error.where(), "README.md");
    }
  }
}

TEST(Card, NamesCantBreakTheTable) {
  Comparison c = comparison();
  c.arms[0].name = c.runs[0].arm = "a|b\n<i>";
  const std::string table = results_table(summarise(c));
  EXPECT_NE(table.find("a\\|b &lt;i>"), std::string::npos) << table;
}

int widest(const std::string& text) {
  int most = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    most = std::max(most, columns(text.substr(begin, end - begin)));
    begin = end + 1;
  }
  return most;
}

TEST(Terminal, TablesFitTheirWidth) {
  Comparison c = comparison();
  c.verdicts[0].text = "A sentence that is long enough to be broken into several lines on most terminals there are.";
  c.verdicts[0].note = "And so is this one, which says what to keep in mind: a word, and a word, and another word.";
  for (auto& r : c.runs)
    r.cost = {{"seconds", 125}, {"peak_bytes", 3e8}, {"flops", 2e12}, {"bytes", 4e7}, {"messages", 5600}};
  testing::add_experiment(c.claims, c.runs);
  const Results results = summarise(c);
  for (const int width : {40, 60, 80, 120})
    for (const bool unicode : {true, false}) {
      const TableStyle style{width, unicode, false};
      const std::string text = arms_text(results, style) + experiments_text(results.experiments, style) +
                               verdicts_text(results.verdicts, style);
      EXPECT_LE(widest(text), width) << text;
      for (const char* word : {"ours", "base", "min", "messages", "inconclusive", "better:", "slow:", "idle"})
        EXPECT_NE(text.find(word), std::string::npos) << word << text;
      const bool ascii =
          std::all_of(text.begin(), text.end(), [](char byte) { return byte == '\n' || (byte >= ' ' && byte < 127); });
      EXPECT_EQ(ascii, !unicode) << text;
    }
}

TEST(Terminal, ACautionThatAllShareIsSaidOnce) {
  const auto times = [](const std::string& text, const std::string& what) {
    int n = 0;
    for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
    return n;
  };
  std::vector<Verdict> verdicts(3, comparison().verdicts[0]);
  for (auto& v : verdicts) v.caution = "mind this";
  EXPECT_EQ(times(verdicts_text(verdicts, {80, true, false}), "mind this"), 1);
  verdicts[1].caution = "mind that";
  EXPECT_EQ(times(verdicts_text(verdicts, {80, true, false}), "mind this"), 2);
  verdicts[1].reason = "no runs";  // and no margin to be cautious about
  verdicts[1].caution = "";
  EXPECT_EQ(times(verdicts_text(verdicts, {80, true, false}), "mind this"), 1);
  EXPECT_EQ(shared_caution({}), "");
}

TEST(Terminal, TablesInAscii) {
  Comparison c = comparison();
  for (auto& r : c.runs) r.cost.clear();
  EXPECT_EQ(arms_text(summarise(c), {120, false, false}),
            "arm   seeds  valid/loss v        vs ours [95 %]  time  peak memory  FLOPs  bytes sent  messages\n"
            "-----------------------------------------------------------------------------------------------\n"
            "ours      3  2.50 +- 0.50                           -            -      -           -         -\n"
            "base      3  3.00 +- 0.75  +0.50 [-0.12, +1.12]     -            -      -           -         -\n");
}

TEST(Terminal, MemoryOfTensorsStandsWhereItWasRecorded) {
  Comparison c = comparison();
  for (auto& r : c.runs) r.cost = {{"peak_bytes", 3e8}};
  EXPECT_EQ(arms_text(summarise(c), {120, false, false}).find("of tensors"), std::string::npos);
  c.runs[0].cost["tensor_peak_bytes"] = 2e7;  // one of three seeds: the mean is over those that have it
  const std::string table = arms_text(summarise(c), {120, false, false});
  EXPECT_NE(table.find("peak memory  of tensors"), std::string::npos) << table;
  EXPECT_NE(table.find("300 MB     20.0 MB"), std::string::npos) << table;
}

TEST(Terminal, ColourIsOnlyAddedToTheMark) {
  const Results results = summarise(comparison());
  const std::string coloured = verdicts_text(results.verdicts, {80, true, true});
  EXPECT_EQ(coloured.find("\x1b[33m~ inconclusive\x1b[0m"), 0u) << coloured;
  EXPECT_EQ(verdicts_text(results.verdicts, {80, true, false}).find('\x1b'), std::string::npos);
}

TEST(Terminal, HostileNamesAreHarmless) {
  Comparison c = comparison();
  c.runs.push_back(run("\x1b[2J\n", 0, {1}));
  EXPECT_EQ(arms_text(summarise(c), {80, true, true}).find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace etude::report::results_test
