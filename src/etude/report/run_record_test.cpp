#include "etude/report/run_record.h"

#include <cmath>

#include <gtest/gtest.h>

#include "etude/base/error.h"
#include "etude/report/claims.h"
#include "etude/report/testing.h"

namespace etude::report::run_record_test {
namespace {

std::string line(const std::string& kind, int step, const std::string& values, const std::string& stage = "train") {
  return R"({"v":1,"stage":")" + stage + R"(","kind":")" + kind + R"(","step":)" + std::to_string(step) +
         R"(,"tokens":)" + std::to_string(100 * step) + R"(,"values":{)" + values + "}}\n";
}

const char* const kResult =
    R"({"v":1,"status":"finished","method":"toy","arm":"ours","profile":"small","seed":3,"commit":"abc",)"
    R"("values":{"valid/loss":2.5,"broken":null},"cost":{"seconds":1.5,"bytes":7},)"
    R"("machine":{"processor":"P","threads":2,"isa":"AVX2","libtorch":"2.15.0"}})";

Error error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no error";
  return Error(Code::internal, "none");
}

TEST(RunRecords, HoldAllThatARunWrote) {
  const TestFolder folder;
  folder.write("toy-ours/abc-s3/metrics.jsonl", line("train", 5, R"("train/loss":4.5)") +
                                                    line("eval", 10, R"("valid/loss":3.5,"spread":"nan")") +
                                                    line("eval", 20, R"("valid/loss":2.5,"spread":null)"));
  folder.write("toy-ours/abc-s3/result.json", kResult);
  folder.write("toy-ours/abc-s3/rows/valid.jsonl",
               "{\"item\":4,\"value\":2.25,\"weight\":64}\n{\"item\":9,\"value\":3}\n");
  const RunRecord run = read_run(folder.at("toy-ours/abc-s3"));
  EXPECT_TRUE(run.finished);
  EXPECT_EQ(run.method + " " + run.arm + " " + run.profile + " " + run.key + " " + run.commit,
            "toy ours small abc abc");
  EXPECT_EQ(run.seed, 3);
  EXPECT_EQ(run.machine, (Machine{"P", "AVX2", "2.15.0", 2}));
  EXPECT_EQ(run.cost.at("seconds"), 1.5);
  EXPECT_TRUE(std::isnan(run.final.at("broken")));
  ASSERT_NE(run.find("valid/loss"), nullptr);
  const Series& loss = *run.find("valid/loss");
  EXPECT_TRUE(loss.evaluation);
  EXPECT_EQ(loss.value, (std::vector<double>{3.5, 2.5}));
  EXPECT_EQ(run.points[loss.point[1]][Unit::tokens], 2000);
  EXPECT_FALSE(run.find("train/loss")->evaluation);
  EXPECT_TRUE(std::isnan(run.last("spread")));
  EXPECT_TRUE(std::isnan(run.last("nothing")));
  EXPECT_EQ(run.last("valid/loss"), 2.5);
  ASSERT_EQ(run.rows.at("valid").size(), 2u);
  EXPECT_EQ(run.rows.at("valid")[0].weight, 64);
  EXPECT_EQ(run.rows.at("valid")[1].item, 9);
}

TEST(RunRecords, AStageCanBeNamed) {
  RunRecord run;
  parse_metrics(line("eval", 1, R"("x":1)", "one") + line("eval", 2, R"("x":2)", "two"), "m", run);
  EXPECT_EQ(run.find("x")->value[0], 2) << "the last stage that has it";
  EXPECT_EQ(run.find("one:x")->value[0], 1);
  EXPECT_EQ(run.find("three:x"), nullptr);
}

TEST(RunRecords, APartialRunKnowsItself) {
  const TestFolder folder;
  folder.write("toy-ours/abc-s12/metrics.jsonl", line("eval", 10, R"("valid/loss":3.5)"));
  folder.write("toy-ours/abc-s12/recipe.toml", "method = 'toy'\narm = 'ours'\nseed = 12\n");
  const RunRecord run = read_run(folder.at("toy-ours/abc-s12/"));
  EXPECT_FALSE(run.finished);
  EXPECT_EQ(run.method, "toy");
  EXPECT_EQ(run.arm, "ours");
  EXPECT_EQ(run.key, "abc");
  EXPECT_EQ(run.seed, 12);
}

TEST(RunRecords, ATornLastLineIsForgivenAndNothingElse) {
  const std::string good = line("eval", 1, R"("x":1)");
  RunRecord torn;
  parse_metrics(good + good.substr(0, 30), "m.jsonl", torn);
  EXPECT_EQ(torn.points.size(), 1u);
  RunRecord whole;
  parse_metrics(good + good.substr(0, good.size() - 1), "m.jsonl", whole);
  EXPECT_EQ(whole.points.size(), 2u) << "only its line end is missing";

  struct Damage {
    std::string text, message;
  };
  const Damage damages[] = {
      {good + "{\"v\":1,\n" + good, "line 2 is not valid JSON"},
      {good + "\n" + good, "line 2 is not valid JSON"},
      {good + "[1]\n", "expected a JSON object, found [1]"},
      {good + "{}\n", "member 'v' is missing"},
      {good + R"({"v":2,"stage":"s","kind":"eval"})" + "\n", "version 2"},
      {good + R"({"v":1,"stage":"s","kind":"test"})" + "\n", "unknown kind 'test'"},
      {good + R"({"v":1,"stage":1,"kind":"eval"})" + "\n", "member 'stage' is 1, not a string"},
      {good + R"({"v":1,"stage":"s","kind":"eval","step":"x"})" + "\n", "member 'step' is \"x\", not a number"},
      {good + R"({"v":1,"stage":"s","kind":"eval","values":{"x":[]}})" + "\n", "member 'x' is [], not a number"},
      {good + R"({"v":1,"stage":"s","kind":"eval","values":3})" + "\n", "expected a JSON object, found 3"}};
  for (const auto& [text, message] : damages) {
    RunRecord into;
    const Error error = error_of([&] { parse_metrics(text, "m.jsonl", into); });
    EXPECT_EQ(error.code(), Code::checkpoint);
    EXPECT_EQ(error.where(), "m.jsonl:2") << text;
    EXPECT_NE(error.message().find(message), std::string::npos) << text << error.message();
  }
}

TEST(RunRecords, DamagedResultsAndMissingFilesAreNamed) {
  const TestFolder folder;
  const Error nothing = error_of([&] { read_run(folder.at("nowhere")); });
  EXPECT_EQ(nothing.code(), Code::checkpoint);
  EXPECT_EQ(nothing.where(), folder.at("nowhere"));

  folder.write("run/result.json", "{\n\"v\":1,\n\"status\": finished}");
  EXPECT_EQ(error_of([&] { read_run(folder.at("run")); }).where(), folder.at("run/result.json:3"));
  folder.write("run/result.json", R"({"v":1,"status":"finished","method":"toy","arm":"ours"})");
  EXPECT_EQ(error_of([&] { read_run(folder.at("run")); }).message(), "member 'seed' is missing");
  folder.write("run/result.json", R"({"v":1,"status":"finished","method":"toy","arm":"ours","seed":1.5})");
  EXPECT_EQ(error_of([&] { read_run(folder.at("run")); }).message(), "member 'seed' is 1.5, not an integer");
  folder.write("run/result.json", kResult);
  EXPECT_TRUE(read_run(folder.at("run")).finished) << "metrics may be absent";
  folder.write("run/rows/valid.jsonl", "{\"item\":1}\n");
  EXPECT_EQ(error_of([&] { read_run(folder.at("run")); }).where(), folder.at("run/rows/valid.jsonl:1"));
}

TEST(RunRecords, AreFoundAtThreeDepths) {
  const TestFolder folder;
  folder.write("runs/a/k-s0/metrics.jsonl", "");
  folder.write("runs/a/k-s1/result.json", kResult);
  folder.write("runs/b/k-s0/metrics.jsonl", "");
  folder.write("runs/report/small.html", "");
  folder.write("runs/c/d/e/metrics.jsonl", "");
  const std::vector<std::string> all = {folder.at("runs/a/k-s0"), folder.at("runs/a/k-s1"), folder.at("runs/b/k-s0")};
  EXPECT_EQ(run_directories(folder.at("runs")), all);
  EXPECT_EQ(run_directories(folder.at("runs/b")), (std::vector<std::string>{all[2]}));
  EXPECT_EQ(run_directories(all[0]), (std::vector<std::string>{all[0]}));
  EXPECT_TRUE(run_directories(folder.at("none")).empty());
}

TEST(RunRecords, OfExperimentsAreFoundAndNamedByTheirFolder) {
  const TestFolder folder;
  for (const char* run : {"runs/@one-slow-0a1b2c3d/toy-ours/k-s1", "runs/toy-ours/k-s1"})
    folder.write(std::string(run) + "/result.json", kResult);
  const std::string rehearsed = folder.at("runs/@one-slow-0a1b2c3d/toy-ours/k-s1"),
                    ordinary = folder.at("runs/toy-ours/k-s1");
  const std::vector<std::string> all = {rehearsed, ordinary};
  EXPECT_EQ(run_directories(folder.at("runs")), all);
  EXPECT_EQ(run_directories(folder.at("runs/@one-slow-0a1b2c3d")), (std::vector<std::string>{rehearsed}));
  const std::string arm = read_run(ordinary).arm;
  for (const std::string& spelled :
       {rehearsed, rehearsed + "/", folder.at("runs/@one-slow-0a1b2c3d/./toy-ours/../toy-ours/k-s1")})
    EXPECT_EQ(read_run(spelled).arm, arm + "@one-slow") << spelled;
  EXPECT_EQ(experiment_id(arm + "@one-slow"), "one-slow");
  EXPECT_EQ(ordinary_arm(arm + "@one-slow"), arm);
  EXPECT_EQ(experiment_id(arm), "");
  EXPECT_EQ(ordinary_arm(arm), arm);
}

/// Arms as they lie on disk: what `loss` says for each seed.
void write_arm(const TestFolder& folder, const std::string& arm, const std::vector<double>& loss) {
  for (size_t seed = 0; seed < loss.size(); ++seed) {
    const std::string directory = "runs/toy-" + arm + "/k-s" + std::to_string(seed);
    const std::string value = "\"valid/loss\":" + std::to_string(loss[seed]);
    folder.write(directory + "/metrics.jsonl", line("eval", 10, value));
    folder.write(directory + "/result.json", R"({"v":1,"status":"finished","method":"toy","arm":")" + arm +
                                                 R"(","seed":)" + std::to_string(seed) + R"(,"values":{)" + value +
                                                 "}}");
  }
}

TEST(RunFolders, SwappedRecipesTurnTheVerdictAndFiveNatsAreTooMuch) {
  const std::vector<double> low = {2.30, 2.33, 2.28}, high = {2.41, 2.45, 2.38};
  const auto outcome = [](const TestFolder& folder, const std::string& margin) {
    std::vector<RunRecord> runs;
    for (const auto& directory : run_directories(folder.at("runs"))) runs.push_back(read_run(directory));
    return judge_all(testing::claims(margin), runs, "small").at(0).outcome;
  };
  const TestFolder straight, swapped;
  write_arm(straight, "ours", low);
  write_arm(straight, "base", high);
  write_arm(swapped, "ours", high);
  write_arm(swapped, "base", low);
  EXPECT_EQ(outcome(straight, "0.02"), Outcome::holds);
  EXPECT_EQ(outcome(swapped, "0.02"), Outcome::fails);
  EXPECT_EQ(outcome(straight, "5.0"), Outcome::fails);
}

}  // namespace
}  // namespace etude::report::run_record_test
