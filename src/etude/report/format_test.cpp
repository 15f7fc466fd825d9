#include "etude/report/format.h"

#include <clocale>
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "etude/base/error.h"
#include "etude/report/json.h"

namespace etude::report::format_test {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN(), kInf = std::numeric_limits<double>::infinity();

TEST(Numbers, InFixedForm) {
  EXPECT_EQ(fixed(2.336, 4), "2.3360");
  EXPECT_EQ(fixed(-0.04, 2), "−0.04");
  EXPECT_EQ(fixed(-0.004, 2), "0.00") << "no negative zero";
  EXPECT_EQ(fixed(1e300, 0).size(), 301u);
  EXPECT_EQ(fixed(kNan, 2), "nan");
  EXPECT_EQ(fixed(-kInf, 2), "−∞");
  EXPECT_EQ(with_sign(0.0409, 3), "+0.041");
  EXPECT_EQ(with_sign(-0.0409, 3), "−0.041");
  EXPECT_EQ(with_sign(0.0004, 3), "0.000");
}

TEST(Numbers, WithSignificantDigits) {
  EXPECT_EQ(significant(2.3449, 3), "2.34");
  EXPECT_EQ(significant(0.001034, 3), "0.00103");
  EXPECT_EQ(significant(12345, 3), "12345") << "no digit before the point is hidden";
  EXPECT_EQ(significant(1.234e-9, 2), "1.2e-09");
  EXPECT_EQ(significant(-1.5, 2), "−1.5");
  EXPECT_EQ(significant(0, 3), "0");
  EXPECT_EQ(shortest(0.02), "0.02");
  EXPECT_EQ(shortest(-0.01), "−0.01");
  EXPECT_EQ(shortest(5), "5");
  EXPECT_EQ(shortest(kInf), "∞");
}

TEST(Numbers, UncertaintyDecidesTheDigits) {
  EXPECT_EQ(decimals_for(0.012), 3);
  EXPECT_EQ(decimals_for(0.0099), 4);
  EXPECT_EQ(decimals_for(12), 0);
  EXPECT_EQ(decimals_for(1e-12), 6);
  EXPECT_EQ(decimals_for(0), 4);
  EXPECT_EQ(decimals_for(kInf), 4);
  EXPECT_EQ(mean_and_sd(2.33614, 0.0123, 5), "2.336 ± 0.012");
  EXPECT_EQ(mean_and_sd(2.33614, 0, 1), "2.3361");
  EXPECT_EQ(mean_and_sd(kNan, 0, 0), "–");
  EXPECT_EQ(mean_and_sd(2.33614, 0.0123, 5, 2), "2.34 ± 0.01");
  EXPECT_EQ(mean_and_interval({5, 0.0412, 0, 0.0352, 0.0472}), "+0.0412 [+0.0352, +0.0472]");
  EXPECT_EQ(mean_and_interval({5, 0.04, 0, -0.02, 0.10}), "+0.040 [−0.020, +0.100]");
  EXPECT_EQ(mean_and_interval({5, 0.04, 0, -0.02, 0.10}, 1), "0.0 [0.0, +0.1]");
  EXPECT_EQ(mean_and_interval({1, -0.5, 0, -kInf, kInf}), "−0.5000");
  EXPECT_EQ(mean_and_interval({0, 0, 0, -kInf, kInf}), "–");
}

TEST(Amounts, AsPeopleReadThem) {
  EXPECT_EQ(plain(bytes_text(1.637e9)), "1.64 GB");
  EXPECT_EQ(plain(bytes_text(0)), "0 B");
  EXPECT_EQ(plain(bytes_text(999)), "999 B");
  EXPECT_EQ(plain(count_text(12800)), "12 800");
  EXPECT_EQ(plain(count_text(-1234567)), "-1.23 M");
  EXPECT_EQ(plain(count_text(5.1e13)), "51.0 T");
  EXPECT_EQ(plain(count_text(7)), "7");
  EXPECT_EQ(plain(count_text(kNan)), "nan");
  EXPECT_EQ(plain(seconds_text(0.0096)), "9.60 ms");
  EXPECT_EQ(plain(seconds_text(2e-5)), "20.0 us");
  EXPECT_EQ(plain(seconds_text(48)), "48.0 s");
  EXPECT_EQ(plain(seconds_text(59.97)), "1 min 00 s") << "not 60.0 s";
  EXPECT_EQ(plain(seconds_text(125)), "2 min 05 s");
  EXPECT_EQ(plain(seconds_text(4320)), "1 h 12 min");
  EXPECT_EQ(plain(seconds_text(kInf)), "inf");
}

TEST(Amounts, AreTheSameInEveryLocale) {
  const std::string before = std::setlocale(LC_ALL, nullptr);
  for (const char* locale : {"de_DE.UTF-8", "de_DE.utf8", "C"}) {
    if (!std::setlocale(LC_ALL, locale)) continue;
    EXPECT_EQ(fixed(1234.5, 1), "1234.5");
    EXPECT_EQ(significant(0.5, 1), "0.5");
  }
  std::setlocale(LC_ALL, before.c_str());
}

TEST(Texts, EscapeMarkupAndControlCharacters) {
  EXPECT_EQ(escaped("<script>alert(\"x\" & 'y')</script>"),
            "&lt;script&gt;alert(&quot;x&quot; &amp; &#39;y&#39;)&lt;/script&gt;");
  EXPECT_EQ(escaped("größer → 2"), "größer → 2");
  EXPECT_EQ(escaped(std::string("a\0b\x1b[31m", 8)), "a?b?[31m");
  EXPECT_EQ(escaped("\xff\xfe"), "??");
}

TEST(Texts, InAscii) {
  EXPECT_EQ(plain("2.3 ± 0.1 − ∞ ↓"), "2.3 +- 0.1 - inf v");
  EXPECT_EQ(plain("größer 東"), "gr??er ?");
  EXPECT_EQ(plain("plain"), "plain");
}

TEST(Texts, CommitsAreCutEachByItself) {
  EXPECT_EQ(short_commits("0123456789abcdef0123, fedcba9876543210"), "0123456789ab, fedcba987654");
  EXPECT_EQ(short_commits("abc"), "abc");
}

TEST(Json, NumbersThatAreNotFinite) {
  const auto document = parse_json(R"({"a":null,"b":"inf","c":"-inf","d":"nan","e":[1,null],"f":{"x":2}})", "t");
  const JsonObject json(document, "t");
  EXPECT_TRUE(std::isnan(json.number("a")));
  EXPECT_EQ(json.number("b"), kInf);
  EXPECT_EQ(json.number("c"), -kInf);
  EXPECT_TRUE(std::isnan(json.number("d")));
  EXPECT_EQ(json.number("missing", 4), 4);
  EXPECT_EQ(json.list("e").size(), 2u);
  EXPECT_EQ(json.numbers("f").at("x"), 2);
  EXPECT_TRUE(json.numbers("missing").empty());
  EXPECT_TRUE(number_or_null(kNan).is_null());
}

TEST(Json, MistakesAreNamed) {
  const auto document = parse_json(R"({"n":1,"s":"x","big":9223372036854775808,"o":{}})", "t.json");
  const JsonObject json(document, "t.json");
  const std::pair<std::function<void()>, const char*> mistakes[] = {
      {[&] { json.string("n"); }, "member 'n' is 1, not a string"},
      {[&] { json.number("s"); }, "member 's' is \"x\", not a number"},
      {[&] { json.integer("s"); }, "member 's' is \"x\", not an integer"},
      {[&] { json.integer("big"); }, "member 'big' is 9223372036854775808, not an integer"},
      {[&] { json.boolean("o"); }, "member 'o' is {}, not true or false"},
      {[&] { json.objects("o"); }, "member 'o' is {}, not a list"},
      {[&] { json.list("n"); }, "member 'n' is 1, not a list"},
      {[&] { json.integer("nothing"); }, "member 'nothing' is missing"}};
  for (const auto& [action, message] : mistakes) {
    try {
      action();
      ADD_FAILURE() << message;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::checkpoint);
      EXPECT_EQ(error.message(), message);
      EXPECT_EQ(error.where(), "t.json");
    }
  }
  try {
    parse_json("{\n\"a\": 1,\n}", "t.json");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.where(), "t.json:3");
  }
  EXPECT_THROW(parse_json("{\"a\":1e999}", "t.json"), Error);
}

}  // namespace
}  // namespace etude::report::format_test
