#pragma once
// A run that is stopped, and goes on from what a test made of its checkpoint.

#include "tests/faults/faults.h"

#include <gtest/gtest.h>

#include "etude/base/error.h"
#include "etude/base/log.h"
#include "etude/train/trainer.h"
#include "tests/support/resume.h"

namespace etude::faults {

/// What comes of a run that goes on from a checkpoint.
struct Resumed {
  std::string bits;
  bool refused = false;
};

class GoingOn : public ::testing::Test {
 protected:
  GoingOn() {
    never_sync();
    set_log({.verbosity = Verbosity::quiet});
  }
  /// Stops a run after this many steps and keeps its state.
  Snapshot stop_after(int steps) {
    const std::string directory = folder_.at("stopped" + std::to_string(steps));
    Surroundings around;
    around.directory = directory;
    around.recipe = "small";
    around.interrupted = [done = 0, steps]() mutable { return ++done == steps; };
    const TrainStage stage = make_stage(recipe_, registry_);
    fit(stage, around);
    metrics_ = file::read(directory + "/metrics.jsonl");
    return *Checkpoints(directory).load_latest();
  }
  Resumed go_on(Snapshot from) {
    Surroundings around;
    around.directory = folder_.at("resumed");
    around.recipe = "small";
    file::remove_all(around.directory);
    file::make_directories(around.directory);
    std::ofstream(around.directory + "/metrics.jsonl", std::ios::binary) << metrics_;
    for (const auto& [name, rows] : from.loaded_segments) from.segments[name] = &rows;
    const int64_t step = from.step;
    Checkpoints(around.directory).save(from, 1);
    try {
      const TrainStage stage = make_stage(recipe_, registry_);
      const Fit result = fit(stage, around);
      // Of a checkpoint that nothing was added to, only what came out of it counts.
      test::Print print = test::print(result, result.counters.step() == step ? folder_.at("none") : around.directory);
      std::ifstream in(around.directory + "/metrics.jsonl");
      print.lines.clear();
      for (std::string line; std::getline(in, line);) print.lines += test::without_seconds(line) + "\n";
      std::string all = to_safetensors(print.tensors) + sealed::to_text(print.host) + print.lines;
      all += sealed::to_text(result.values);
      for (const MetricLine& line : result.lines) all += test::without_seconds(line.json());
      for (const auto& [name, rows] : result.rows) {
        for (const Row& row : rows) all += sealed::to_text({name, row.id, row.value, row.weight});
      }
      return {file::sha256(all), false};
    } catch (const Error& error) {
      EXPECT_TRUE(error.code() == Code::checkpoint || error.code() == Code::config) << error.what();
      return {"", true};
    }
  }

  TestFolder folder_;
  Registry registry_ = full_registry();
  Recipe recipe_ = small_recipe(write_text(folder_.at("text.txt")), registry_);
  std::string metrics_;
};

/// All places of a JSON value that hold no other ones; of a long list of rows the first two.
inline void leaves(const nlohmann::json& value, const nlohmann::json::json_pointer& at,
                   std::vector<nlohmann::json::json_pointer>& found) {
  if (!value.is_structured()) {
    found.push_back(at);
    return;
  }
  for (const auto& [key, part] : value.items()) {
    if (value.is_array() && part.is_array() && std::stoul(key) > 1) continue;
    leaves(part, value.is_array() ? at / std::stoul(key) : at / key, found);
  }
}

}  // namespace etude::faults
