// Death and failure at every file operation of a save: afterwards the newest checkpoint is that of the last save
// that returned, or of the one that was on its way, with exactly its bits, and a run goes on to the same end.

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "etude/base/error.h"
#include "etude/base/log.h"
#include "etude/train/run.h"
#include "etude/train/testing.h"
#include "tests/faults/faults.h"
#include "tests/support/resume.h"

namespace etude::faults {
namespace {

namespace fs = std::filesystem;

class Death : public ::testing::Test {
 protected:
  Death() {
    never_sync();
    at::set_num_threads(1);  // children are forked: there must be no other threads
    for (const int64_t step : {1, 2}) save(folder_.at("base"), step);
    for (const int64_t step : {1, 2, 3, 4}) expected_[step] = bits(State(step).snapshot);
  }
  static void save(const std::string& directory, int64_t step) { Checkpoints(directory).save(State(step).snapshot, 2); }
  std::string copy_of_base() const {
    const std::string directory = folder_.at("run");
    file::remove_all(directory);
    fs::copy(folder_.at("base"), directory, fs::copy_options::recursive);
    return directory;
  }
  /// Saves steps 3 and 4 in a child that dies at operation n; the number of saves that returned.
  static int64_t die_in(const std::string& directory, const file::Injection& injection) {
    int returned[2];
    EXPECT_EQ(pipe(returned), 0);
    const pid_t child = fork();
    if (child == 0) {
      Checkpoints checkpoints(directory);
      const State three(3), four(4);
      file::inject(injection);
      for (const State* state : {&three, &four}) {
        checkpoints.save(state->snapshot, 2);
        if (write(returned[1], "x", 1) != 1) _exit(1);
      }
      _exit(0);
    }
    close(returned[1]);
    int64_t saves = 0;
    char byte = 0;
    while (read(returned[0], &byte, 1) == 1) ++saves;
    close(returned[0]);
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(WEXITSTATUS(status), 137);
    return saves;
  }
  static void expect_nothing_aside(const std::string& directory) {
    for (const char* part : {"/checkpoints", "/segments"}) {
      for (const std::string& name : file::list(directory + part)) EXPECT_FALSE(file::is_temporary(name)) << name;
    }
  }

  TestFolder folder_;
  std::map<int64_t, std::string> expected_;
};

TEST_F(Death, AtEveryOperationOfASave) {
  const std::string straight = copy_of_base();
  Checkpoints counted(straight);
  never_sync();  // counts from here on
  for (const int64_t step : {3, 4}) counted.save(State(step).snapshot, 2);
  const int64_t operations = file::operations();
  const auto checkpoints = file::list(straight + "/checkpoints"), segments = file::list(straight + "/segments");
  EXPECT_GE(operations, 30);

  int points = 0;
  std::map<int64_t, int> survived;
  for (const auto fault : {file::Injection::Fault::kill, file::Injection::Fault::powercut}) {
    for (int64_t n = 1; n <= operations; ++n, ++points) {
      SCOPED_TRACE((fault == file::Injection::Fault::kill ? "kill at " : "power cut at ") + std::to_string(n));
      const std::string directory = copy_of_base();
      const int64_t returned = 2 + die_in(directory, {n, fault});
      Checkpoints after(directory);
      expect_nothing_aside(directory);
      std::vector<std::string> damage;
      const auto found = after.load_latest(&damage);
      ASSERT_TRUE(found);
      EXPECT_TRUE(damage.empty()) << damage.front();
      EXPECT_TRUE(found->step == returned || found->step == returned + 1) << found->step << " after " << returned;
      EXPECT_EQ(bits(*found), expected_[found->step]);
      ++survived[found->step - returned];
      if (found->step == 4) continue;
      for (int64_t step = found->step + 1; step <= 4; ++step) after.save(State(step).snapshot, 2);
      EXPECT_EQ(bits(*after.load_latest()), expected_[4]);
      EXPECT_EQ(file::list(directory + "/checkpoints"), checkpoints);
      EXPECT_EQ(file::list(directory + "/segments"), segments);
    }
  }
  EXPECT_GE(points, 60);
  EXPECT_GT(survived[0], 0);
  EXPECT_GT(survived[1], 0);
  std::cout << points << " deaths: " << survived[0] << " left the save before, " << survived[1] << " the new one\n";
}

/// The journal of the power cut really drops what was not synced: a writer without fsync must lose.
TEST_F(Death, APowerCutTakesWhatWasNotSynced) {
  const std::string directory = copy_of_base();
  const pid_t child = fork();
  if (child == 0) {
    file::inject({3, file::Injection::Fault::powercut});
    file::Writer out(directory + "/unsynced", file::Writer::Mode::create);
    out.write("x");
    out.write("y");
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 137);
  EXPECT_FALSE(file::exists(directory + "/unsynced"));
}

TrainStage stage_with_saves() {
  TrainStage stage = test::regression();
  stage.checkpoint.every = Count{3, Unit::steps};
  return stage;
}

/// A full or failing disk at every operation of a run: a periodic save that fails is a warning, and the run ends in
/// the same bits; any other failure is an error, after which the same command goes on to the same bits.
TEST(FailingDisk, StopsNoRunThatCanGoOn) {
  const TestFolder folder;
  set_log({.verbosity = Verbosity::quiet});
  Surroundings around;
  around.directory = folder.at("straight");
  const TrainStage stage = stage_with_saves();
  file::inject({});
  const test::Print expected = test::print(fit(stage, around), around.directory);
  const int64_t operations = file::operations();
  int went_on = 0, stopped = 0;
  for (const auto fault : {file::Injection::Fault::enospc, file::Injection::Fault::eio}) {
    // Every second one of each kind; the unit tests of checkpoints have all of a save.
    for (int64_t n = fault == file::Injection::Fault::eio ? 1 : 2; n <= operations; n += 2) {
      SCOPED_TRACE((fault == file::Injection::Fault::eio ? "eio at " : "enospc at ") + std::to_string(n));
      around.directory = folder.at("run");
      file::remove_all(around.directory);
      const TrainStage own = stage_with_saves();
      std::optional<test::Print> found;
      file::inject({n, fault});
      try {
        const Fit result = fit(own, around);
        file::inject({});
        found = test::print(result, around.directory);
        ++went_on;
      } catch (const Error& error) {
        file::inject({});
        EXPECT_EQ(error.code(), Code::io) << error.what();
        EXPECT_FALSE(error.where().empty());
        ++stopped;
        std::vector<std::string> damage;
        if (file::is_directory(around.directory)) Checkpoints(around.directory).load_latest(&damage);
        EXPECT_TRUE(damage.empty()) << damage.front();
        const TrainStage again = stage_with_saves();
        found = test::print(fit(again, around), around.directory);
      }
      for (const std::string& problem : test::difference(expected, *found)) ADD_FAILURE() << problem;
      for (const std::string& name : file::list(around.directory + "/checkpoints")) {
        EXPECT_FALSE(file::is_temporary(name)) << name;
      }
    }
  }
  EXPECT_GT(went_on, 20);
  EXPECT_GT(stopped, 20);
  std::cout << operations << " failures: " << went_on << " runs went on, " << stopped << " stopped\n";
}

TEST(FailingDisk, SaysWhatWasNotSavedAndSavesTheNextTime) {
  const TestFolder folder;
  set_log({.verbosity = Verbosity::quiet});
  Surroundings around;
  around.directory = folder.at("run");
  const TrainStage stage = stage_with_saves();
  bool failed = false;
  around.interrupted = [&] {
    if (!failed) file::inject({6, file::Injection::Fault::enospc});  // within the save that follows step 3
    failed = true;
    return false;
  };
  ::testing::internal::CaptureStderr();
  EXPECT_TRUE(fit(stage, around).finished);
  const std::string said = ::testing::internal::GetCapturedStderr();
  file::inject({});
  EXPECT_EQ(Checkpoints(around.directory).steps(), (std::vector<int64_t>{6, 8}));
  EXPECT_NE(said.find("step 3 is not saved, training goes on: "), std::string::npos) << said;
  EXPECT_NE(said.find("the disk is full: free some space"), std::string::npos) << said;
  EXPECT_EQ(said.find("step 6 is not saved"), std::string::npos) << said;
}

/// The end of a run: result.json says that it is finished, so nothing before it may be half there.
TEST(FailingDisk, LeavesNoHalfFinishedRun) {
  const TestFolder folder;
  set_log({.verbosity = Verbosity::quiet});
  const Registry registry = full_registry();
  const Recipe recipe = small_recipe(write_text(folder.at("text.txt")), registry);
  RunSettings settings;
  settings.out = folder.at("straight");
  file::inject({});
  const Outcome straight = run_recipe(recipe, registry, settings);
  const int64_t operations = file::operations();
  const std::string model = file::read(straight.directory + "/model.safetensors");
  settings.out = folder.at("runs");
  for (int64_t n = operations; n > 0; n -= n > operations - 26 ? 2 : 131) {
    const auto fault = n % 4 < 2 ? file::Injection::Fault::enospc : file::Injection::Fault::eio;
    SCOPED_TRACE(n);
    file::remove_all(settings.out);
    file::inject({n, fault});
    bool failed = false;
    try {
      run_recipe(recipe, registry, settings);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::io) << error.what();
      failed = true;
    }
    file::inject({});
    const std::string directory = run_directory(recipe, settings.out);
    // The very last operation may fail on a run that is whole already, only not known to be durable.
    if (!failed || n < operations) {
      EXPECT_EQ(is_finished(directory), !failed);
    }
    if (file::exists(directory + "/model.safetensors")) {
      EXPECT_EQ(file::read(directory + "/model.safetensors"), model);
    }
    EXPECT_TRUE(run_recipe(recipe, registry, settings).finished);
    EXPECT_EQ(file::read(directory + "/model.safetensors"), model);
    EXPECT_EQ(file::read(directory + "/rows/valid.jsonl"), file::read(straight.directory + "/rows/valid.jsonl"));
  }
}

}  // namespace
}  // namespace etude::faults
