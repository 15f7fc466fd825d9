#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "etude/base/testing.h"
#include "etude/data/sets/converters.h"

namespace etude::wordnet_test {
namespace {

std::vector<nlohmann::json> converted(const std::string& name, const std::string& data) {
  std::vector<nlohmann::json> found;
  convert::wordnet(MemberTexts(std::map<std::string, std::string>{{"wordnet/" + name, data}}), {},
                   [&](const nlohmann::json& d) { found.push_back(d); });
  return found;
}

TEST(WordNet, ASynsetIsADocument) {
  // Two words (hexadecimal), three pointers (decimal), one frame of a verb.
  const auto found = converted(
      "data.verb",
      "  1 This software\n"
      "00001740 29 v 02 breathe 0 take_a_breath 0 003 * 00005041 v 0000 @ 00004227 n 0101 @ 00004227 n 0201 01 + 02 00 "
      "| draw air (\"in\"); \"I can breathe\"; \"he is respiring\"  \n");
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0], nlohmann::json::parse(R"json({
      "id": "v00001740", "pos": "verb", "topic": "verb.body", "lemmas": ["breathe", "take a breath"],
      "text": "draw air (\"in\"); \"I can breathe\"; \"he is respiring\"",
      "definition": "draw air (\"in\")", "examples": ["I can breathe", "he is respiring"],
      "relations": {
    "entailments" : ["v00005041"], "hypernyms" : ["n00004227"]}
})json"));
}

TEST(WordNet, AdjectivesAndNamesOfTopics) {
  const auto found = converted("data.adj",
                               "00004413 00 s 01 last(p) 0 002 & 00003939 s 0000 \\ 00000001 n 0101 | at the end\n"
                               "00004414 44 a 0a a 0 b 0 c 0 d 0 e 0 f 0 g 0 h 0 i 0 j 0 000 | ten words\n");
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0]["lemmas"], nlohmann::json({"last"}));
  EXPECT_EQ(found[0]["topic"], "adj.all");
  EXPECT_EQ(found[0]["relations"]["similar"], nlohmann::json({"a00003939"}));
  EXPECT_EQ(found[0]["relations"]["pertains_to"], nlohmann::json({"n00000001"}));
  EXPECT_EQ(found[0]["examples"], nlohmann::json::array());
  EXPECT_EQ(found[1]["lemmas"].size(), 10u);
  EXPECT_EQ(found[1]["topic"], "adj.ppl");
}

TEST(WordNet, OtherLinesAreRefusedWithTheirNumber) {
  const auto refused = [](const std::string& line, std::string_view what) {
    expect_error([&] { converted("data.noun", "  1 licence\n" + line + "\n"); }, Code::data, what,
                 "wordnet/data.noun:2");
  };
  refused("text", "a synset has no gloss");
  refused("00001740 03 n 01 entity 0 | x", "a synset's line ends too early");
  refused("00001740 03 n ff entity 0 000 | x", "a synset's line ends too early");
  refused("00001740 03 n 01 entity 0 999 @ 00001740 n 0000 | x", "a synset's line ends too early");
  refused("1740 03 n 01 entity 0 000 | x", "a synset refers to '1740 n'");
  refused("00001740 3 n 01 entity 0 000 | x", "a synset has '3' where a number of 2 digits stands");
  refused("00001740 -1 n 01 entity 0 000 | x", "a synset has '-1' where a number of 2 digits stands");
  refused("00001740 77 n 01 entity 0 000 | x", "there is no topic 77");
  refused("00001740 03 n 01 entity 0 001 =! 00001740 n 0000 | x", "there is no relation '=!'");
  refused("00001740 03 n 01 entity 0 001 @ 00001740 x 0000 | x", "a synset refers to '00001740 x'");
}

}  // namespace
}  // namespace etude::wordnet_test
