#include "etude/train/checkpoint.h"

#include "etude/base/torch_pch.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "etude/base/error.h"
#include "etude/base/file.h"
#include "etude/base/testing.h"
#include "etude/tensor/safetensors.h"
#include "etude/train/sealed.h"

namespace etude::checkpoint_test {
namespace {

namespace fs = std::filesystem;

Snapshot state(int64_t step, const Segments* memory = nullptr) {
  Snapshot made;
  made.step = step;
  made.tensors = {{"w", torch::arange(6, torch::kFloat64).view({2, 3}) * static_cast<double>(step)},
                  {"n", torch::tensor(step)}};
  made.host = {{"third", static_cast<double>(step) / 3}, {"odd", std::nan("")}};
  if (memory) made.segments["replica-0/memory"] = memory;
  return made;
}

void grow(Segments& memory, int64_t to) {
  if (to <= memory.size()) return;
  memory.append({{"id", torch::arange(memory.size(), to)}});
}

class CheckpointFiles : public ::testing::Test {
 protected:
  std::string step(int64_t number, int attempt = 1) const {
    char text[64];
    std::snprintf(text, sizeof text, "checkpoints/step-%012lld", static_cast<long long>(number));
    return text + (attempt == 1 ? std::string() : "." + std::to_string(attempt));
  }
  std::vector<std::string> listed(const std::string& below) const { return file::list(folder_.at(below)); }
  /// Changes the body of a manifest, sealing it again.
  void reseal(int64_t number, const std::function<void(nlohmann::json&)>& change) const {
    nlohmann::json body = sealed::read_manifest(folder_.at(step(number)));
    change(body);
    const std::string text = body.dump();
    folder_.write(step(number) + "/manifest.json",
                  "{\"sha256\":\"" + file::sha256(text) + "\",\"body\":" + text + "}\n");
  }
  void expect_step(const Snapshot& found, int64_t number) const {
    const Snapshot expected = state(number);
    EXPECT_EQ(found.step, number);
    ASSERT_EQ(found.tensors.size(), 2U);
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_EQ(found.tensors[i].first, expected.tensors[i].first);
      EXPECT_TRUE(torch::equal(found.tensors[i].second, expected.tensors[i].second));
    }
    EXPECT_EQ(found.host["third"].get<double>(), expected.host["third"].get<double>());
    EXPECT_TRUE(std::isnan(found.host["odd"].get<double>()));
  }
  TestFolder folder_;
  Checkpoints checkpoints_{folder_.path()};
};

TEST_F(CheckpointFiles, ThereAndBack) {
  EXPECT_FALSE(checkpoints_.load_latest());
  EXPECT_TRUE(checkpoints_.steps().empty());
  expect_error([&] { checkpoints_.load(3); }, Code::checkpoint, "no checkpoint of step 3", "checkpoints",
               "none at all");
  checkpoints_.save(state(3), 2);
  checkpoints_.save(state(5), 2);
  expect_step(*checkpoints_.load_latest(), 5);
  expect_step(checkpoints_.load(3), 3);
  expect_step(*Checkpoints(folder_.path()).load_latest(), 5);
  expect_error([&] { checkpoints_.load(4); }, Code::checkpoint, "no checkpoint of step 4", "checkpoints", "3, 5");
}

TEST_F(CheckpointFiles, KeepsTheNewestAndMilestones) {
  for (int64_t s = 1; s <= 6; ++s) checkpoints_.save(state(s), 2, s == 2);
  EXPECT_EQ(checkpoints_.steps(), (std::vector<int64_t>{2, 5, 6}));
  checkpoints_.save(state(7), 0);
  EXPECT_EQ(checkpoints_.steps(), (std::vector<int64_t>{2, 7})) << "at least the newest one";
  // By step, never by time.
  fs::last_write_time(folder_.at(step(7)), fs::file_time_type::clock::now() - std::chrono::hours(1000));
  expect_step(*checkpoints_.load_latest(), 7);
}

TEST_F(CheckpointFiles, SavingAStepAgainReplacesIt) {
  checkpoints_.save(state(4), 2, true);
  Snapshot other = state(4);
  other.tensors[0].second = torch::ones({1});
  checkpoints_.save(other, 2);
  EXPECT_EQ(listed("checkpoints"), std::vector<std::string>{step(4, 2).substr(12)});
  EXPECT_TRUE(torch::equal(checkpoints_.load_latest()->tensors[0].second, torch::ones({1})));
  for (int64_t s = 5; s <= 8; ++s) checkpoints_.save(state(s), 1);
  EXPECT_EQ(checkpoints_.steps(), (std::vector<int64_t>{4, 8})) << "it stays a milestone";
}

TEST_F(CheckpointFiles, LaterStepsAreGivenUp) {
  for (const int64_t s : {1, 5, 9}) checkpoints_.save(state(s), 9, s == 9);
  checkpoints_.save(state(3), 9);
  EXPECT_EQ(checkpoints_.steps(), (std::vector<int64_t>{1, 3}));
}

TEST_F(CheckpointFiles, DamageIsNamedAndThePreviousOneUsed) {
  for (int64_t s = 1; s <= 4; ++s) checkpoints_.save(state(s), 9);
  fs::resize_file(folder_.at(step(4) + "/state.safetensors"), 12);
  fs::remove(folder_.at(step(3) + "/manifest.json"));
  std::vector<std::string> damage;
  expect_step(*checkpoints_.load_latest(&damage), 2);
  ASSERT_EQ(damage.size(), 2U);
  EXPECT_NE(damage[0].find("step 4: state.safetensors has 12 bytes, expected"), std::string::npos) << damage[0];
  EXPECT_NE(damage[1].find("step 3: manifest.json is missing"), std::string::npos) << damage[1];
  expect_error([&] { checkpoints_.load(4); }, Code::checkpoint, "state.safetensors has 12 bytes", "step-000000000004");
}

TEST_F(CheckpointFiles, DamagedOnesAreNotCountedAndGo) {
  for (int64_t s = 1; s <= 3; ++s) checkpoints_.save(state(s), 3);
  fs::remove(folder_.at(step(2) + "/manifest.json"));
  checkpoints_.save(state(4), 3);
  EXPECT_EQ(checkpoints_.steps(), (std::vector<int64_t>{1, 3, 4}));
}

TEST_F(CheckpointFiles, SwappedFilesAndDirectoriesAreDetected) {
  for (int64_t s = 1; s <= 3; ++s) checkpoints_.save(state(s), 9);
  const auto swap = [&](const std::string& a, const std::string& b) {
    fs::rename(folder_.at(a), folder_.at("aside"));
    fs::rename(folder_.at(b), folder_.at(a));
    fs::rename(folder_.at("aside"), folder_.at(b));
  };
  for (const char* name : {"/state.safetensors", "/state.json", "/manifest.json"}) {
    swap(step(2) + name, step(3) + name);
    std::vector<std::string> damage;
    expect_step(*checkpoints_.load_latest(&damage), 1);
    EXPECT_EQ(damage.size(), 2U) << name;
    swap(step(2) + name, step(3) + name);
  }
  swap(step(2), step(3));
  std::vector<std::string> damage;
  expect_step(*checkpoints_.load_latest(&damage), 1);
  ASSERT_EQ(damage.size(), 2U);
  EXPECT_NE(damage[0].find("the manifest is of step 2"), std::string::npos) << damage[0];
}

TEST_F(CheckpointFiles, ForeignOnesAreRefusedNotRemoved) {
  checkpoints_.save(state(1), 9);
  checkpoints_.save(state(2), 9);
  reseal(2, [](nlohmann::json& body) { body["schema"] = 77; });
  expect_error([&] { checkpoints_.load_latest(); }, Code::checkpoint, "has schema 77, this version reads 2",
               "step-000000000002", "--fresh");
  expect_error([&] { checkpoints_.load(2); }, Code::checkpoint, "schema 77", "step-000000000002");
  checkpoints_.save(state(3), 1);
  EXPECT_EQ(checkpoints_.steps(), (std::vector<int64_t>{2, 3}));
}

TEST_F(CheckpointFiles, OtherNamesAreLeftAlone) {
  for (const char* name :
       {"step-4", "step-000000000004.old", "step-000000000004.1", "step--00000000004", "step-000000000004.-3",
        "step-000000000004.2147483647", "step-99999999999999999999", "notes"}) {
    folder_.write(std::string("checkpoints/") + name + "/manifest.json", "x");
  }
  const size_t before = listed("checkpoints").size();
  EXPECT_TRUE(checkpoints_.steps().empty());
  checkpoints_.save(state(4), 1);
  EXPECT_EQ(listed("checkpoints").size(), before + 1);
  expect_step(*checkpoints_.load_latest(), 4);
}

/// Manifests that are sealed but say what no writer of ours does: an error or the previous one, never a crash, and
/// saving goes on.
TEST_F(CheckpointFiles, HostileManifests) {
  using nlohmann::json;
  const std::vector<std::function<void(json&)>> changes = {
      [](json& body) { body.erase("step"); },
      [](json& body) { body["step"] = "2"; },
      [](json& body) { body["step"] = nullptr; },
      [](json& body) { body.erase("segments"); },
      [](json& body) { body["segments"] = 3; },
      [](json& body) { body["segments"] = json::array({1}); },
      [](json& body) {
        body["segments"] = {{"m", nullptr}};
      },
      [](json& body) {
        body["segments"] = {{"m", {{"full", 3}, {"tail", nullptr}}}};
      },
      [](json& body) {
        body["segments"] = {{"m", {{"full", {{{"sha256", 7}}}}, {"tail", nullptr}}}};
      },
      [](json& body) {
        body["segments"] = {{"m", {{"full", {{{"sha256", "../../x"}, {"bytes", 1}}}}, {"tail", nullptr}}}};
      },
      [](json& body) {
        body["segments"] = {{"m", {{"full", json::array()}, {"tail", 5}}}};
      },
      [](json& body) {
        body["segments"] = {{"m", {{"full", json::array()}, {"tail", "0/"}}}};
      },
      [](json& body) { body["files"] = json::object(); },
      [](json& body) { body["files"]["state.json"] = 1; },
      [](json& body) { body["files"]["state.json"]["bytes"] = -1; },
      [](json& body) { body["files"]["tails.safetensors"] = body["files"]["state.json"]; }};
  for (size_t i = 0; i < changes.size(); ++i) {
    SCOPED_TRACE(i);
    checkpoints_.save(state(1), 9);
    checkpoints_.save(state(2), 9);
    reseal(2, changes[i]);
    std::vector<std::string> damage;
    expect_step(*checkpoints_.load_latest(&damage), 1);
    EXPECT_EQ(damage.size(), 1U);
    try {
      checkpoints_.load(2);
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::checkpoint) << error.what();
    }
    checkpoints_.save(state(3), 2);
    expect_step(*checkpoints_.load_latest(), 3);
    file::remove_all(folder_.at("checkpoints"));
  }
}

TEST_F(CheckpointFiles, SegmentsAreWrittenOnceSharedAndCollected) {
  Segments memory;
  grow(memory, Segments::kChunk + 5);
  checkpoints_.save(state(1, &memory), 9);
  ASSERT_EQ(listed("segments").size(), 1U);
  const std::string first = folder_.at("segments/" + listed("segments")[0]);
  const auto written = fs::last_write_time(first);
  fs::last_write_time(first, written - std::chrono::hours(1));
  grow(memory, 2 * Segments::kChunk);
  checkpoints_.save(state(2, &memory), 9);
  EXPECT_EQ(listed("segments").size(), 2U);
  Checkpoints(folder_.path()).save(state(3, &memory), 9);  // another process, which does not know what was written
  EXPECT_EQ(listed("segments").size(), 2U);
  EXPECT_EQ(fs::last_write_time(first), written - std::chrono::hours(1)) << "written again";

  for (const int64_t step : {1, 2, 3}) {
    const Snapshot found = checkpoints_.load(step);
    const Segments& back = found.loaded_segments.at("replica-0/memory");
    EXPECT_EQ(back.size(), step == 1 ? Segments::kChunk + 5 : 2 * Segments::kChunk);
    EXPECT_EQ(back.get({Segments::kChunk + 4}).at("id").item<int64_t>(), Segments::kChunk + 4);
  }

  // Only checkpoints without a memory are left: its chunks go.
  checkpoints_.save(state(4), 1);
  EXPECT_TRUE(listed("segments").empty());
}

TEST_F(CheckpointFiles, ADamagedSegmentIsNamedAndWrittenAgain) {
  Segments memory;
  grow(memory, Segments::kChunk);
  checkpoints_.save(state(1), 9);
  checkpoints_.save(state(2, &memory), 9);
  const std::string name = listed("segments").at(0);
  std::string bytes = file::read(folder_.at("segments/" + name));
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 4);
  folder_.write("segments/" + name, bytes);
  std::vector<std::string> damage;
  expect_step(*checkpoints_.load_latest(&damage), 1);
  ASSERT_EQ(damage.size(), 1U);
  EXPECT_NE(damage[0].find(name), std::string::npos) << damage[0];
  Checkpoints(folder_.path()).save(state(3, &memory), 9);
  EXPECT_EQ(checkpoints_.load_latest()->loaded_segments.at("replica-0/memory").size(), Segments::kChunk);
}

TEST_F(CheckpointFiles, TwoMemoriesStayApart) {
  Segments one, two;
  one.append({{"x", torch::ones({3})}});
  two.append({{"x", torch::zeros({4, 2}, torch::kInt8)}, {"y", torch::arange(4)}});
  Snapshot made = state(1);
  made.segments = {{"a", &one}, {"a/b", &two}, {"c d", &one}};
  const Segments none;
  made.segments["none"] = &none;
  checkpoints_.save(made, 1);
  const Snapshot found = *checkpoints_.load_latest();
  ASSERT_EQ(found.loaded_segments.size(), 4U);
  EXPECT_EQ(found.loaded_segments.at("none").size(), 0);
  EXPECT_EQ(found.loaded_segments.at("a").size(), 3);
  EXPECT_EQ(found.loaded_segments.at("c d").size(), 3);
  EXPECT_TRUE(torch::equal(found.loaded_segments.at("a/b").get({0, 1, 2, 3}).at("y"), torch::arange(4)));
}

TEST_F(CheckpointFiles, AFailedSaveLeavesTheOlderOnes) {
  Segments small, large;
  grow(small, Segments::kChunk + 3);
  grow(large, 2 * Segments::kChunk + 3);
  for (const char* fault : {"enospc", "eio"}) {
    int failures = 0;
    bool struck = true;
    for (int64_t n = 1; struck; ++n) {
      SCOPED_TRACE(fault + std::string(" ") + std::to_string(n));
      checkpoints_.save(state(1, &small), 1);
      const auto before = listed("checkpoints"), chunks = listed("segments");
      bool failed = false;
      file::inject(file::Injection::parse("io:" + std::to_string(n) + ":" + fault));
      try {
        Checkpoints(folder_.path()).save(state(2, &large), 2);
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), Code::io) << error.what();
        failed = true;
      }
      struck = file::operations() >= n;
      file::inject({});
      failures += failed;
      if (failed) {
        EXPECT_EQ(listed("checkpoints"), before);
        EXPECT_EQ(listed("segments"), chunks);
      }
      expect_step(*Checkpoints(folder_.path()).load_latest(), failed ? 1 : 2);
      file::remove_all(folder_.at("checkpoints"));
      file::remove_all(folder_.at("segments"));
    }
    EXPECT_GT(failures, 15);
  }
}

}  // namespace
}  // namespace etude::checkpoint_test
