// The quick half of tests/slow/entropy_test.cpp.

#include <gtest/gtest.h>

#include "etude/train/testing_entropy.h"

namespace etude::entropy_test {
namespace {

using namespace etude::test;

TEST(Entropy, OfRandomTextIsNotUndercut) {
  const Trained trained = train_on(random_base64(80'000), {"stop=60 steps"});
  expect_the_entropy_of_base64(trained, 10 * 16 * 64, 4 * 16 * 64);
  EXPECT_LE(trained.fit.counters[Unit::epochs], 1) << "every batch was unseen";
  EXPECT_LT(trained.fit.values.at("valid/loss"), std::log(64.0) + 0.1) << "the alphabet itself is learnt";
}

TEST(Entropy, OfAConstantIsReached) {
  const Trained trained = train_on(std::string(20'000, 'a'), {"stop=60 steps", "learner.0.optimizer.lr=0.03"});
  EXPECT_LT(trained.fit.values.at("valid/loss"), 1e-3);
}

}  // namespace
}  // namespace etude::entropy_test
