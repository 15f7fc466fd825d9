// Long trainings on text whose entropy is known; the quick half is etude/train/entropy_test.cpp.

#include <gtest/gtest.h>

#include "etude/train/testing_entropy.h"

namespace etude::slow {
namespace {

using namespace etude::test;

const std::vector<std::string> kSmall = {"net.model.dim=64", "net.model.layers=2", "learner.0.optimizer.lr=3e-3",
                                         "evaluate.every=100 steps", "evaluate.batches=16"};

std::vector<std::string> with(std::vector<std::string> more) {
  more.insert(more.end(), kSmall.begin(), kSmall.end());
  return more;
}

/// Three times through the text: what is learnt by heart helps with no text that is unseen.
TEST(Entropy, OfRandomTextIsNeverUndercut) {
  const Trained trained = train_on(random_base64(400'000), with({"stop=3 epochs"}));
  expect_the_entropy_of_base64(trained, 10 * 16 * 64, 16 * 16 * 64);
  EXPECT_LT(trained.fit.values.at("valid/loss"), std::log(64.0) + 0.05) << "the alphabet itself is learnt";
}

TEST(Entropy, OfAConstantIsReachedAndHeld) {
  const Trained trained = train_on(std::string(200'000, 'a'), with({"stop=600 steps"}));
  for (const MetricLine& line : trained.fit.lines)
    EXPECT_LT(line.values.at("valid/loss"), line.counters.step() < 300 ? 1.0 : 1e-3) << line.json();
  EXPECT_LT(trained.training.back().values.at("train/loss"), 1e-3);
}

}  // namespace
}  // namespace etude::slow
