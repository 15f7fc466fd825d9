#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "etude/base/testing.h"
#include "etude/data/sets/converters.h"

namespace etude::metamath_test {
namespace {

using nlohmann::json;

std::vector<json> theorems_of(const std::string& text) {
  std::vector<json> found;
  convert::metamath(MemberTexts(std::map<std::string, std::string>{{"mm/demo.mm", text}}), {},
                    [&](const json& d) { found.push_back(d); });
  return found;
}

// The propositional calculus of the Metamath book, as far as "id" needs it.
constexpr const char* kBeginning =
    "$c ( ) -> wff |- $. $v ph ps ch $.\n"
    "wph $f wff ph $. wps $f wff ps $. wch $f wff ch $.\n"
    "wi $a wff ( ph -> ps ) $.\n"
    "ax-1 $a |- ( ph -> ( ps -> ph ) ) $.\n"
    "${ mpd.1 $e |- ( ph -> ps ) $. mpd.2 $e |- ( ph -> ( ps -> ch ) ) $. mpd $a |- ( ph -> ch ) $. $}\n";

TEST(Metamath, DecodesTheProofOfId) {
  // The proof as set.mm has it. A is the type of ph; B, C, D are wi, ax-1, mpd; Z keeps ( ph -> ph ), which E uses.
  const auto found = theorems_of(std::string(kBeginning) +
                                 "  $( Principle of\n identity. $)\n"
                                 "  id $p |- ( ph -> ph ) $=\n    ( wi ax-1 mpd ) AAABZAAACAECD $.\n");
  ASSERT_EQ(found.size(), 1u);
  const std::string expected = "wph wph wph wi:1 wph wph wph ax-1 wph @1 ax-1 mpd";
  EXPECT_EQ(found[0]["proof"], expected);
  EXPECT_EQ(found[0]["text"], "id $p |- ( ph -> ph ) $= " + expected + " $.");
  EXPECT_EQ(found[0]["comment"], "Principle of identity.");
  EXPECT_EQ(found[0]["label"], "id");
  EXPECT_EQ(found[0]["id"], "id");
  EXPECT_EQ(found[0]["database"], "demo");
  EXPECT_EQ(found[0]["hypotheses"], json::array());
}

TEST(Metamath, PremisesAndTypesInTheOrderOfTheFile) {
  // Of types, ph (A) and ch (B), which only a premise has; C is the premise in scope, D the first label.
  const auto found = theorems_of(std::string(kBeginning) +
                                 "${ x.1 $e |- ( ph -> ch ) $. ${ x.2 $e |- ps $. $}\n"
                                 "x $p |- ph $= ( ax-1 ) ABCD $. $}\n"
                                 "y $p |- ph $= wph ? $.\n");
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0]["proof"], "wph wch x.1 ax-1");
  EXPECT_EQ(found[0]["hypotheses"], json({"|- ( ph -> ch )"}));
  EXPECT_EQ(found[0]["text"], "x.1 $e |- ( ph -> ch ) $.\nx $p |- ph $= wph wch x.1 ax-1 $.");
  EXPECT_EQ(found[1]["proof"], "wph ?");
}

TEST(Metamath, NumbersOfTwoLetters) {
  // 1 to 20 are A to T; 21 is UA, 120 is YT, 121 is UUA.
  std::string labels;
  for (int i = 1; i <= 130; ++i) labels += " l" + std::to_string(i);
  const auto proof = [&](const std::string& letters) {
    return theorems_of("$c |- $. t $p |- $= (" + labels + " ) " + letters + " $.")[0]["proof"].get<std::string>();
  };
  EXPECT_EQ(proof("AT"), "l1 l20");
  EXPECT_EQ(proof("UA UT VA"), "l21 l40 l41");
  EXPECT_EQ(proof("YT"), "l120");
  EXPECT_EQ(proof("UUA"), "l121");
}

TEST(Metamath, CommentsAreNoStatements) {
  EXPECT_TRUE(theorems_of("$( x $p |- y $= z $. $[ other.mm $] $) $c a $.").empty());
}

TEST(Metamath, OtherFilesAreRefusedWithTheirLine) {
  const auto refused = [](const std::string& text, std::string_view what) {
    expect_error([&] { theorems_of("$c |- $.\n" + text); }, Code::data, what, "mm/demo.mm:2");
  };
  refused("$( open", "a comment is not closed");
  refused("$}", "never opened");
  refused("${", "a scope is not closed");
  refused("$[ a.mm $]", "it includes another file");
  refused("$. $.", "stands where a label should");
  refused("a b c $.", "is no label");
  refused("a $a b", "is not ended by '$.'");
  refused("a $p b $.", "is not ended by '$='");
  refused("a $f wff $.", "is no type of a variable");
  refused("a $p |- $= ( b A $.", "has no ')'");
  refused("a $p |- $= ( b ) Z $.", "keeps what isn't there");
  refused("a $p |- $= ( b ) AUZ $.", "keeps what isn't there");
  refused("a $p |- $= ( b ) B $.", "uses a step that isn't there");
  refused("a $p |- $= ( b ) a $.", "has the letter 'a'");
  refused("a $p |- $= ( b ) " + std::string(60, 'Y') + "A $.", "a number that is too large");
}

}  // namespace
}  // namespace etude::metamath_test
