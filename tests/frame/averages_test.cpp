// The moving average beside a method: NoLoCo trains as it would without it, over ranks and resumes too.

#include <gtest/gtest.h>

#include "tests/faults/faults.h"
#include "tests/ranks/worlds.h"
#include "tests/support/resume.h"

namespace etude::averages_test {
namespace {

class Averages : public ::testing::Test {
 protected:
  Averages() : text_(faults::write_text(folder_.at("text.txt"))) { at::set_num_threads(1); }
  Recipe recipe(bool averages) const {
    Recipe made = faults::small_recipe(text_, registry_);
    if (!averages) return made;
    const std::string with = "\n[[with]]\nkind = \"ema\"\ndecay = 0.8\n";
    return read_recipe(to_toml(made.resolved) + with, "small.toml", {}, "", {}, registry_);
  }

  TestFolder folder_;
  Registry registry_ = faults::full_registry();
  std::string text_;
};

TEST_F(Averages, ChangeNothingOfTheMethod) {
  const Fit with = fit(make_stage(recipe(true), registry_)), without = fit(make_stage(recipe(false), registry_));
  std::map<std::string, Tensor> all(with.artifact.tensors.begin(), with.artifact.tensors.end());
  for (const auto& [name, value] : without.artifact.tensors) {
    ASSERT_TRUE(all.count(name)) << name;
    EXPECT_TRUE(torch::equal(all.at(name), value)) << name;
  }
  EXPECT_EQ(all.size(), 2 * without.artifact.tensors.size());
  for (const auto& [name, value] : without.values) {
    ASSERT_TRUE(with.values.count(name)) << name;
    EXPECT_EQ(with.values.at(name), value) << name;
  }
  EXPECT_TRUE(std::isfinite(with.values.at("ema/valid/loss")));
  EXPECT_NE(with.values.at("ema/valid/loss"), with.values.at("valid/loss"));
  // Replicas have averages of their own.
  const std::string average = "model@ema/" + without.artifact.tensors.front().first.substr(6);
  ASSERT_TRUE(all.count(average) && all.count("replica-1/" + average)) << average;
  EXPECT_FALSE(torch::equal(all.at(average), all.at("replica-1/" + average)));
}

TEST_F(Averages, GoOnWhereverARunStops) {
  const auto make = [&] { return make_stage(recipe(true), registry_); };
  for (const std::string& problem : test::wherever_stopped(make, folder_)) ADD_FAILURE() << problem;
}

TEST_F(Averages, HaveTheSameBitsOverRanks) {
  const auto state_over = [&](int ranks) {
    const std::string directory = folder_.at(std::to_string(ranks));
    ranks::fit_over(ranks, recipe(true), registry_, directory);
    return *Checkpoints(directory).load_latest();
  };
  EXPECT_EQ(ranks::distance(state_over(1), state_over(2)), 0);
}

}  // namespace
}  // namespace etude::averages_test
