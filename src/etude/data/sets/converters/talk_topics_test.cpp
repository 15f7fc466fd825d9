#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "etude/base/testing.h"
#include "etude/data/sets/converters.h"

namespace etude::talk_topics_test {
namespace {

std::vector<nlohmann::json> converted(const std::string& json, const std::string& path = "g/json/npcs/A.json") {
  std::vector<nlohmann::json> found;
  convert::talk_topics(MemberTexts(std::map<std::string, std::string>{{path, json}}), {},
                       [&](const nlohmann::json& d) { found.push_back(d); });
  return found;
}

TEST(TalkTopics, ANodeIsADocument) {
  const auto found = converted(R"([
    {"type": "recipe", "id": "soup"},
    {"type": "talk_topic", "id": "TALK_A",
     "dynamic_line": {"u_has_trait": "SAPIOVORE", "yes": ["Away!", {"npc_male": "Sir?", "npc_female": true}],
                      "no": {"and": ["Hello, ", {"gendered_line": "friend.", "relevant_genders": ["npc"]}, "  "]}},
     "responses": [
       {"text": "Who are you?", "topic": "TALK_B"},
       {"text": "Give me that.", "trial": {"type": "LIE"}, "success": {"topic": "TALK_C"}, "failure": {"topic": "TALK_D"}},
       {"truefalsetext": {"condition": "u_male", "true": "Yes.", "false": "No."}, "topic": "TALK_DONE"}, 7]},
    {"type": "talk_topic", "id": ["TALK_E", "TALK_F"], "responses": [{"text": "Bye.", "topic": "TALK_DONE"}]},
    {"type": "talk_topic", "id": "TALK_A", "dynamic_line": "Again."},
    {"type": "talk_topic", "id": "TALK_EMPTY"}])");
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0]["id"], "npcs/A/TALK_A");
  EXPECT_EQ(found[0]["lines"], nlohmann::json::parse(R"(["Hello,", "friend.", "Away!", "Sir?"])"));
  EXPECT_EQ(found[0]["text"], "Hello,\nfriend.\nAway!\nSir?");
  EXPECT_EQ(found[0]["replies"], nlohmann::json::parse(R"([
      {"text": "Who are you?", "topic": "TALK_B"}, {"text": "Give me that.", "topic": "TALK_C"},
      {"text": "Yes.", "topic": "TALK_DONE"}, {"text": "No.", "topic": "TALK_DONE"}])"));
  EXPECT_EQ(found[1]["text"], "Bye.");
  EXPECT_EQ(found[1]["topics"], nlohmann::json::parse(R"(["TALK_E", "TALK_F"])"));
  EXPECT_EQ(found[2]["id"], "npcs/A/TALK_A#2");
  EXPECT_EQ(converted(R"({"type": "talk_topic", "id": "T", "dynamic_line": "x"})", "g/mods/M/n.json")[0]["id"],
            "mods/M/n/T");
}

TEST(TalkTopics, WhatIsNoDialogueIsRefusedOrPassedOver) {
  expect_error([] { converted("[{]"); }, Code::data, "it is no JSON", "g/json/npcs/A.json");
  expect_error([] { converted(R"([{"type": "talk_topic"}])"); }, Code::data, "a topic has no id", "A.json");
  expect_error([] { converted(R"([{"type": "talk_topic", "id": [7]}])"); }, Code::data, "a topic has no id", "A.json");
  EXPECT_TRUE(converted("7").empty());
  EXPECT_TRUE(
      converted(R"([7, {"type": 7}, {"type": "talk_topic", "id": "T", "dynamic_line": 7, "responses": 7}])").empty());
  std::string deep = "\"far down\"";
  for (int i = 0; i < 10000; ++i) deep = "[" + deep + "]";
  EXPECT_TRUE(converted(R"([{"type": "talk_topic", "id": "T", "dynamic_line": )" + deep + "}]").empty());
}

}  // namespace
}  // namespace etude::talk_topics_test
