#include "etude/data/sets/description.h"

#include <gtest/gtest.h>

#include <set>

#include "etude/base/testing.h"
#include "etude/data/sets/converters.h"

namespace etude::description_test {
namespace {

constexpr const char* kSet =
    "[some]\ntitle = \"Some\"\nlicence = \"free\"\nabout = \"lines\"\nkind = \"words\"\nmembers = [\"usr/*\"]\n";
const std::string kPackage =
    "[[some.package]]\nname = \"a\"\nversion = \"1\"\nsha256 = \"" + std::string(64, '0') + "\"\n";

TEST(SetDescriptions, EverySetOfTheProgramCanBeMade) {
  std::set<std::string> names;
  for (const SetDescription& set : set_descriptions()) {
    EXPECT_TRUE(names.insert(set.name).second) << set.name;
    EXPECT_NO_THROW(converter(set.kind)) << set.name;
    EXPECT_FALSE(set.title.empty() || set.licence.empty() || set.about.empty() || set.split.empty()) << set.name;
    EXPECT_GT(set.documents, 0) << set.name;
    if (set.source != SetDescription::Source::packages) continue;
    EXPECT_EQ(set.content.size(), 64u) << set.name;
    EXPECT_GT(set.packed_bytes(), 0) << set.name;
  }
  EXPECT_EQ(set_description("kjv").documents, 31102) << "the verses of the King James Version";
}

TEST(SetDescriptions, ReadsAllThatIsSaid) {
  const auto sets =
      parse_set_descriptions(std::string(kSet) + "split = \"by line\"\nterms = \"none\"\noptions = {a = \"b\"}\n" +
                                 "documents = 3\nbytes = 40\n" + kPackage + "bytes = 7\n" + kPackage +
                                 "bytes = 8\n[idx]\ntitle = \"t\"\nlicence = \"l\"\nabout = \"a\"\nkind = \"debdesc\"\n"
                                 "source = \"indexes\"\n",
                             "x.toml");
  ASSERT_EQ(sets.size(), 2u);
  EXPECT_EQ(sets[0].name, "idx");
  EXPECT_EQ(sets[0].source, SetDescription::Source::indexes);
  const SetDescription& some = sets[1];
  EXPECT_EQ(some.options, (std::map<std::string, std::string>{{"a", "b"}}));
  EXPECT_EQ(some.documents, 3);
  EXPECT_EQ(some.bytes, 40);
  EXPECT_EQ(some.packed_bytes(), 15);
  EXPECT_EQ(some.split + some.terms, "by linenone");
}

TEST(SetDescriptions, SaysWhatIsWrongAndWhere) {
  const auto refused = [](const std::string& toml, std::string_view what, std::string_view where) {
    expect_error([&] { parse_set_descriptions(toml, "x.toml"); }, Code::config, what, where);
  };
  refused("some = 1\n", "'some' must be a table", "x.toml:1");
  refused(std::string(kSet) + "colour = \"red\"\n" + kPackage, "unknown key 'colour'", "x.toml:7");
  refused("[some]\ntitle = 3\n", "'title' must be a text", "x.toml:2");
  refused(std::string(kSet) + "documents = -1\n" + kPackage, "'documents' must be a whole number", "x.toml:7");
  refused(std::string(kSet) + "content = \"abc\"\n" + kPackage, "'abc' is no SHA-256", "x.toml");
  refused(std::string(kSet) + "[[some.package]]\nname = \"a\"\nversion = \"1\"\nsha256 = \"12\"\n",
          "'12' is no SHA-256 of a", "x.toml");
  refused(kSet, "has packages if and only if", "x.toml");
  refused(std::string(kSet) + "source = \"indexes\"\n" + kPackage, "has packages if and only if", "x.toml");
  refused(std::string(kSet) + "source = \"cloud\"\n", "no source 'cloud'", "x.toml:7");
}

TEST(SetDescriptions, SuggestsTheNearestName) {
  expect_error([] { set_description("fortune"); }, Code::data, "there is no data set 'fortune'", "set:fortune",
               "did you mean 'fortunes'");
}

TEST(Glob, StarsStayInAFolderUnlessTheyAreTwo) {
  EXPECT_TRUE(matches_glob("usr/*/a", "usr/share/a"));
  EXPECT_FALSE(matches_glob("usr/*/a", "usr/share/x/a"));
  EXPECT_TRUE(matches_glob("usr/**/a", "usr/share/x/a"));
  EXPECT_TRUE(matches_glob("**.mm", "x/y.mm"));
  EXPECT_FALSE(matches_glob("*.mm", "x/y.mm"));
  EXPECT_TRUE(matches_glob("a/?t.bz?", "a/ot.bzs"));
  EXPECT_FALSE(matches_glob("a?b", "a/b"));
  EXPECT_TRUE(matches_glob("*ab", "aab"));
  EXPECT_TRUE(matches_glob("**x*b", "x/yx/xb"));
  EXPECT_FALSE(matches_glob("*", "a/"));
  EXPECT_TRUE(matches_glob("*", ""));
  EXPECT_TRUE(matches_glob("", ""));
  EXPECT_FALSE(matches_glob("", "a"));
  EXPECT_FALSE(matches_glob("a", ""));
}

}  // namespace
}  // namespace etude::description_test
