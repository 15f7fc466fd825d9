#include "etude/base/counters.h"

#include <gtest/gtest.h>

#include "etude/base/error.h"

namespace etude::counters_test {
namespace {

TEST(Count, Parses) {
  const std::pair<const char*, Count> cases[] = {
      {"400", {400, Unit::steps}},
      {"400 steps", {400, Unit::steps}},
      {"1 step", {1, Unit::steps}},
      {" 2 epochs ", {2, Unit::epochs}},
      {"0.5 epoch", {0.5, Unit::epochs}},
      {"1.5M tokens", {1500000, Unit::tokens}},
      {"0.3M samples", {300000, Unit::samples}},
      {"1.1M", {1100000, Unit::steps}},
      {"8k env_steps", {8000, Unit::env_steps}},
      {"2 G bytes", {2e9, Unit::bytes}},
      {"3T flops", {3e12, Unit::flops}},
      {"1e3 messages", {1000, Unit::messages}},
      {"10 rounds", {10, Unit::rounds}},
      {"7.5 seconds", {7.5, Unit::seconds}},
      {"50%", {50, Unit::percent}},
      {"12.5 %", {12.5, Unit::percent}},
      {"0", {0, Unit::steps}},
  };
  for (const auto& [text, count] : cases) EXPECT_EQ(Count::parse(text), count) << text;
}

TEST(Count, TextReadsBack) {
  for (const char* text :
       {"400 steps", "1500000 tokens", "0.1 epochs", "12.5%", "1e20 flops", "0 steps", "0.30000000000000004 seconds"}) {
    EXPECT_EQ(Count::parse(text).text(), text);
  }
  EXPECT_EQ(Count::parse("1.5M tokens").text(), "1500000 tokens");
}

TEST(Count, RefusesWithTextAndHint) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "it is empty"},
      {"steps", "doesn't begin with a number"},
      {"-5 steps", "is negative"},
      {"-0", "is negative"},
      {"5 stpes", "unknown unit 'stpes'"},
      {"5 parsecs", "unknown unit"},
      {"1e999", "doesn't fit"},
      {"1e300T", "doesn't fit"},
      {"nan", "not finite"},
      {"inf steps", "not finite"},
      {"5 6", "unknown unit '6'"},
      {"50% steps", "unknown unit"},
      {"5 percent", "unknown unit"},
  };
  for (const auto& [text, why] : cases) {
    try {
      Count::parse(text);
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::config);
      EXPECT_NE(error.message().find(why), std::string::npos) << error.what();
      EXPECT_NE(error.message().find(text), std::string::npos) << error.what();
      EXPECT_FALSE(error.hint().empty()) << text;
    }
  }
  try {
    Count::parse("5 stpes");
  } catch (const Error& error) {
    EXPECT_EQ(error.hint(), "did you mean 'steps'?");
  }
}

TEST(Count, ResolvesPercentagesExactly) {
  EXPECT_EQ(Count::parse("50%").of({400, Unit::steps}), (Count{200, Unit::steps}));
  // 0.07 * 100 would be 7.000000000000001, which step 7 doesn't reach.
  EXPECT_EQ(Count::parse("7%").of({100, Unit::steps}).amount, 7.0);
  EXPECT_EQ(Count::parse("10%").of(Count::parse("1M tokens")), (Count{1e5, Unit::tokens}));
  EXPECT_EQ(Count::parse("3 epochs").of({400, Unit::steps}), (Count{3, Unit::epochs}));
}

TEST(Count, IsReachedInItsOwnUnit) {
  Counters now;
  now[Unit::steps] = 10;
  now[Unit::tokens] = 640;
  EXPECT_TRUE(Count::parse("10").reached(now));
  EXPECT_FALSE(Count::parse("10.5 steps").reached(now));
  EXPECT_TRUE(Count::parse("640 tokens").reached(now));
  EXPECT_FALSE(Count::parse("641 tokens").reached(now));
  EXPECT_EQ(now.step(), 10);
}

TEST(Due, FiresWhenAMultipleIsPassed) {
  const auto at = [](double steps) {
    Counters c;
    c[Unit::steps] = steps;
    return c;
  };
  const Count every3{3, Unit::steps};
  std::string fired;
  for (int step = 1; step <= 10; ++step) fired += due(every3, at(step - 1), at(step)) ? '1' : '0';
  EXPECT_EQ(fired, "0010010010");
  EXPECT_TRUE(due(every3, at(2), at(8)));  // once, however many multiples a long step passes
  EXPECT_FALSE(due(every3, at(3), at(3)));
  EXPECT_FALSE(due(Count{0, Unit::steps}, at(0), at(100)));
  const Count half{2.5, Unit::steps};  // passed at 2.5, 5, 7.5, 10
  fired.clear();
  for (int step = 1; step <= 10; ++step) fired += due(half, at(step - 1), at(step)) ? '1' : '0';
  EXPECT_EQ(fired, "0010100101");
}

TEST(Counters, RefusePercentages) {
  Counters now;
  EXPECT_ANY_THROW(now[Unit::percent]);
  EXPECT_ANY_THROW((Count{50, Unit::percent}).reached(now));
}

}  // namespace
}  // namespace etude::counters_test
