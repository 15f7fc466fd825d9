#include "etude/train/progress.h"

#include <gtest/gtest.h>

#include <cmath>

namespace etude::progress_test {
namespace {

Pace at(double steps, double tokens) {
  Pace pace;
  pace.done[Unit::steps] = steps;
  pace.done[Unit::tokens] = tokens;
  pace.step_seconds = 0.5;
  return pace;
}

TEST(SecondsLeft, AreStepsTimesTheirSeconds) {
  Pace pace = at(30, 3000);
  pace.stop = Count{100, Unit::steps};
  EXPECT_DOUBLE_EQ(seconds_left(pace), 70 * 0.5);
  pace.stop = Count{9000, Unit::tokens};  // 100 a step: 60 steps
  EXPECT_DOUBLE_EQ(seconds_left(pace), 60 * 0.5);
}

TEST(SecondsLeft, CountWhatComesBesides) {
  Pace pace = at(30, 3000);
  pace.stop = Count{100, Unit::steps};
  // Three evaluations took 6 s: seven more. A checkpoint each 2500 tokens took 1 s: there will be three more.
  pace.besides = {{Count{10, Unit::steps}, 6.0}, {Count{2500, Unit::tokens}, 1.0}};
  EXPECT_DOUBLE_EQ(seconds_left(pace), 70 * 0.5 + 7 * 2.0 + 3 * 1.0);
  pace.besides = {{Count{50, Unit::percent}, 0.0}, {Count{0, Unit::steps}, 9.0}};
  EXPECT_DOUBLE_EQ(seconds_left(pace), 70 * 0.5) << "not due yet, and never due";
}

TEST(SecondsLeft, AreNoneAtTheEndAndUnknownAtTheBeginning) {
  Pace pace = at(105, 0);
  pace.stop = Count{100, Unit::steps};
  EXPECT_EQ(seconds_left(pace), 0);
  pace.stop = Count{100, Unit::tokens};
  EXPECT_TRUE(std::isnan(seconds_left(pace)));
}

}  // namespace
}  // namespace etude::progress_test
