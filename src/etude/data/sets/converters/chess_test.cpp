#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "etude/base/testing.h"
#include "etude/data/sets/converters.h"

namespace etude::chess_test {
namespace {

std::vector<nlohmann::json> converted(const std::string& path, const std::string& text) {
  std::vector<nlohmann::json> found;
  convert::chess(MemberTexts(std::map<std::string, std::string>{{path, text}}), {},
                 [&](const nlohmann::json& d) { found.push_back(d); });
  return found;
}

const std::string kProblem = R"(---
authors: 
  - Horwitz, Bernhard
source: Chronicle
date: 1844
algebraic: 
  white: [Kc8, Sd5, Pd2]
  black: [Kf5]
stipulation: "#4"
solution: |
  "1.Kc8-d7 ! zugzwang.
        1...Kf5-e5"
)";

TEST(Chess, AProblemIsADocument) {
  const auto found = converted("puzzles/horwitz.olv", kProblem + kProblem);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[1]["id"], "horwitz#2");
  EXPECT_EQ(found[0], nlohmann::json::parse(R"json({
      "id": "horwitz#1", "composer": "horwitz", "authors": ["Horwitz, Bernhard"], "source": "Chronicle", "date": "1844",
      "white": ["Kc8", "Sd5", "Pd2"], "black": ["Kf5"], "stipulation": "#4", "plain": true,
      "fen": "2K5/8/8/3N1k2/8/8/3P4/8 w - - 0 1", "solution": "1.Kc8-d7 ! zugzwang.\n      1...Kf5-e5",
      "text": "white Kc8 Sd5 Pd2\nblack Kf5\n#4\n\n1.Kc8-d7 ! zugzwang.\n      1...Kf5-e5"})json"));
}

TEST(Chess, WhatIsNotPlain) {
  const auto plain = [](std::string_view from, const std::string& to) {
    std::string text = kProblem;
    text.replace(text.find(from), from.size(), to);
    const nlohmann::json document = converted("x.olv", text)[0];
    return std::pair(document["plain"].get<bool>(), document.contains("fen"));
  };
  EXPECT_EQ(plain("\"#4\"", "\"#12\""), std::pair(true, true));
  EXPECT_EQ(plain("\"#4\"", "\"=\" Black to move"), std::pair(false, true));
  EXPECT_EQ(plain("\"#4\"", "h#4"), std::pair(false, true));
  EXPECT_EQ(plain("\"#4\"", "\"#\""), std::pair(false, true));
  EXPECT_EQ(plain("date: 1844", "options: \n  - Duplex"), std::pair(false, true));
  EXPECT_EQ(plain("date: 1844", "twins: \n  b: Shift"), std::pair(false, true));
  EXPECT_EQ(plain("Sd5", "Gd5"), std::pair(false, false));
  EXPECT_EQ(plain("Sd5", "Si5"), std::pair(false, false));
  EXPECT_EQ(plain("Sd5", "Sd9"), std::pair(false, false));
  EXPECT_EQ(plain("Sd5", "Sc8"), std::pair(false, false));
}

TEST(Chess, CommentsNeedNotBeYaml) {
  const auto found = converted("x.olv", kProblem + "comments: \n  - \"in \\Die Schwalbe\\\"\n---\n" + kProblem);
  EXPECT_EQ(found.size(), 2u);
}

TEST(Chess, GamesOfPgn) {
  const auto found =
      converted("puzzles/mate_in_2.pgn",
                "[Event \"?\"]\r\n[FEN \"8/8/8/8/8/8/8/K1k5 w - - 0 1\"]\n[Termination \"mate in 2\"]\n\n"
                "1. Nf6+ gxf6\n2. Bxf7# *\n\n[Event \"K\xfchn\"]\n[Date \"1857.??.??\"]\n\n1. e4 *\n");
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0], nlohmann::json::parse(R"json({
      "id": "mate_in_2#1", "composer": "mate_in_2", "fen": "8/8/8/8/8/8/8/K1k5 w - - 0 1", "stipulation": "mate in 2",
      "solution": "1. Nf6+ gxf6 2. Bxf7# *", "text": "8/8/8/8/8/8/8/K1k5 w - - 0 1\n\n1. Nf6+ gxf6 2. Bxf7# *"})json"));
  EXPECT_EQ(found[1]["event"], "Kühn");
  EXPECT_EQ(found[1]["date"], "1857.??.??");
  EXPECT_EQ(found[1]["text"], "1. e4 *");
}

TEST(Chess, WhatIsNoProblemIsRefusedWithItsLine) {
  const auto refused = [](const std::string& text, std::string_view what, std::string_view where) {
    expect_error([&] { converted("x.olv", text); }, Code::data, what, where);
  };
  refused("---\na: 1\n---\nb: [1\n", "the problem has no 'algebraic' position", "x.olv:2");
  refused(kProblem + "---\na: b\nb: [1\n", "the problem is no YAML", "x.olv:1");
  refused("- 1\n", "the problem is no map", "x.olv:1");
  refused("algebraic: 7\n", "the problem has no 'algebraic' position", "x.olv:1");
  refused(std::string(100000, '['), "the problem is no YAML", "x.olv:1");
}

}  // namespace
}  // namespace etude::chess_test
