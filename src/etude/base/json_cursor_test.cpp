#include "etude/base/json_cursor.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "etude/base/error.h"
#include "etude/base/testing.h"

namespace etude::json_cursor_test {
namespace {

JsonCursor cursor(std::string_view text) {
  return {text, "the text", [](const std::string& what) { throw Error(Code::data, what, "here", "a hint"); }};
}

template <class Read>
void refuses(std::string_view text, std::string_view message, const Read& read) {
  expect_error(
      [&] {
        JsonCursor at = cursor(text);
        read(at);
        at.finish();
      },
      Code::data, message, "here");
}

TEST(JsonCursor, WalksThroughTablesAndLists) {
  JsonCursor at = cursor(" {\"a\" : [ 1,\t2 ,18446744073709551615] ,\r\n\"b\":{} , \"c\":[], \"a\":null}\n");
  std::vector<std::string> keys;
  std::vector<uint64_t> numbers;
  at.table([&](const std::string& key) {
    keys.push_back(key);
    if (key == "b") {
      at.table([&](const std::string&) { ADD_FAILURE(); });
    } else if (!at.null()) {
      at.list([&] { numbers.push_back(at.count()); });
    }
  });
  at.finish();
  EXPECT_EQ(keys, (std::vector<std::string>{"a", "b", "c", "a"}));
  EXPECT_EQ(numbers, (std::vector<uint64_t>{1, 2, UINT64_MAX}));
}

TEST(JsonCursor, TextsAreUnescaped) {
  JsonCursor at = cursor(R"("\"\\\/\b\f\n\r\t\u0041\u00e9\u20AC\ud83d\ude00é" )");
  EXPECT_EQ(at.text(), "\"\\/\b\f\n\r\tAé€😀é");
  at.finish();
  JsonCursor nul = cursor(R"("a\u0000b")");
  EXPECT_EQ(nul.text(), std::string("a\0b", 3));
}

TEST(JsonCursor, WhatIsNoTextIsRefused) {
  const auto text = [](JsonCursor& at) { at.text(); };
  for (const char* bad : {"\"", "\"a", "\"\\", "\"\\\"", "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"\\ud800\"",
                          "\"\\udc00\"", "\"\\ud800\\u0041\"", "\"\\ud83d\\u\"", "\"a\nb\"", "", "\"a\" x"}) {
    refuses(bad, "the text is no JSON at byte", text);
  }
  refuses("\"a\xff\"", "the text is not UTF-8 in the text at byte 0", text);
  refuses("\"\xed\xa0\x80\"", "not UTF-8", text);
  refuses("7", "a number stands where none belongs", text);
  refuses("{", "a table stands where none belongs", text);
}

TEST(JsonCursor, WhatIsNoCountIsRefused) {
  const auto count = [](JsonCursor& at) { at.count(); };
  refuses("-1", "the negative number -1", count);
  refuses("1.0", "the number 1.0 is no count", count);
  refuses("1e2", "the number 1e2 is no count", count);
  refuses("18446744073709551616", "is no count", count);
  for (const char* bad : {"01", "1.", "1e", "-", "1-1", "+1", ".5", "1 2"}) refuses(bad, "is no JSON at byte", count);
  refuses("\"1\"", "a text stands where none belongs", count);
  refuses("null", "null stands where a value belongs", count);
  refuses("true", "true or false stands where a value belongs", count);
  refuses("[1]", "a list stands where none belongs", count);
  refuses(std::string(1'000'000, '1'), "the number " + std::string(80, '1') + "... is no count", count);
}

TEST(JsonCursor, SkipsWhatNlohmannTakesAndNothingElse) {
  const std::vector<std::string> texts = {"0",
                                          "-0.5e+3",
                                          "[1,[2,{\"a\":[]}]]",
                                          "{\"a\":1,\"b\":{\"c\":null}}",
                                          "true",
                                          "false",
                                          "null",
                                          "\"x\\u00e9\"",
                                          "[1,]",
                                          "[,1]",
                                          "{\"a\"}",
                                          "{\"a\":}",
                                          "{a:1}",
                                          "tru",
                                          "nul",
                                          "[1 2]",
                                          "{\"a\":1,}",
                                          "[",
                                          "{",
                                          "]",
                                          "1.e3",
                                          "00",
                                          "- 1",
                                          "'a'",
                                          "[1]]",
                                          "\"\t\"",
                                          " [ ] ",
                                          "NaN",
                                          "Infinity",
                                          "//x\n1",
                                          "1e5",
                                          "{\"a\" 1}"};
  for (const std::string& text : texts) {
    bool taken = true;
    try {
      JsonCursor at = cursor(text);
      at.skip();
      at.finish();
    } catch (const Error&) {
      taken = false;
    }
    EXPECT_EQ(taken, nlohmann::json::accept(text)) << text;
  }
}

TEST(JsonCursor, DepthIsBounded) {
  const auto skip = [](JsonCursor& at) { at.skip(3); };
  JsonCursor at = cursor("[[[1]]]");
  at.skip(3);
  refuses("[[[[1]]]]", "the text is nested too deep at byte 3", skip);
  refuses(std::string(1'000'000, '['), "nested too deep", skip);
}

TEST(JsonCursor, MessagesAreShort) {
  EXPECT_EQ(shortened("a\x01\xff.\n\tc"), "a??.??c");
  EXPECT_EQ(shortened(std::string(80, 'x')), std::string(80, 'x'));
  EXPECT_EQ(shortened(std::string(79, 'x') + "éé"), std::string(79, 'x') + "...");
}

}  // namespace
}  // namespace etude::json_cursor_test
