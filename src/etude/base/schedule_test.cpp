#include "etude/base/schedule.h"

#include <gtest/gtest.h>

#include <cmath>

#include "etude/base/error.h"

namespace etude::schedule_test {
namespace {

/// 100 steps in all; 64 tokens a step.
Position at_step(double step, const char* stop = "100 steps") {
  Position position;
  position.now[Unit::steps] = step;
  position.now[Unit::tokens] = 64 * step;
  position.stop = Count::parse(stop);
  return position;
}

double value(const char* text, double step, const char* stop = "100 steps") {
  return Schedule::parse(text).at(at_step(step, stop));
}

TEST(Schedule, ConstantIsANumber) {
  const Schedule half = 0.5;
  EXPECT_TRUE(half.constant());
  EXPECT_EQ(half.at(at_step(77)), 0.5);
  EXPECT_EQ(half.text(), "0.5");
  EXPECT_EQ(Schedule::parse(" -1.5e-3 ").at(at_step(0)), -0.0015);
  EXPECT_EQ(Schedule().at(at_step(0)), 0);
}

TEST(Schedule, LinearGoesFromTheFirstUpdateToTheStop) {
  EXPECT_EQ(value("linear(8 -> 0)", 0), 8);
  EXPECT_EQ(value("linear(8 -> 0)", 25), 6);
  EXPECT_EQ(value("linear(8 -> 0)", 50), 4);
  EXPECT_NEAR(value("linear(8 -> 0)", 99), 0.08, 1e-15);
  EXPECT_EQ(value("linear(8 -> 0)", 100), 0);
  EXPECT_EQ(value("linear(8 -> 0)", 130), 0);
}

TEST(Schedule, CosineIsHalfAWave) {
  EXPECT_DOUBLE_EQ(value("cosine(3e-3 -> 1e-3)", 0), 3e-3);
  EXPECT_DOUBLE_EQ(value("cosine(3e-3 -> 1e-3)", 50), 2e-3);
  // cos(pi / 3) = 1/2 and cos(pi / 4) = sqrt(1/2)
  EXPECT_DOUBLE_EQ(value("cosine(4 -> 0)", 20, "60 steps"), 3);
  EXPECT_DOUBLE_EQ(value("cosine(2 -> 0)", 25), 1 + std::sqrt(0.5));
  EXPECT_DOUBLE_EQ(value("cosine(3e-3 -> 1e-3)", 100), 1e-3);
  EXPECT_DOUBLE_EQ(value("cosine(0.04 -> 0.4)", 50), 0.22);  // upwards too
}

TEST(Schedule, WarmupGivesTheKthUpdateItsShare) {
  const char* text = "warmup(4, cosine(8 -> 0))";
  EXPECT_EQ(value(text, 0, "12 steps"), 2);  // 1/4
  EXPECT_EQ(value(text, 1, "12 steps"), 4);
  EXPECT_EQ(value(text, 2, "12 steps"), 6);
  EXPECT_EQ(value(text, 3, "12 steps"), 8);
  EXPECT_EQ(value(text, 4, "12 steps"), 8);  // the cosine begins, over the 8 steps that are left
  EXPECT_DOUBLE_EQ(value(text, 8, "12 steps"), 4);
  EXPECT_NEAR(value(text, 12, "12 steps"), 0, 1e-15);
}

TEST(Schedule, WarmupTakesPercentages) {
  EXPECT_EQ(value("warmup(10%, 5)", 0), 0.5);
  EXPECT_EQ(value("warmup(10%, 5)", 8), 4.5);
  EXPECT_EQ(value("warmup(10%, 5)", 9), 5);
  EXPECT_EQ(value("warmup(10%, linear(9 -> 0))", 10), 9);
  EXPECT_EQ(value("warmup(10%, linear(9 -> 0))", 40), 6);  // a third of the 90 steps that are left
}

TEST(Schedule, WarmupLongerThanTheRunNeverEnds) { EXPECT_EQ(value("warmup(200, linear(4 -> 0))", 99), 2); }

TEST(Schedule, ProgressIsCountedInTheUnitOfTheStopRule) {
  EXPECT_EQ(value("linear(8 -> 0)", 50, "6400 tokens"), 4);
  // A warm-up of 20 steps ends at 20 * 64 = 1280 tokens; half of the other 5120 are done at step 60.
  EXPECT_DOUBLE_EQ(value("warmup(20, linear(8 -> 0))", 60, "6400 tokens"), 4);
  EXPECT_DOUBLE_EQ(value("warmup(20%, linear(8 -> 0))", 60, "6400 tokens"), 4);
  // 640 tokens are 10 steps.
  EXPECT_DOUBLE_EQ(value("warmup(640 tokens, linear(9 -> 0))", 40), 6);
}

TEST(Schedule, WarmupInTokensKnowsTheStepFromTheMeanSoFar) {
  EXPECT_DOUBLE_EQ(value("warmup(640 tokens, 5)", 0), 5e-6);  // nothing is known: kFirstShare
  EXPECT_DOUBLE_EQ(value("warmup(640 tokens, 5)", 1), 1);
  EXPECT_DOUBLE_EQ(value("warmup(640 tokens, 5)", 8), 4.5);
  EXPECT_DOUBLE_EQ(value("warmup(640 tokens, 5)", 9), 5);
  EXPECT_EQ(value("warmup(640 tokens, 5)", 10), 5);
}

TEST(Schedule, StepsArePiecewiseConstant) {
  const char* text = "steps(0: 0.1, 50%: 0.01, 75%: 0.001)";
  EXPECT_EQ(value(text, 0), 0.1);
  EXPECT_EQ(value(text, 49), 0.1);
  EXPECT_EQ(value(text, 50), 0.01);
  EXPECT_EQ(value(text, 74), 0.01);
  EXPECT_EQ(value(text, 75), 0.001);
  EXPECT_EQ(value("steps(0: 1, 640 tokens: 2)", 9), 1);
  EXPECT_EQ(value("steps(0: 1, 640 tokens: 2)", 10), 2);
  EXPECT_EQ(value("steps(0: 1, 640 tokens: 2, 50: 3)", 50), 3);  // units are compared in the run only
  EXPECT_EQ(value("warmup(2, steps(0: 4, 50: 1))", 0), 2);       // places count from the stage's beginning
  EXPECT_EQ(value("warmup(2, steps(0: 4, 50: 1))", 50), 1);
}

TEST(Schedule, WsdIsStableUntilItsDecay) {
  const char* text = "wsd(8 -> 0, 20%)";
  EXPECT_EQ(value(text, 0), 8);
  EXPECT_EQ(value(text, 79), 8);
  EXPECT_EQ(value(text, 80), 8);  // the first update of the decay: q = 0
  EXPECT_EQ(value(text, 85), 6);
  EXPECT_EQ(value(text, 90), 4);
  EXPECT_NEAR(value(text, 99), 0.4, 1e-15);
  EXPECT_EQ(value(text, 100), 0);
  EXPECT_EQ(value(text, 120), 0);
  EXPECT_EQ(value("wsd(8 -> 2, 40)", 60), 8);  // 40 steps
  EXPECT_EQ(value("wsd(8 -> 2, 40)", 90), 3.5);
  EXPECT_EQ(value("wsd(2 -> 4, 100%)", 50), 3);  // all of it, and upwards too
}

TEST(Schedule, WsdDecaysInThreeWays) {
  // A quarter of the way down from 8: half of the square root, and the quarter power of 1/16, which is 1/2.
  EXPECT_EQ(value("wsd(8 -> 0.5, 20%, linear)", 85), 6.125);
  EXPECT_EQ(value("wsd(8 -> 0.5, 20%, sqrt)", 85), 4.25);
  EXPECT_DOUBLE_EQ(value("wsd(8 -> 0.5, 20%, exponential)", 85), 4);
  EXPECT_DOUBLE_EQ(value("wsd(-8 -> -0.5, 20%, exponential)", 90), -2);
  for (const char* text : {"wsd(8 -> 0.5, 20%)", "wsd(8 -> 0.5, 20%, sqrt)", "wsd(8 -> 0.5, 20%, exponential)"}) {
    EXPECT_EQ(value(text, 79), 8) << text;
    EXPECT_EQ(value(text, 80), 8) << text;
    EXPECT_EQ(value(text, 100), 0.5) << text;
  }
}

TEST(Schedule, WsdDecaysInAnyUnitAndAfterAWarmup) {
  // Of 6400 tokens, at 64 a step: 1280 tokens, 20 steps and 20% are the same decay.
  for (const char* text : {"wsd(8 -> 0, 20%)", "wsd(8 -> 0, 1280 tokens)", "wsd(8 -> 0, 20)"}) {
    EXPECT_EQ(value(text, 0, "6400 tokens"), 8) << text;
    EXPECT_EQ(value(text, 80, "6400 tokens"), 8) << text;
    EXPECT_DOUBLE_EQ(value(text, 95, "6400 tokens"), 2) << text;
    EXPECT_DOUBLE_EQ(value(text, 95, "100 steps"), 2) << text;
  }
  const char* text = "warmup(4, wsd(8 -> 0, 50%))";
  EXPECT_EQ(value(text, 0, "12 steps"), 2);
  EXPECT_EQ(value(text, 3, "12 steps"), 8);
  EXPECT_EQ(value(text, 5, "12 steps"), 8);
  EXPECT_EQ(value(text, 6, "12 steps"), 8);
  EXPECT_EQ(value(text, 9, "12 steps"), 4);
  // What the warm-up leaves is shorter than the decay: 8 steps instead of 9.
  EXPECT_EQ(value("warmup(4, wsd(8 -> 0, 75%))", 4, "12 steps"), 8);
  EXPECT_EQ(value("warmup(4, wsd(8 -> 0, 75%))", 8, "12 steps"), 4);
  EXPECT_EQ(value("warmup(256 tokens, wsd(8 -> 0, 75%))", 10, "12 steps"), 2);
}

TEST(Schedule, BoundsHoldAndAreTaken) {
  struct Case {
    const char* text;
    double low, high;
  };
  const Case cases[] = {{"3", 3, 3},
                        {"linear(1 -> 4)", 1, 4},
                        {"cosine(3 -> -1)", -1, 3},
                        {"steps(0: 2, 10: 5, 20: 1)", 1, 5},
                        {"wsd(3 -> 0.1, 30%, exponential)", 0.1, 3},
                        {"wsd(-0.3 -> -0.7, 30%, exponential)", -0.7, -0.3},
                        {"wsd(3 -> -1, 5000 tokens, sqrt)", -1, 3},
                        {"warmup(40, wsd(8 -> 1, 10%))", 0.2, 8},
                        {"warmup(40, cosine(8 -> 1))", 0.2, 8},
                        {"warmup(40, cosine(8 -> 0.1))", 0.1, 8},
                        {"warmup(10, linear(-10 -> -20))", -20, -1},
                        {"warmup(50%, 2)", 2e-6, 2},
                        {"warmup(3k tokens, 2)", 2e-6, 2}};
  for (const auto& [text, low, high] : cases) {
    const Schedule schedule = Schedule::parse(text);
    EXPECT_DOUBLE_EQ(schedule.lowest(), low) << text;
    EXPECT_DOUBLE_EQ(schedule.highest(), high) << text;
    for (int step = 0; step <= 100; ++step) {
      const double x = schedule.at(at_step(step));
      EXPECT_GE(x, low) << text << " at " << step;
      EXPECT_LE(x, high) << text << " at " << step;
    }
  }
}

TEST(Schedule, EndIsOnlyApproached) {
  EXPECT_FALSE(Schedule::parse("linear(0.1 -> 0)").reaches(0));
  EXPECT_TRUE(Schedule::parse("linear(0 -> 0.1)").reaches(0));
  EXPECT_FALSE(Schedule::parse("warmup(4, cosine(1 -> 0))").reaches(0));
  EXPECT_FALSE(Schedule::parse("wsd(0.1 -> 0, 20%)").reaches(0));
  EXPECT_TRUE(Schedule::parse("warmup(4, wsd(0.1 -> 0, 20%))").reaches(0.1));
  EXPECT_TRUE(Schedule::parse("steps(0: 1, 5: 0)").reaches(0));
  EXPECT_TRUE(Schedule(0.0).reaches(0));
}

TEST(Schedule, TextReadsBack) {
  for (const char* text :
       {"0.003", "-2", "linear(0.1 -> 0)", "cosine(0.003 -> 0.0003)", "warmup(40, cosine(0.003 -> 0.0003))",
        "warmup(1000000 tokens, 0.1)", "warmup(10%, linear(1 -> 0))", "steps(0: 0.1, 50%: 0.01, 75%: 0.001)",
        "wsd(0.003 -> 0.0003, 20%)", "wsd(1 -> 0, 200, sqrt)",
        "warmup(40, wsd(0.003 -> 0.0003, 1000000 tokens, exponential))", "steps(0: 1, 5 epochs: 1e-30)",
        "warmup(3, steps(0: 1, 10: 2))"}) {
    EXPECT_EQ(Schedule::parse(text).text(), text);
  }
  EXPECT_EQ(Schedule::parse("warmup( 1M tokens ,cosine(3e-3->3e-4) )").text(),
            "warmup(1000000 tokens, cosine(0.003 -> 0.0003))");
  EXPECT_EQ(Schedule::parse("wsd( 1->0 ,20 %,linear )").text(), "wsd(1 -> 0, 20%)");
  EXPECT_EQ(Schedule::parse("linear(1 -> 0)"), Schedule::parse("linear(1.0->0.0)"));
}

TEST(Schedule, ErrorsHaveColumnAndHint) {
  struct Case {
    const char *text, *why, *hint;
  };
  const Case cases[] = {
      {"cosin(1 -> 0)", "unknown form 'cosin' at column 1", "did you mean 'cosine'?"},
      {"warmup(40, cosinee(1 -> 0))", "unknown form 'cosinee' at column 12", "did you mean 'cosine'?"},
      {"linear(1, 0)", "'->' expected at column 9", "linear(0.1 -> 0)"},
      {"linear(1 -> )", "a number expected at column 13", ""},
      {"linear(1 -> 0", "')' expected at column 14", ""},
      {"linear(1 -> 0) 5", "unexpected '5' at column 16", ""},
      {"", "a number expected at column 1", ""},
      {"nan", "must be finite at column 1", ""},
      {"linear(inf -> 0)", "must be finite at column 8", ""},
      {"1e999", "doesn't fit a double at column 1", ""},
      {"warmup(40)", "a count and then ',' expected at column 8", ""},
      {"warmup(0, 1)", "must be longer than 0 at column 8", ""},
      {"warmup(40 stps, 1)", "unknown unit 'stps' at column 8", "did you mean 'steps'?"},
      {"warmup(4, warmup(4, 1))", "a warm-up within a warm-up at column 11", ""},
      {"wds(1 -> 0, 20%)", "unknown form 'wds' at column 1", "did you mean 'wsd'?"},
      {"wsd(1 -> 0)", "',' expected at column 11", "wsd(0.1 -> 0.01, 20%)"},
      {"wsd(1 -> 0, 20%", "a count and then ',' expected at column 13", ""},
      {"wsd(1 -> 0, )", "' is no count: it is empty at column 13", "write an amount"},
      {"wsd(1 -> 0, 0%)", "a decay must be longer than 0 at column 13", ""},
      {"wsd(1 -> 0, 120%)", "a decay can't be longer than 100% at column 13", ""},
      {"wsd(1 -> 0, 20%, sqr)", "unknown decay 'sqr' at column 18", "did you mean 'sqrt'?"},
      {"wsd(1 -> 0, 20%, cosine)", "unknown decay 'cosine' at column 18", "linear, exponential or sqrt"},
      {"wsd(1 -> 0, 20%, exponential)", "never gets to 0 at column 18", "write linear or sqrt"},
      {"wsd(1 -> 0, 20%, sqrt, 5)", "')' expected at column 22", ""},
      {"steps(5: 1)", "the first place must be 0 at column 7", ""},
      {"steps(0: 1, 9: 2, 9: 3)", "the places must ascend at column 19", ""},
      {"steps()", "a count and then ':' expected at column 7", ""},
  };
  for (const auto& [text, why, hint] : cases) {
    try {
      Schedule::parse(text);
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::config);
      EXPECT_NE(error.message().find(why), std::string::npos) << error.what();
      EXPECT_FALSE(error.hint().empty());
      EXPECT_NE(error.hint().find(hint), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace etude::schedule_test
