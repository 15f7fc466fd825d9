#include "etude/base/text.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <random>

namespace etude::text_test {
namespace {

TEST(RealText, KeepsItsTypeAndItsSign) {
  EXPECT_EQ(real_text(0.1), "0.1");
  EXPECT_EQ(real_text(1), "1.0");
  EXPECT_EQ(real_text(-0.0), "-0.0");
  EXPECT_EQ(real_text(1e22), "1e22");
  EXPECT_EQ(real_text(3e-4), "0.0003");
  EXPECT_EQ(real_text(-1.5e-5), "-1.5e-5");
  EXPECT_EQ(real_text(1e6), "1000000.0");
  EXPECT_EQ(real_text(1e-100), "1e-100");
  EXPECT_EQ(real_text(5e-324), "5e-324");
  EXPECT_EQ(real_text(std::nan("")), "nan");
  EXPECT_EQ(real_text(-std::numeric_limits<double>::infinity()), "-inf");
}

TEST(RealText, ReadsBackToTheBit) {
  std::mt19937_64 bits(1);
  for (int i = 0; i < 20000; ++i) {
    const auto x = std::bit_cast<double>(bits());
    if (!std::isfinite(x)) continue;
    const double back = std::strtod(real_text(x).c_str(), nullptr);
    ASSERT_EQ(std::bit_cast<uint64_t>(back), std::bit_cast<uint64_t>(x)) << real_text(x);
    double parsed = 0;
    ASSERT_TRUE(parse_number(plain_number(x), parsed));
    ASSERT_EQ(std::bit_cast<uint64_t>(parsed), std::bit_cast<uint64_t>(x)) << plain_number(x);
  }
}

TEST(PlainNumber, PrintsWholeNumbersPlainly) {
  EXPECT_EQ(plain_number(1e6), "1000000");
  EXPECT_EQ(plain_number(-3), "-3");
  EXPECT_EQ(plain_number(1e15), "1e15");
  EXPECT_EQ(plain_number(0.25), "0.25");
  EXPECT_EQ(plain_number(-0.0), "-0");
}

TEST(RoundedNumber, KeepsSignificantDigits) {
  EXPECT_EQ(rounded_number(2 * (1 - 0.9 * 0.9)), "0.38");
  EXPECT_EQ(rounded_number(1234567), "1.235e+06");
  EXPECT_EQ(rounded_number(-0.00012345, 2), "-0.00012");
  EXPECT_EQ(rounded_number(700), "700");
}

TEST(ParseNumber, TakesAllOrNothing) {
  double x = 0;
  EXPECT_TRUE(parse_number("+1.5e3", x));
  EXPECT_EQ(x, 1500);
  for (const char* bad : {"", "+", "1.5x", " 1", "1 ", "inf", "nan", "1e999", "+-1", "0x10"}) {
    EXPECT_FALSE(parse_number(bad, x)) << bad;
  }
}

TEST(Trim, TakesBlanksOffBothEnds) {
  EXPECT_EQ(trim(" \t a b\r\n"), "a b");
  EXPECT_EQ(trim("   "), "");
}

TEST(Utf8, KnowsGoodFromBad) {
  for (const char* good : {"", "plain", "\u00e4\u00f6\u00fc", "\u20ac", "\U0001F600", "\U0010FFFF"})
    EXPECT_TRUE(valid_utf8(good)) << good;
  // A lone continuation, cut sequences, overlong forms, a surrogate, beyond U+10FFFF, Latin-1.
  for (const char* bad : {"\x80", "\xC3", "\xE2\x82", "\xF0\x9F\x98", "\xC0\xAF", "\xE0\x9F\xBF", "\xF0\x8F\xBF\xBF",
                          "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xFF", "f\xFCr"}) {
    EXPECT_FALSE(valid_utf8(bad)) << bad;
  }
}

TEST(Printable, DefusesEscapesAndBadBytes) {
  EXPECT_EQ(printable("a\x1b[31mb\x07"), "a?[31mb?");
  EXPECT_EQ(printable("f\xFCr \u00fc\n\t"), "f?r \u00fc\n\t");
  EXPECT_EQ(printable("x\u009by"), "x?y");  // the one-character form of ESC [
}

TEST(Columns, CountsWideAndCombiningCharacters) {
  EXPECT_EQ(columns("abc"), 3);
  EXPECT_EQ(columns("\u00e4"), 1);
  EXPECT_EQ(columns("a\u0308"), 1);
  EXPECT_EQ(columns("\u6f22\u5b57"), 4);
  EXPECT_EQ(columns("\U0001F600"), 2);
}

TEST(Fitted, NeverExceedsTheWidth) {
  EXPECT_EQ(fitted("step 12", 7), "step 12");
  EXPECT_EQ(fitted("step 12", 6), "step \u2026");
  EXPECT_EQ(fitted("\u6f22\u5b57\u6f22", 4), "\u6f22\u2026");
  EXPECT_EQ(fitted("x", 0), "");
  for (int width = 0; width < 12; ++width) {
    const std::string cut = fitted("a\u6f22b\u00e4\u0308c\U0001F600defgh", width);
    EXPECT_LE(columns(cut), width);
    EXPECT_TRUE(valid_utf8(cut));
  }
}

}  // namespace
}  // namespace etude::text_test
