#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "etude/base/testing.h"
#include "etude/data/sets/converters.h"

// Fortunes, words, dictionaries, books of plain text and Markdown, lists of facts.

namespace etude::texts_test {
namespace {

using nlohmann::json;

std::vector<json> converted(Convert convert, std::map<std::string, std::string> members, SetDescription set = {}) {
  std::vector<json> found;
  convert(MemberTexts(std::move(members)), set, [&](const json& d) { found.push_back(d); });
  return found;
}

std::vector<std::string> all_of(const std::vector<json>& documents, const char* key) {
  std::vector<std::string> found;
  for (const json& d : documents) found.push_back(d.at(key));
  return found;
}

using Texts = std::vector<std::string>;

TEST(Fortunes, RecordsStandBetweenPercentSigns) {
  const auto found = converted(convert::fortunes, {{"games/zippy", "one\n  line\n%\ntwo: 100%\n%\n\n%\n%%\n"},
                                                   {"games/zippy.dat", "\0\0\0\2%\nx"},
                                                   {"games/zippy.u8", "one again\n"},
                                                   {"games/art", "last without an end"}});
  EXPECT_EQ(all_of(found, "id"), (Texts{"art/1", "zippy/1", "zippy/2", "zippy/3"}));
  EXPECT_EQ(all_of(found, "text"), (Texts{"last without an end", "one\n  line", "two: 100%", "%%"}));
  EXPECT_EQ(all_of(found, "label"), (Texts{"art", "zippy", "zippy", "zippy"}));
}

TEST(Fortunes, OlderEncodingsAndOverstrikes) {
  const auto found = converted(convert::fortunes, {{"it/x", "perch\xE9 no\n"}, {"it/y", "_\bu_\bn\xC3\xA9\be\n\b!\n"}});
  EXPECT_EQ(all_of(found, "text"), (Texts{"perché no", "une\n!"}));
}

TEST(Words, AWordInEachLine) {
  const auto found = converted(convert::words, {{"dict/some", "Aachen's\r\nzebra\n\n  zebra\n"}});
  EXPECT_EQ(all_of(found, "text"), (Texts{"Aachen's", "zebra"}));
}

TEST(Words, AFileThatIsNotUtf8) {
  const auto found = converted(convert::words, {{"dict/some", "na\xEFve\nzo\xE9\n"}});
  EXPECT_EQ(all_of(found, "id"), (Texts{"naïve", "zoé"}));
}

TEST(Dictd, ArticlesWithAllTheirHeadwords) {
  // The second article begins at byte 33 (h) and has 32 (g).
  const std::string dictionary = "abacus /sound/\n1. abaco\n2. conto\nbee\n   an insect\n\n   that flies\n";
  const auto found = converted(
      convert::dictd,
      {{"x.index", "abaci\tA\th\nabacus\tA\th\nbee\th\tg\n00databaseinfo\tA\tB\n\th\tg\n"}, {"x.dict", dictionary}});
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0], json::parse(R"({"id": "abacus", "headword": "abacus", "headwords": ["abaci", "abacus"],
      "text": "abacus /sound/\n1. abaco\n2. conto", "definition": "1. abaco\n2. conto"})"));
  EXPECT_EQ(found[1], json::parse(R"({"id": "bee", "headword": "bee", "headwords": ["bee"],
      "text": "bee\nan insect\n\nthat flies", "definition": "an insect\n\nthat flies"})"));
}

TEST(Dictd, HomographsHaveNumbersAndNumbersTheirDigits) {
  // "BA" is 64: the digit that stands first is worth most.
  const std::string dictionary = "as\nx\n" + std::string(59, ' ') + "as\ny";
  const auto found = converted(convert::dictd, {{"x.index", "as\tA\tF\nas\tBA\tE\n"}, {"x.dict", dictionary}});
  EXPECT_EQ(all_of(found, "id"), (Texts{"as", "as/2"}));
  EXPECT_EQ(all_of(found, "definition"), (Texts{"x", "y"}));
}

TEST(Dictd, IndexesThatLeadNowhereAreRefused) {
  const auto refused = [](const std::string& index, std::string_view what) {
    expect_error(
        [&] {
          converted(convert::dictd, {{"d/x.index", "a\tA\tB\n" + index}, {"d/x.dict", "abc"}});
        },
        Code::data, what, "d/x.index:2");
  };
  refused("word", "lacks its tabs");
  refused("word\tA", "lacks its tabs");
  refused("word\tA\tE", "points outside the dictionary");
  refused("word\tD\tB", "points outside the dictionary");
  refused("word\t\tB", "points outside the dictionary");
  refused("word\t-\tB", "points outside the dictionary");
  refused("word\t////////\t////////", "points outside the dictionary");
  refused("word\t//////////////\tA", "points outside the dictionary");
  expect_error([] { converted(convert::dictd, {{"d/x.index", "a\tA\tB\n"}}); }, Code::data, "is missing", "d/x.index");
}

TEST(PlainText, ANumberedSectionIsADocument) {
  const auto found = converted(convert::plain_text, {{"faq.txt",
                                                      "The FAQ\n\n1. Things\n    1.1. What?\n1.1. In the table\n\n"
                                                      "Chapter\u00A01.\u00A0Things\n\n1.1. What?\n1.2. And a\n"
                                                      "long one?\n\n1.1. What?\n\n    This.\n    That.\n\n"
                                                      "1.2. And a\nlong one?\n\n    3. no heading\n\n"
                                                      "Chapter 2. More\n\nnobody's text\n\n2.1. Empty\n\n"}});
  EXPECT_EQ(all_of(found, "id"), (Texts{"1.1", "1.2"}));
  EXPECT_EQ(all_of(found, "title"), (Texts{"What?", "And a long one?"}));
  EXPECT_EQ(all_of(found, "chapter"), (Texts{"Chapter 1. Things", "Chapter 1. Things"}));
  EXPECT_EQ(found[0]["text"], "1.1. What?\n\n    This.\n    That.");
}

TEST(Markdown, AFileIsADocument) {
  const auto found = converted(
      convert::markdown,
      {{"md/secB2.md", "text\n\n## B.2 Why *so*? \n# other\n"}, {"md/links.md", "# Links"}, {"md/empty.md", " \n"}});
  EXPECT_EQ(all_of(found, "id"), (Texts{"links", "secB2"}));
  EXPECT_EQ(all_of(found, "title"), (Texts{"Links", "B.2 Why *so*?"}));
  EXPECT_EQ(all_of(found, "section"), (Texts{"", "B"}));
}

TEST(IsoCodes, AnEntryIsADocument) {
  const auto found =
      converted(convert::iso_codes,
                {{"json/iso_3166-1.json", R"({"3166-1": [{"alpha_2": "AW", "alpha_3": "ABW", "name": "Aruba"}]})"},
                 {"json/iso_3166-2.json", R"({"3166-2": [{"code": "AD-02", "name": "Canillo"}]})"}});
  EXPECT_EQ(all_of(found, "id"), (Texts{"3166-1/ABW", "3166-2/AD-02"}));
  EXPECT_EQ(found[0]["text"], "alpha_2: AW\nalpha_3: ABW\nname: Aruba");
  EXPECT_EQ(found[1]["list"], "3166-2");
  for (const std::string bad :
       {"", "[1]", "{\"a\": 1}", "{\"a\": [1]}", "{\"a\": [{\"name\": \"x\"}]}", "{\"a\": [], \"b\": []}"})
    expect_error([&] { converted(convert::iso_codes, {{"json/iso_1.json", bad}}); }, Code::data, "", "json/iso_1.json");
}

TEST(TimeZones, AZoneIsADocument) {
  const auto found =
      converted(convert::time_zones,
                {{"z/zone.tab", "# c\nAD\t+4230+00131\tEurope/Andorra\nAQ\t-6617+11031\tAntarctica/Casey\tCasey\n"},
                 {"z/iso3166.tab", "AD\tAndorra\n"}});
  EXPECT_EQ(all_of(found, "id"), (Texts{"Europe/Andorra", "Antarctica/Casey"}));
  EXPECT_EQ(all_of(found, "country"), (Texts{"Andorra", ""}));
  EXPECT_EQ(found[1]["text"], "code: AQ\ncomment: Casey\ncoordinates: -6617+11031\nzone: Antarctica/Casey");
  expect_error(
      [] {
        converted(convert::time_zones, {{"z/zone.tab", "# c\nAD\n"}});
      },
      Code::data, "1 columns", "z/zone.tab:2");
}

TEST(Helpers, TextsInOtherEncodings) {
  EXPECT_EQ(as_utf8("perché"), "perché");
  EXPECT_EQ(as_utf8("perch\xE9 \xA4"), "perché ¤");
  EXPECT_EQ(one_line("  a\n\t b \r\n"), "a b");
}

}  // namespace
}  // namespace etude::texts_test
