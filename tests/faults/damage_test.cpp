// Checkpoints that were cut, flipped or exchanged are found out, named and left aside; states that
// no writer of ours made are refused.

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "etude/base/error.h"
#include "tests/faults/going_on.h"

namespace etude::faults {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class Damage : public ::testing::Test {
 protected:
  Damage() {
    never_sync();
    for (const int64_t step : {1, 2, 3}) checkpoints_.save(State(step).snapshot, 3);
    expected_ = bits(State(2).snapshot);
  }
  /// The damage must be found, name the step and the file, and step 2 must be taken.
  void expect_named(const std::string& file, const std::string& what) {
    std::vector<std::string> damage;
    const auto found = checkpoints_.load_latest(&damage);
    ASSERT_TRUE(found) << what;
    ASSERT_EQ(damage.size(), 1U) << what;
    EXPECT_TRUE(damage[0].starts_with("step 3: ")) << damage[0];
    EXPECT_NE(damage[0].find(file), std::string::npos) << damage[0];
    EXPECT_EQ(found->step, 2) << what;
    EXPECT_EQ(bits(*found), expected_) << what;
  }
  void flip(const std::string& path, const std::string& name, size_t every) {
    const std::string good = file::read(path);
    std::fstream out(path, std::ios::binary | std::ios::in | std::ios::out);
    for (size_t bit = 0; bit < 8 * good.size(); bit += every) {
      const auto put = [&](int byte) {
        out.seekp(static_cast<std::streamoff>(bit / 8));
        out.put(static_cast<char>(byte)).flush();
      };
      put(good[bit / 8] ^ (1 << bit % 8));
      expect_named(name, name + ", bit " + std::to_string(bit));
      put(good[bit / 8]);
    }
  }
  void cut(const std::string& path, const std::string& name, size_t every) {
    const std::string good = file::read(path);
    for (size_t length = 0; length < good.size(); length += length < 16 ? 1 : every) {
      fs::resize_file(path, length);
      expect_named(name, name + ", cut to " + std::to_string(length));
      std::ofstream(path, std::ios::binary) << good;
    }
    std::ofstream(path, std::ios::binary | std::ios::app) << '\0';
    expect_named(name, name + ", a byte more");
    std::ofstream(path, std::ios::binary) << good;
    fs::remove(path);
    expect_named(name, name + ", removed");
    fs::create_directory(path);
    expect_named(name, name + ", a directory");
    fs::remove(path);
    ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
    expect_named(name, name + ", a pipe");
    fs::remove(path);
    fs::create_symlink(path, path);
    expect_named(name, name + ", a link to itself");
    fs::remove(path);
    std::ofstream(path, std::ios::binary) << good;
  }
  std::string at(const std::string& name) const { return folder_.at("checkpoints/step-000000000003/" + name); }

  TestFolder folder_;
  Checkpoints checkpoints_{folder_.at("")};
  std::string expected_;
};

TEST_F(Damage, FlippedBits) {
  flip(at("manifest.json"), "manifest.json", 1);
  for (const char* name : {"state.safetensors", "state.json", "tails.safetensors"}) flip(at(name), name, 13);
  EXPECT_EQ(checkpoints_.load_latest()->step, 3);
}

TEST_F(Damage, CutFiles) {
  for (const char* name : {"manifest.json", "state.safetensors", "state.json", "tails.safetensors"}) {
    cut(at(name), name, 97);
  }
  EXPECT_EQ(checkpoints_.load_latest()->step, 3);
}

TEST_F(Damage, Segments) {
  // Its first chunk is that of step 2 too: both are named, step 1 has none.
  const std::string name = file::list(folder_.at("segments")).front();
  const std::string path = folder_.at("segments/" + name), good = file::read(path);
  for (size_t length = 0; length < good.size(); length += 997) {
    fs::resize_file(path, length);
    std::vector<std::string> damage;
    EXPECT_EQ(checkpoints_.load_latest(&damage)->step, 1);
    EXPECT_EQ(damage.size(), 2U);
    for (const std::string& what : damage) EXPECT_NE(what.find(name), std::string::npos) << what;
    std::ofstream(path, std::ios::binary) << good;
  }
}

TEST_F(Damage, FilesOfTwoStepsExchanged) {
  for (const char* name : {"manifest.json", "state.safetensors", "state.json", "tails.safetensors"}) {
    const std::string two = folder_.at("checkpoints/step-000000000002/" + std::string(name)),
                      aside = folder_.at("aside");
    const auto exchange = [&] {
      fs::rename(at(name), aside);
      fs::rename(two, at(name));
      fs::rename(aside, two);
    };
    exchange();
    std::vector<std::string> damage;
    EXPECT_EQ(checkpoints_.load_latest(&damage)->step, 1) << name;
    EXPECT_EQ(damage.size(), 2U) << name;
    exchange();
  }
}

class Restoring : public GoingOn {};

/// State that a writer of ours never made: refused with a place, never a crash.
TEST_F(Restoring, HostileState) {
  const Snapshot stopped = stop_after(2);
  std::vector<json::json_pointer> places;
  leaves(stopped.host, json::json_pointer(), places);
  for (const auto& [key, part] : stopped.host.items()) places.push_back(json::json_pointer() / key);
  places.push_back(json::json_pointer("/replicas/0"));
  places.push_back(json::json_pointer("/replicas/1/integers"));
  const std::vector<json> bad = {nullptr, json::array(), json::object(), "text", true};
  int refused = 0, tried = 0;
  for (size_t i = 0; i < places.size(); i += 2) {
    Snapshot other = stopped;
    other.host[places[i]] = bad[static_cast<size_t>(tried++) % bad.size()];
    refused += go_on(other).refused;
  }
  EXPECT_GT(refused, tried * 3 / 5);
  for (const auto& [key, part] : stopped.host.items()) {
    Snapshot other = stopped;
    other.host.erase(key);
    EXPECT_TRUE(go_on(other).refused) << key;
  }
  for (const char* whole : {"null", "[]", "3", "{}"}) {
    Snapshot other = stopped;
    other.host = json::parse(whole);
    EXPECT_TRUE(go_on(other).refused) << whole;
  }
}

TEST_F(Restoring, ForeignState) {
  const Snapshot stopped = stop_after(2);
  const auto expect_refused = [&](const std::function<void(Snapshot&)>& change, const std::string& said) {
    Snapshot other = stopped;
    change(other);
    Surroundings around;
    around.directory = folder_.at("foreign");
    file::remove_all(around.directory);
    file::make_directories(around.directory);
    std::ofstream(around.directory + "/metrics.jsonl", std::ios::binary) << metrics_;
    Checkpoints(around.directory).save(other, 1);
    try {
      const TrainStage stage = make_stage(recipe_, registry_);
      fit(stage, around);
      ADD_FAILURE() << "accepted; expected: " << said;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::checkpoint) << error.what();
      EXPECT_NE(error.message().find(said), std::string::npos) << error.what();
      EXPECT_NE(error.where().find("step 2"), std::string::npos) << error.what();
      EXPECT_NE(error.hint().find("--fresh"), std::string::npos) << error.what();
    }
  };
  const Segments none;
  expect_refused([](Snapshot& s) { s.host["replicas"].erase(1); }, "holds 1 replicas, the recipe 2");
  expect_refused([](Snapshot& s) { s.host["stage"] = "tune"; }, "is of stage 'tune', this is 'train'");
  expect_refused([](Snapshot& s) { s.tensors.erase(s.tensors.begin()); }, "lacks tensor 'replica-0/net/model/");
  expect_refused([](Snapshot& s) { s.tensors.emplace_back("replica-0/net/model/more", torch::ones({1})); },
                 "no place for tensor 'replica-0/net/model/more'");
  expect_refused([](Snapshot& s) { s.tensors.emplace_back("replica-7/store/x", torch::ones({1})); },
                 "no place for tensor 'replica-7/store/x'");
  expect_refused([](Snapshot& s) { s.tensors[0].second = torch::ones({3}); }, "is Float[3] in the checkpoint, Float[");
  expect_refused([](Snapshot& s) { s.tensors[0].second = s.tensors[0].second.to(torch::kFloat64); }, "is Double[");
  expect_refused([&](Snapshot& s) { s.segments["replica-x/y"] = &none; }, "no place for the memory 'replica-x/y'");
  expect_refused([](Snapshot& s) { s.host["counters"].push_back(1.0); }, "11 counters instead of 10");
  expect_refused([](Snapshot& s) { s.host["evaluated_at"] = 1.5; }, "1.5 is no whole number");
}

}  // namespace
}  // namespace etude::faults
