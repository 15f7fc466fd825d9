#include "etude/data/sets/wml.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "etude/base/testing.h"
#include "etude/data/sets/converters.h"

namespace etude::wml_test {
namespace {

std::vector<WmlLine> lines(const std::string& text) { return read_wml_dialogue(text, "c.cfg"); }

TEST(Wml, TextsInAllTheirForms) {
  const auto text = [](const std::string& value) {
    const auto all = lines("[message]\nspeaker=A\nmessage=" + value + "\n[/message]\n");
    return all.empty() ? "nothing" : all[0].text;
  };
  EXPECT_EQ(text(R"(_ "say ""yes"" # no comment")"), "say \"yes\" # no comment");
  EXPECT_EQ(text("_\"two\nlines \""), "two\nlines");
  EXPECT_EQ(text("_ \"a \" + # comment\n   _ \"b\""), "a b");
  EXPECT_EQ(text("\"a\" + {X ( \"}\" {Y} )} + \"b\""), "ab");
  EXPECT_EQ(text("<<raw \"text\">> # comment"), "raw \"text\"");
  EXPECT_EQ(text("plain words # comment"), "plain words");
  EXPECT_EQ(text("{MACRO}"), "nothing");
  EXPECT_EQ(text("_ \"  \""), "nothing");
  EXPECT_EQ(text("\"a\"\nspeaker=B"), "a");
}

TEST(Wml, DialoguesAreTheMessagesOfAnEvent) {
  const auto all = lines(R"(#textdomain wesnoth
# [message] no [/message]
[scenario]
    [event]
        name=prestart
#ifdef EASY
        [message]
            speaker=Konrad
            message= _ "One."
            [option]
                label= _ "Yes"
                [command]
                    [message]
                        speaker=narrator
                        message= _ "Nested."
                    [/message]
                [/command]
            [/option]
            [option]
                message= _ "No"
            [/option]
        [/message]
#endif
        {MACRO 3 4 "x[y" ( _ "z") (
            [message]
                id=Delfador
                message= _ "Two."
            [/message]
        )}
        [unit]
            message=no
        [/unit]
    [/event]
    [+event]
        [message]
            speaker=unit
            message=Three
        [/message]
        name=last breath
    [/event]
    [message]
        message="Four"
    [/message]
[/scenario])");
  ASSERT_EQ(all.size(), 5u);
  const auto brief = [](const WmlLine& l) {
    return l.speaker + "|" + l.text + "|" + l.event + "|" + std::to_string(l.dialogue) + "|" + std::to_string(l.turn);
  };
  EXPECT_EQ(brief(all[0]), "Konrad|One.|prestart|1|1");
  EXPECT_EQ(all[0].options, (std::vector<std::string>{"Yes", "No"}));
  EXPECT_EQ(all[0].line, 7);
  EXPECT_EQ(brief(all[1]), "narrator|Nested.|prestart|1|2");
  EXPECT_EQ(brief(all[2]), "|Two.|prestart|1|3");
  EXPECT_EQ(all[2].line, 25);
  EXPECT_EQ(brief(all[3]), "unit|Three|last breath|2|1");
  EXPECT_EQ(brief(all[4]), "|Four||0|1");
}

TEST(Wml, WhatDoesNotEndIsRefusedWithItsLine) {
  const auto refused = [](const std::string& text, std::string_view what, std::string_view where) {
    expect_error([&] { lines(text); }, Code::data, what, where);
  };
  refused("[a]\nb=\"c\n[/a]\n", "a text has no '\"' at its end", "c.cfg:2");
  refused("[a]\n\nb=<<c\n[/a]\n", "a text has no '>>' at its end", "c.cfg:3");
  refused("[a]\nb={c\n[/a]\n", "a macro's '{' has no '}'", "c.cfg:2");
  refused("[a\n]", "a tag has no ']'", "c.cfg:1");
  refused("x=1\n\"text", "a text has no '\"' at its end", "c.cfg:2");
}

TEST(Wml, TagsThatDoNotMatchAreNoMatter) {
  std::string open;
  for (int i = 0; i < 100000; ++i) open += "[a]";
  for (int i = 0; i < 100000; ++i) open += "[/b]";
  EXPECT_TRUE(lines(open).empty());
  EXPECT_EQ(lines("[/a][event][if][message]message=x\n[/event][message]message=y\n[/message]").size(), 2u);
}

TEST(Wml, ALineIsADocument) {
  std::vector<nlohmann::json> found;
  convert::wml(
      MemberTexts(std::map<std::string, std::string>{
          {"usr/share/games/wesnoth/1.16/data/campaigns/Liberty/scenarios/01_The_Raid.cfg",
           "[event]\nname=start\n[message]\nspeaker=Baldras\nmessage=_\"So!\"\n[/message]\n[/event]\n"},
          {"usr/share/games/wesnoth/1.16/data/campaigns/Liberty/_main.cfg", "[message]\nmessage=x\n[/message]"}}),
      {}, [&](const nlohmann::json& d) { found.push_back(d); });
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0]["id"], "Liberty/_main#1");
  EXPECT_EQ(found[1], nlohmann::json::parse(R"({
      "id": "Liberty/scenarios/01_The_Raid#1", "text": "So!", "campaign": "Liberty", "file": "scenarios/01_The_Raid",
      "event": "start", "dialogue": "Liberty/scenarios/01_The_Raid#event1", "turn": 1, "speaker": "Baldras"})"));
}

}  // namespace
}  // namespace etude::wml_test
