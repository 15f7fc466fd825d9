#include <nlohmann/json.hpp>
#include <random>

#include "etude/base/text.h"
#include "etude/data/corpus/json_field.h"
#include "etude/data/corpus/readers.h"
#include "etude/data/corpus/testing.h"

namespace etude::corpus::json_lines_test {
namespace {

using Json = nlohmann::ordered_json;
using Kind = JsonField::Kind;

TEST(CorpusJsonField, FindsWhatIsAsked) {
  const auto text = [](std::string_view json, std::string_view field) { return json_field(json, field, "here").text; };
  EXPECT_EQ(text(R"({"a": 1, "text": "one\ntwo", "b": [{"text": "no"}]})", "text"), "one\ntwo");
  EXPECT_EQ(text(R"( {"message":{"role":"user","text":"hi"}} )", "message.text"), "hi");
  EXPECT_EQ(text(R"({"message.text": "hi", "message": {"other": {}}})", "message.text"), "hi");
  EXPECT_EQ(text(R"({"a":{"b":{"c":"deep"}}})", "a.b.c"), "deep");
  EXPECT_EQ(text(R"({"te\u0078t": "escaped name"})", "text"), "escaped name");
  EXPECT_EQ(text(R"({"text": "\"\\\/\b\f\n\r\t\u00e4\u20ac\ud83e\udd8a"})", "text"),
            "\"\\/\b\f\n\r\t\u00e4\u20ac\U0001F98A");
  EXPECT_EQ(json_field(R"({"text": null})", "text", "here").kind, Kind::null);
  EXPECT_EQ(json_field(R"({"texts": "x", "tex": {"t": "x"}})", "text", "here").kind, Kind::absent);
  EXPECT_EQ(json_field(R"({"text": ""})", "text", "here").kind, Kind::text);
}

TEST(CorpusJsonField, NamesForSuggestionsHaveStringsFirst) {
  EXPECT_EQ(json_names(R"({"id": 3, "body": "x", "meta": {"url": "y", "n": [{"in": 1}]}})"),
            (std::vector<std::string>{"body", "meta.url", "id", "meta", "meta.n"}));
}

/// A value of any kind, not too deep.
Json random_value(std::mt19937& random, int level) {
  switch (random() % (level > 3 ? 5 : 7)) {
    case 0:
      return nullptr;
    case 1:
      return random() % 2 == 0;
    case 2:
      return static_cast<int64_t>(random()) - 2147483648;
    case 3:
      return static_cast<double>(random()) / 1e5 - 7e3;
    case 4: {
      static const std::vector<std::string> kPieces = {"a",          "\"", "\\", "\n",   "\u00e4", "\u20ac",
                                                       "\U0001F98A", "\t", "/",  "\x7f", "\x01"};
      std::string text;
      for (auto n = random() % 6; n > 0; --n) text += kPieces[random() % kPieces.size()];
      return text;
    }
    case 5: {
      Json array = Json::array();
      for (auto n = random() % 4; n > 0; --n) array.push_back(random_value(random, level + 1));
      return array;
    }
    default: {
      Json object = Json::object();
      for (auto n = random() % 4; n > 0; --n)
        object[std::string(1, static_cast<char>('a' + random() % 4))] = random_value(random, level + 1);
      return object;
    }
  }
}

TEST(CorpusJsonField, AgreesWithAnotherParserOnRandomObjects) {
  std::mt19937 random(5);
  int found = 0;
  for (int i = 0; i < 3000; ++i) {
    Json object = Json::object();
    for (const char* name : {"a", "b", "c"}) object[name] = random_value(random, 0);
    const std::string json = object.dump(random() % 2 ? -1 : 1, ' ', random() % 2 == 0);
    for (const std::string field : {"a", "b.c", "c.a.b"}) {
      Json at = object;
      for (size_t begin = 0; begin <= field.size(); begin += 2) {
        const auto name = field.substr(begin, 1);
        at = at.is_object() && at.contains(name) ? Json(at[name]) : Json(Json::value_t::discarded);
      }
      if (at.is_discarded() || at.is_null() || at.is_string()) {
        const JsonField got = json_field(json, field, "here");
        ASSERT_EQ(got.kind, at.is_string() ? Kind::text : at.is_null() ? Kind::null : Kind::absent) << json << field;
        if (at.is_string()) {
          ASSERT_EQ(got.text, at.get<std::string>()) << json;
        }
        found += at.is_string();
      } else {
        expect_error([&] { json_field(json, field, "here"); }, Code::data, "not a string", "here:", "field");
      }
    }
  }
  EXPECT_GT(found, 300);
}

TEST(CorpusJsonField, RefusesWhatAnotherParserRefuses) {
  std::mt19937 random(6);
  int bad = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string json = R"({"a":[1,-2.5e3,true,null,"x\n\u00e4"],"text":"y","b":{"c":{}}})";
    for (auto n = 1 + random() % 2; n > 0; --n) {
      const size_t at = random() % json.size();
      if (random() % 2 == 0)
        json.erase(at, 1);
      else
        json[at] = R"({}[]",:\0e+-t1 )"[random() % 15];
    }
    bool taken = true;
    try {
      json_field(json, "nothing", "here");
    } catch (const Error&) {
      taken = false;
    }
    // Names that are there twice are no fault unless they are asked for.
    const nlohmann::json other = nlohmann::json::parse(json, nullptr, false);
    ASSERT_EQ(taken, other.is_object()) << json;
    bad += !taken;
  }
  EXPECT_GT(bad, 10000);
}

TEST(CorpusJsonLines, ADocumentALine) {
  const std::string text =
      "\xef\xbb\xbf{\"text\":\"one\"}\r\n\n{\"text\":\"\"}\n  \n{\"text\":null}\n{\"text\":\"two\\nlines\"}";
  for (size_t piece = 1; piece < text.size() + 2; ++piece) {
    const auto reader = json_lines(in_memory(text, piece), "file", "text");
    const std::vector<Document> documents = all_of(*reader);
    ASSERT_EQ(documents.size(), 2u);
    EXPECT_EQ(documents[0].name, "file:1");
    EXPECT_EQ(documents[0].text, "one");
    EXPECT_EQ(documents[1].name, "file:6");
    EXPECT_EQ(documents[1].text, "two\nlines");
    EXPECT_TRUE(documents[0].ends && documents[1].ends);
    EXPECT_EQ(reader->empty(), 2);
  }
}

TEST(CorpusJsonLines, HostileFiles) {
  const std::string good = "{\"text\":\"x\"}\n";
  std::string deep = "{\"a\":";
  for (int i = 0; i < 100000; ++i) deep += '[';
  const std::vector<Hostile> all = {
      {"", "no line in this file", "here", "put JSON"},
      {"\n\n \n", "no line in this file", "here", "put JSON"},
      {good + "{\"txet\":\"x\"}\n", "no field 'text'", "here:2", "did you mean 'txet'"},
      {good + "{\"body\":\"x\",\"id\":1}\n", "no field 'text'", "here:2", "field = \"body\""},
      {good + "{}\n", "no field 'text'", "here:2", "empty"},
      {good + "\n{\"text\":3}\n", "is a number, not a string", "here:3:9", "field"},
      {"{\"text\":[\"x\"]}\n", "is an array, not a string", "here:1:9", "field"},
      {"{\"text\":{\"text\":\"x\"}}\n", "is an object, not a string", "here:1:9", "field"},
      {"{\"text\":true}\n", "is a truth value, not a string", "here:1:9", "field"},
      {"{\"text\":\"x\",\"text\":\"y\"}\n", "is there twice", "here:1:20", "leave one"},
      {"[\n{\"text\":\"x\"}\n]\n", "an array in place of an object", "here:1:1", "jq -c '.[]'"},
      {"{\n\"text\":\"x\"\n}\n", "the JSON ends too early", "here:1:2", "jq -c ."},
      {"\"text\"\n", "a string in place of an object", "here:1:1", "one JSON object"},
      {"some words\n", "something that is no JSON in place of an object", "here:1:1", "one JSON object"},
      {good + "{\"text\":\"x\"} {\"text\":\"y\"}\n", "something follows the object", "here:2:14", "one JSON object"},
      {good + "{\"text\":\"x\n", "the JSON ends too early: the end of a string", "here:2:11", "on one"},
      {good + "{\"text\":\"x\\q\"}\n", "after '\\' was expected in place of 'q'", "here:2:12", "json.dumps"},
      {good + "{\"text\":\"\\ud83e\"}\n", "half of a surrogate pair", "here:2:10", "pair"},
      {good + "{\"text\":\"\\udd8a\\ud83e\"}\n", "half of a surrogate pair", "here:2:10", "pair"},
      {good + "{\"text\":\"a\\u0000b\"}\n", "has a NUL character", "here:2:9", "leave such"},
      {good + "{\"text\":\"a\tb\"}\n", "the end of a string was expected", "here:2:11", "one JSON object"},
      {good + "{\"text\":\"K\xf6ln\"}\n", "byte 0xf6 at offset 10", "here:2", "iconv"},
      {good + std::string("{\"text\":\"a\0b\"}\n", 15), "NUL byte at offset 10", "here:2", "plain text"},
      {"\xff\xfe{\0\"\0", "UTF-16", "here", "iconv"},
      {deep, "more than 200 levels", "here:1:", "one JSON object"},
      {"{\"text\":\"" + std::string(2000, 'x') + "\"}", "line 1 has more than 1000 bytes", "here:1", "cut it"},
      {good + "{\"text\":01}\n", "is a number, not a string", "here:2:9", "field"},
      {good + "{\"a\":01,\"text\":\"\"}\n", "',' or '}' was expected in place of '1'", "here:2:7", "json.dumps"},
      {good + "{'text':'x'}\n", "a name in quotes was expected", "here:2:2", "json.dumps"},
  };
  refuse_all(all, [](const std::string& content) {
    all_of(*json_lines(in_memory(content, 700), "file", "text", content.size() > 10000 ? 1 << 20 : 1000));
  });
}

TEST(CorpusJsonLines, MemoryIsThatOfTheLargestLine) {
  std::string block;
  while (block.size() < 1 << 20) block += "{\"id\":[1,2,3,4,5,6,7,8,9],\"text\":\"" + std::string(1000, 'x') + "\"}\n";
  const PeakMemory memory;
  const auto many = json_lines(std::make_unique<RepeatedBytes>("", block, 100, ""), "name", "text");
  int64_t bytes = 0;
  for (Document document; many->next(document);) bytes += static_cast<int64_t>(document.text.size());
  EXPECT_GT(bytes, int64_t{90} << 20);
  EXPECT_LT(memory.grown(), int64_t{16} << 20);
  // A hundred million values that nobody asked for.
  std::string numbers;
  while (numbers.size() < 1 << 20) numbers += "1,";
  const auto one =
      json_lines(std::make_unique<RepeatedBytes>("{\"a\":[", numbers, 32, "1],\"text\":\"x\"}"), "name", "text");
  EXPECT_EQ(texts_of(*one), (std::vector<std::string>{"x"}));
  EXPECT_LT(memory.grown(), int64_t{160} << 20);
}

}  // namespace
}  // namespace etude::corpus::json_lines_test
