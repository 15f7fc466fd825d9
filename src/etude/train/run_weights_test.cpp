#include <gtest/gtest.h>

#include <fstream>

#include "etude/base/testing.h"
#include "etude/tensor/safetensors.h"
#include "etude/train/ema.h"
#include "etude/train/run.h"
#include "etude/train/testing.h"

namespace etude::run_weights_test {
namespace {

using namespace etude::test;

/// Two replicas and a frozen net, saved after every second of eight steps; all but the oldest are kept.
class RunWeights : public ::testing::Test {
 protected:
  RunWeights() {
    TrainStage stage = regression();
    stage.replicas = 2;
    stage.nets.push_back(mlp("teacher", {3, 2}, "frozen"));
    stage.checkpoint.every = Count{2, Unit::steps};
    stage.checkpoint.keep = 3;
    stage.with = {std::make_shared<Ema>(EmaOptions{})};
    fit(stage, {.directory = run_});
  }
  /// The mean of three values by name, in plain doubles.
  void expect_mean(const NamedTensors& found, const std::vector<int64_t>& steps) const {
    std::map<std::string, Tensor> sums;
    for (const int64_t step : steps)
      for (const auto& [name, value] : Checkpoints(run_).load(step).tensors)
        for (const std::string prefix : {"replica-0/net/", "frozen/"})
          if (name.starts_with(prefix)) {
            Tensor& sum = sums[name.substr(prefix.size())];
            sum = sum.defined() ? sum + value : value;
          }
    ASSERT_EQ(found.size(), sums.size());
    ASSERT_EQ(found.size(), 6U);
    for (const auto& [name, value] : found)
      EXPECT_TRUE(torch::allclose(value, sums.at(name) / static_cast<double>(steps.size()), 1e-14, 0)) << name;
  }

  TestFolder folder_;
  std::string run_ = folder_.at("run");
};

TEST_F(RunWeights, AverageIsThatOfTheNewestCheckpoints) {
  ASSERT_EQ(Checkpoints(run_).steps(), (std::vector<int64_t>{4, 6, 8}));
  expect_mean(averaged_weights(run_, 3), {4, 6, 8});
  expect_mean(averaged_weights(run_, 2), {6, 8});
  expect_mean(averaged_weights(run_, 1), {8});
  expect_mean(average_of_steps(run_, {4, 8}), {4, 8});
  // The steps differ, so that the means do.
  EXPECT_FALSE(torch::equal(averaged_weights(run_, 2)[0].second, averaged_weights(run_, 3)[0].second));
}

TEST_F(RunWeights, NewestAloneIsWhatWasTrained) {
  const NamedTensors newest = averaged_weights(run_, 1), trained = trained_weights(run_);
  EXPECT_EQ(trained.size(), newest.size() + 4);  // and model@ema
  for (const auto& [name, value] : newest) {
    const auto same = [&, key = name](const auto& entry) { return entry.first == key; };
    const auto it = std::find_if(trained.begin(), trained.end(), same);
    ASSERT_NE(it, trained.end()) << name;
    EXPECT_TRUE(torch::equal(it->second, value)) << name;
  }
}

TEST_F(RunWeights, WhatIsNotThereIsSaid) {
  expect_error([&] { averaged_weights(run_, 5); }, Code::checkpoint,
               "the mean of 5 checkpoints is wanted, and there are 3", run_, "checkpoint.keep");
  expect_error([&] { averaged_weights(folder_.at("nothing"), 1); }, Code::checkpoint, "and there are 0", "nothing");
  expect_error(
      [&] {
        average_of_steps(run_, {4, 5});
      },
      Code::checkpoint, "there is no checkpoint of step 5", run_, "there are: 4, 6, 8");
}

TEST_F(RunWeights, DamageIsNotAveraged) {
  const std::string state = run_ + "/checkpoints/step-000000000006/state.safetensors";
  std::string bytes = file::read(state);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  std::ofstream(state, std::ios::binary) << bytes;
  expect_error([&] { averaged_weights(run_, 3); }, Code::checkpoint, "state.safetensors", "step-000000000006");
  expect_mean(averaged_weights(run_, 1), {8});
}

}  // namespace
}  // namespace etude::run_weights_test
