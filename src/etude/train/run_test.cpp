#include "etude/train/run.h"

#include "etude/base/torch_pch.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "etude/base/file.h"
#include "etude/base/testing.h"
#include "etude/tensor/safetensors.h"
#include "etude/train/checkpoint.h"
#include "tests/support/resume.h"

namespace etude::run_test {
namespace {

namespace fs = std::filesystem;

class Run : public ::testing::Test {
 protected:
  Run() {
    register_frame(registry_);
    std::string text;
    for (int i = 0; text.size() < 3000; ++i) text += "line " + std::to_string(i * i) + "\n";
    folder_.write("text.txt", text);
    settings_.out = folder_.at("runs");
  }

  Recipe recipe(const std::vector<std::string>& overrides = {}) const {
    const std::string text = R"(
stop = "6 steps"
log = "2 steps"
data = { kind = "text", path = ")" +
                             folder_.at("text.txt") + R"(", length = 8 }
net.model = { kind = "decoder", vocab = 257, dim = 8, layers = 1, heads = 2, length = 8 }
source = { batch = 2 }
evaluate = { every = "3 steps", batches = 1, batch = 4 }
checkpoint = { every = "2 steps" }
[[learner]]
optimizer = { kind = "adam", lr = 0.01 }
[[pass]]
objective = { kind = "next_token" }
)";
    Recipe made = read_recipe(text, "mine.toml", {}, "", overrides, registry_);
    made.method = "own";
    made.arm = "mine";
    return made;
  }
  Outcome run(const Recipe& of) { return run_recipe(of, registry_, settings_); }
  Outcome run_for(const Recipe& of, int steps) {
    RunSettings stopped = settings_;
    stopped.interrupted = [&, done = 0]() mutable { return ++done == steps; };
    return run_recipe(of, registry_, stopped);
  }
  static std::string metrics(const std::string& directory) {
    std::ifstream in(directory + "/metrics.jsonl");
    std::string all;
    for (std::string line; std::getline(in, line);) all += test::without_seconds(line) + "\n";
    return all;
  }

  TestFolder folder_;
  Registry registry_;
  RunSettings settings_;
};

TEST_F(Run, LeavesWhatItPromises) {
  const Outcome outcome = run(recipe());
  EXPECT_TRUE(outcome.finished);
  EXPECT_FALSE(outcome.was_finished);
  EXPECT_EQ(outcome.directory, settings_.out + "/" + recipe().run_name());
  EXPECT_EQ(file::list(outcome.directory),
            (std::vector<std::string>{"checkpoints", "data.json", "events.out.tfevents.000001", "lock", "log.txt",
                                      "metrics.jsonl", "model.safetensors", "recipe.toml", "result.json", "rows"}));
  const auto result = nlohmann::json::parse(file::read(outcome.directory + "/result.json"));
  EXPECT_EQ(result["status"], "finished");
  EXPECT_EQ(result["recipe_hash"], recipe().hash());
  EXPECT_EQ(result["values"]["valid/loss"].get<double>(), outcome.values.at("valid/loss"));
  // The resolved recipe is the same run.
  const Recipe again =
      read_recipe(file::read(outcome.directory + "/recipe.toml"), "recipe.toml", {}, "", {}, registry_);
  EXPECT_EQ(again.hash(), recipe().hash());
}

TEST_F(Run, KeepsTheTokenizerOfItsTexts) {
  std::string vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\nline\n";
  for (const char* before : {"", "##"})
    for (char digit = '0'; digit <= '9'; ++digit) vocabulary += before + std::string(1, digit) + "\n";
  folder_.write("vocab.txt", vocabulary);
  const Recipe own = recipe({"data.tokenizer={kind = \"file\", path = \"" + folder_.at("vocab.txt") + "\"}"});
  const std::string directory = run_for(own, 3).directory, kept = directory + "/" + kTokenizerFolder;
  EXPECT_EQ(open_tokenizer(kept)->hash(), open_tokenizer(folder_.at("vocab.txt"))->hash());
  EXPECT_EQ(open_tokenizer(kept)->encode("line 16"), (std::vector<int32_t>{4, 6, 21}));

  // Ids would mean something else from here on.
  folder_.write("vocab.txt", "[PAD]\n[UNK]\n[SEP]\n[CLS]\n" + vocabulary.substr(vocabulary.find("line")));
  try {
    run(own);
    ADD_FAILURE() << "went on with another tokenizer";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::data);
    EXPECT_NE(error.message().find("the tokenizer has changed"), std::string::npos) << error.what();
  }
  folder_.write("vocab.txt", vocabulary);
  EXPECT_TRUE(run(own).finished);
}

TEST_F(Run, FinishedTrainsNothing) {
  const Outcome first = run(recipe());
  const auto before = fs::last_write_time(first.directory + "/metrics.jsonl");
  const Outcome second = run(recipe());
  EXPECT_TRUE(second.finished);
  EXPECT_TRUE(second.was_finished);
  EXPECT_EQ(second.values, first.values);
  EXPECT_EQ(fs::last_write_time(first.directory + "/metrics.jsonl"), before);
}

TEST_F(Run, InterruptedGoesOnToTheSameBits) {
  const Outcome stopped = run_for(recipe(), 3);
  EXPECT_FALSE(stopped.finished);
  EXPECT_FALSE(is_finished(stopped.directory));
  EXPECT_EQ(Checkpoints(stopped.directory).load_latest()->step, 3);
  const Outcome rest = run(recipe());
  EXPECT_TRUE(rest.finished);
  EXPECT_FALSE(rest.was_finished);
  RunSettings elsewhere = settings_;
  elsewhere.out = folder_.at("straight");
  const Outcome straight = run_recipe(recipe(), registry_, elsewhere);
  EXPECT_EQ(metrics(rest.directory), metrics(straight.directory));
  EXPECT_EQ(file::read(rest.directory + "/model.safetensors"), file::read(straight.directory + "/model.safetensors"));
  EXPECT_EQ(file::read(rest.directory + "/rows/valid.jsonl"), file::read(straight.directory + "/rows/valid.jsonl"));
  EXPECT_EQ(rest.values, straight.values);
}

TEST_F(Run, FreshBeginsAnew) {
  const Outcome first = run(recipe());
  fs::create_directories(first.directory + "/old/deep");
  settings_.fresh = true;
  const Outcome second = run(recipe());
  EXPECT_FALSE(second.was_finished);
  EXPECT_EQ(second.values, first.values);
  EXPECT_FALSE(fs::exists(first.directory + "/old"));
}

TEST_F(Run, AChangedRecipeIsAnotherRunAndSaysSo) {
  run(recipe());
  ::testing::internal::CaptureStderr();
  const Outcome other = run(recipe({"learner.0.optimizer.lr=0.02", "stop=4 steps"}));
  const std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(other.directory, settings_.out + "/" + recipe().run_name());
  EXPECT_NE(said.find("differs from " + settings_.out + "/" + recipe().run_name()), std::string::npos) << said;
  EXPECT_NE(said.find("lr: 0.01 -> 0.02"), std::string::npos) << said;
  EXPECT_NE(said.find("stop: \"6 steps\" -> \"4 steps\""), std::string::npos) << said;
  // Another seed is no changed recipe.
  ::testing::internal::CaptureStderr();
  run(recipe({"seed=1"}));
  EXPECT_EQ(::testing::internal::GetCapturedStderr().find("differs"), std::string::npos);
}

TEST_F(Run, OneAtATimeInADirectory) {
  RunSettings first = settings_;
  int refused = 0;
  first.interrupted = [&] {
    expect_error([&] { run(recipe()); }, Code::checkpoint, "is in use by process " + std::to_string(getpid()), "lock",
                 "--out");
    ++refused;
    return false;
  };
  EXPECT_TRUE(run_recipe(recipe(), registry_, first).finished);
  EXPECT_EQ(refused, 6);
}

TEST_F(Run, WeightsCanBeReadWhileItTrains) {
  RunSettings training = settings_;
  const std::string directory = run_directory(recipe(), settings_.out);
  std::vector<NamedTensors> seen;
  training.interrupted = [&, step = 0]() mutable {
    if (++step == 4) std::ofstream(directory + "/checkpoints/.tmp-1-1-half") << "being written";
    if (step >= 4) seen.push_back(trained_weights(directory));  // the last save was after step 2, then after step 4
    if (step == 4) {
      EXPECT_TRUE(file::exists(directory + "/checkpoints/.tmp-1-1-half")) << "a reader removes nothing";
    }
    return false;
  };
  EXPECT_TRUE(run_recipe(recipe(), registry_, training).finished);
  ASSERT_EQ(seen.size(), 3U);
  EXPECT_FALSE(torch::equal(seen[0].back().second, seen[1].back().second)) << "step 2, then step 4";
  EXPECT_TRUE(torch::equal(seen[1].back().second, seen[2].back().second));
}

TEST_F(Run, ADamagedResultIsNamed) {
  const std::string directory = run(recipe()).directory;
  for (const char* bad : {"", "{", "[]", "null", R"({"values":3})", R"({"status":"finished"})"}) {
    std::ofstream(directory + "/result.json") << bad;
    expect_error([&] { run(recipe()); }, Code::checkpoint, "the result of this run can't be read", "result.json",
                 "--fresh");
  }
  settings_.fresh = true;
  EXPECT_TRUE(run(recipe()).finished);
}

TEST_F(Run, ACheckpointOfAnotherRecipeIsRefusedByName) {
  const std::string first = run_for(recipe(), 2).directory;
  const Recipe other = recipe({"learner.0.optimizer.lr=0.02"});
  fs::rename(first, settings_.out + "/" + other.run_name());
  expect_error([&] { run(other); }, Code::checkpoint,
               "the checkpoint is of recipe " + recipe().hash() + "-s0, this is " + other.hash() + "-s0", "checkpoints",
               "--fresh");
}

TEST_F(Run, MetricsThatWereCutAreNamed) {
  const std::string directory = run_for(recipe(), 4).directory;
  fs::resize_file(directory + "/metrics.jsonl", 10);
  expect_error([&] { run(recipe()); }, Code::checkpoint, "metrics.jsonl is shorter than the", "metrics.jsonl",
               "--fresh");
  fs::remove(directory + "/metrics.jsonl");
  expect_error([&] { run(recipe()); }, Code::checkpoint, "metrics.jsonl is shorter than the", "metrics.jsonl",
               "--fresh");
}

TEST_F(Run, LeavingsOfADeadWriterGo) {
  const std::string directory = run_for(recipe(), 2).directory;
  std::ofstream(directory + "/.model.safetensors.tmp-1-1") << "half";
  std::ofstream(directory + "/.result.json.tmp-1-1") << "half";
  run(recipe());
  for (const std::string& name : file::list(directory)) EXPECT_FALSE(file::is_temporary(name)) << name;
}

TEST_F(Run, AFolderThatCanNotBeWritten) {
  fs::create_directories(settings_.out);
  fs::permissions(settings_.out,
                  fs::perms::owner_read | fs::perms::owner_exec | fs::perms::others_read | fs::perms::others_exec);
  const bool is_root = geteuid() == 0;
  if (is_root && seteuid(65534) != 0) GTEST_SKIP() << "root may write anywhere";
  try {
    run(recipe());
    ADD_FAILURE() << "nothing was refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::io) << error.what();
    EXPECT_NE(error.hint().find("choose a place of your own with --out"), std::string::npos) << error.what();
  }
  if (is_root) {
    EXPECT_EQ(seteuid(0), 0);
  }
}

TEST_F(Run, WeightsOfFinishedAndUnfinishedRuns) {
  expect_error([&] { trained_weights(folder_.at("nothing")); }, Code::checkpoint, "there is no trained model",
               "nothing");
  const std::string directory = run_for(recipe(), 4).directory;
  const NamedTensors four = trained_weights(directory);
  ASSERT_FALSE(four.empty());
  const auto state = Checkpoints(directory).load(4).tensors;
  for (const auto& [name, value] : four) {
    const auto stored =
        std::find_if(state.begin(), state.end(), [&](const auto& s) { return s.first == "replica-0/net/" + name; });
    ASSERT_NE(stored, state.end()) << name;
    EXPECT_TRUE(torch::equal(stored->second, value)) << name;
  }
  fs::resize_file(directory + "/checkpoints/step-000000000004/state.safetensors", 99);
  EXPECT_FALSE(torch::equal(trained_weights(directory).back().second, four.back().second)) << "those of step 2";
  run(recipe());
  const auto model = read_safetensors(directory + "/model.safetensors").tensors;
  EXPECT_EQ(trained_weights(directory).size(), model.size());
  EXPECT_EQ(four.size(), model.size());
}

}  // namespace
}  // namespace etude::run_test
