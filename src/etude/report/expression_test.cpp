#include "etude/report/expression.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "etude/report/testing.h"

namespace etude::report::expression_test {
namespace {

std::string column(size_t offset) { return "claims.toml:1:" + std::to_string(offset + 1); }

/// ours ends at 2 after 4, 3, 2.5; base at 3 after 5, 4. ours also has an accuracy, for which more is better.
class Expressions : public ::testing::Test {
 protected:
  Expressions() {
    Series accuracy{"train", "valid/accuracy", true, {0, 1, 2}, {0.2, 0.9, 0.8}};
    ours_.series.push_back(accuracy);
    scene_ = {
        {{"ours", &ours_}, {"base", &base_}}, "valid/loss", [](std::string_view m) { return m != "valid/accuracy"; }};
  }

  Value evaluate(const std::string& text) { return Expression::parse(text, column).evaluate(scene_); }
  double number(const std::string& text) {
    const Value value = evaluate(text);
    EXPECT_EQ(value.missing, "") << text;
    return value.number;
  }

  RunRecord ours_ = testing::run("ours", 0, {4, 3, 2.5, 2}), base_ = testing::run("base", 0, {5, 4, 3});
  Scene scene_;
};

TEST_F(Expressions, BindAsInArithmetic) {
  EXPECT_EQ(number("1 + 2 * 3 - 4 / 2"), 5);
  EXPECT_EQ(number("2 - 3 - 4"), -5);
  EXPECT_EQ(number("8 / 4 / 2"), 1);
  EXPECT_EQ(number("-2 * -3"), 6);
  EXPECT_EQ(number("--3 - -(1 + 1)"), 5);
  EXPECT_EQ(number("(1+2)*3"), 9);
  EXPECT_EQ(number("1.5e1 + .5"), 15.5);
}

TEST_F(Expressions, ValueIsTheLastAtOrBeforeATime) {
  EXPECT_EQ(number("value(ours)"), 2);
  EXPECT_EQ(number("value(ours, valid/loss, end)"), 2);
  EXPECT_EQ(number("value('ours', \"valid/accuracy\")"), 0.8);
  EXPECT_EQ(number("value(ours, valid/loss, 20 steps)"), 3);
  EXPECT_EQ(number("value(ours, valid/loss, 29 steps)"), 3);
  EXPECT_EQ(number("value(ours, valid/loss, 3k tokens)"), 2.5) << "100 tokens a step: 3000 tokens are step 30";
  EXPECT_EQ(number("value(ours, valid/loss, 50%)"), 3) << "half of 40 steps";
  EXPECT_EQ(number("value(base) - value(ours)"), 1);
}

TEST_F(Expressions, ReachIsTheFirstTimeInAnyUnit) {
  EXPECT_EQ(number("reach(ours, valid/loss, 3, steps)"), 20);
  EXPECT_EQ(number("reach(ours, valid/loss, value(base), bytes)"), 20000);
  EXPECT_EQ(number("reach(base, valid/loss, 3, steps) / reach(ours, valid/loss, 3, steps)"), 1.5);
  EXPECT_EQ(number("reach(ours, valid/accuracy, 0.85, steps)"), 20) << "upwards where more is better";
}

TEST_F(Expressions, SummariesKnowWhichWayIsGood) {
  EXPECT_EQ(number("best(ours)"), 2);
  EXPECT_EQ(number("best(ours, valid/accuracy)"), 0.9);
  EXPECT_EQ(number("peak(ours)"), 4);
  EXPECT_EQ(number("mean(base)"), 4);
  EXPECT_EQ(number("cost(ours, bytes) / cost(ours, seconds)"), 1500);
}

TEST_F(Expressions, Functions) {
  EXPECT_DOUBLE_EQ(number("log(exp(2))"), 2);
  EXPECT_EQ(number("sqrt(9) + abs(-4)"), 7);
  EXPECT_EQ(number("max(1, 3, 2) - min(5, 4)"), -1);
  EXPECT_EQ(number("max(7)"), 7);
  // y = 2, 3, 7 at x = 1, 2, 3: covariance 5, variance of x 2.
  EXPECT_DOUBLE_EQ(number("slope([1, 2, 3], [2, 3, 7])"), 2.5);
  EXPECT_DOUBLE_EQ(number("slope([log(1), log(2)], [value(base), value(ours)])"), -1 / std::log(2.0));
}

TEST_F(Expressions, SayWhyThereIsNoValue) {
  EXPECT_EQ(evaluate("value(ours, valid/los)").missing, "ours has no metric 'valid/los'");
  EXPECT_EQ(evaluate("reach(ours, valid/loss, 1.5, steps)").missing, "ours never got to valid/loss 1.5");
  EXPECT_EQ(evaluate("cost(ours, joules)").missing, "ours has no cost 'joules'");
  EXPECT_EQ(evaluate("value(ours, valid/loss, 5 steps)").missing, "ours has no 'valid/loss' at or before 5 steps");
  for (const char* text :
       {"1 / 0", "log(0)", "log(-1)", "1 / 0 - 1 / 0", "1 + value(ours) / (2 - value(ours))", "slope([1, 1], [1, 2])"})
    EXPECT_EQ(evaluate(text).missing, "a value is not finite") << text;
  EXPECT_EQ(evaluate("1 + log(0)").missing, "a value is not finite");
}

TEST_F(Expressions, NotANumberIsNeverHidden) {
  ours_.series[0].value[1] = std::numeric_limits<double>::quiet_NaN();
  for (const char* text : {"best(ours)", "peak(ours)", "mean(ours)", "value(ours, valid/loss, 20 steps)",
                           "max(1, best(ours))", "0 * mean(ours)"})
    EXPECT_EQ(evaluate(text).missing, "a value is not finite") << text;
  EXPECT_EQ(number("value(ours)"), 2) << "what comes later is what it is";
}

TEST_F(Expressions, AMetricOfTheResultAloneHasAnEnd) {
  ours_.final["probe/accuracy"] = 0.7;
  EXPECT_EQ(number("value(ours, probe/accuracy)"), 0.7);
  EXPECT_NE(evaluate("value(ours, probe/accuracy, 10 steps)").missing, "");
}

struct Mistake {
  const char* text;
  size_t column;
  const char* message;
};

TEST(ExpressionErrors, NameThePlace) {
  const Mistake mistakes[] = {{"", 1, "expected a number, a function or '(', found end"},
                              {"1 +", 4, "found end"},
                              {"(1 + 2", 7, "expected ')' to close the parenthesis, found end"},
                              {"1 2", 3, "unexpected '2' after the expression"},
                              {"1 + $", 5, "found '$'"},
                              {"valeu(ours)", 1, "unknown function 'valeu'"},
                              {"1 + value ours", 11, "expected '(' after value"},
                              {"value()", 7, "expected an arm in value(), found ')'"},
                              {"cost(ours)", 10, "expected the name of a cost in cost(), found ')'"},
                              {"reach(ours, valid/loss, 2)", 26, "expected a unit such as steps or bytes in reach()"},
                              {"reach(ours, valid/loss, 2, stepps)", 28, "stepps"},
                              {"reach(ours, valid/loss, 2, %)", 28, "percent is no counter"},
                              {"value(ours, valid/loss, 5 parsecs)", 25, "parsecs"},
                              {"value(ours, valid/loss, end, 1)", 28, "expected ')' after the arguments of value"},
                              {"value(\"ours)", 7, "the quote is not closed"},
                              {"log(1, 2)", 6, "expected ')' after the arguments of log"},
                              {"slope([1, 2], [1])", 1, "slope has 2 x and 1 y"},
                              {"slope([1], [1])", 1, "slope has 1 x and 1 y"},
                              {"slope(1, 2)", 7, "expected '[' to begin a list"},
                              {"1e999", 1, "not a number that fits"}};
  for (const auto& [text, at, message] : mistakes) {
    try {
      Expression::parse(text, column);
      ADD_FAILURE() << text << " was read";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::config) << text;
      EXPECT_EQ(error.where(), column(at - 1)) << text << ": " << error.message();
      EXPECT_NE(error.message().find(message), std::string::npos) << text << ": " << error.message();
    }
  }
}

TEST(ExpressionErrors, HelpWithNames) {
  try {
    Expression::parse("valeu(ours)", column);
  } catch (const Error& error) {
    EXPECT_EQ(error.hint(), "did you mean 'value'?");
  }
  const auto expression = Expression::parse("value(our-s) - value(base)", column);
  EXPECT_EQ(expression.arms(), (std::vector<std::string>{"our-s", "base"}));
  EXPECT_NO_THROW(expression.check_arms({"base", "our-s"}));
  try {
    expression.check_arms({"base", "ours"});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.message(), "unknown arm 'our-s'");
    EXPECT_EQ(error.where(), "claims.toml:1:7");
    EXPECT_EQ(error.hint(), "did you mean 'ours'?");
  }
}

TEST(ExpressionErrors, NothingIsTooDeepOrTooLong) {
  EXPECT_THROW(Expression::parse(std::string(100000, '('), column), Error);
  EXPECT_THROW(Expression::parse(std::string(3000, '('), column), Error);
  EXPECT_THROW(Expression::parse(std::string(3000, '-') + "1", column), Error);
  std::string sum = "1";
  for (int i = 0; i < 1000; ++i) sum += "+1";
  EXPECT_EQ(Expression::parse(sum, column).evaluate({}).number, 1001);
}

}  // namespace
}  // namespace etude::report::expression_test
