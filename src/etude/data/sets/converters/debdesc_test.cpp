#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "etude/base/testing.h"
#include "etude/data/sets/converters.h"

namespace etude::debdesc_test {
namespace {

using nlohmann::json;

constexpr const char* kPackages =
    "Package: vim\n"
    "Source: vim (2:9.0)\n"
    "Description: Vi IMproved\n"
    "Homepage: https://www.vim.org/\n"
    "Description-md5: aa\n"
    "Tag: implemented-in::c, use::{editing,viewing}, role::TODO,\n"
    " special::not-yet-tagged\n"
    "Section: editors\n"
    "\n"
    "Package: vim\n"
    "Description: an older one\n"
    "\n"
    "Package: hello\n"
    "Description: greets\n"
    "Description-md5: bb\n";
constexpr const char* kEnglish =
    "Package: vim\n"
    "Description-md5: aa\n"
    "Description-en: Vi IMproved\n"
    " Vim is an almost\n"
    " compatible version of Vi; neovim is another.\n"
    " .\n"
    " Features:\n"
    "  * undo\n"
    "  * VIM script\n"
    " and more.\n"
    "\n"
    "Package: hello\n"
    "Description-md5: bb\n"
    "Description-en: greets\n";
constexpr const char* kItalian =
    "Package: vim\n"
    "Description-md5: aa\n"
    "Description-it: Vi migliorato\n"
    " Una versione\n"
    " di Vi.\n";

std::vector<json> converted(Convert convert, const std::string& language = "") {
  SetDescription set;
  if (!language.empty()) set.options["language"] = language;
  std::vector<json> found;
  convert(MemberTexts(std::map<std::string, std::string>{{"dists/x/main/binary-amd64/Packages", kPackages},
                                                         {"dists/x/main/i18n/Translation-en", kEnglish},
                                                         {"dists/x/main/i18n/Translation-it", kItalian}}),
          set, [&](const json& d) { found.push_back(d); });
  return found;
}

TEST(Debdesc, JoinsPackagesWithTheirTexts) {
  const auto found = converted(convert::debdesc);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0]["body"],
            "Vim is an almost compatible version of Vi; neovim is another.\n\nFeatures:\n * undo\n * VIM script\nand "
            "more.");
  EXPECT_EQ(found[0]["text"], "Vi IMproved\n\n" + found[0]["body"].get<std::string>());
  EXPECT_EQ(found[0]["source"], "vim");
  EXPECT_EQ(found[0]["section"], "editors");
  EXPECT_EQ(found[0]["homepage"], "https://www.vim.org/");
  EXPECT_EQ(found[0]["tags"],
            json({"implemented-in::c", "role::TODO", "special::not-yet-tagged", "use::editing", "use::viewing"}));
  EXPECT_EQ(found[1]["id"], "hello");
  EXPECT_EQ(found[1]["text"], "greets");
  EXPECT_EQ(found[1]["source"], "hello");
}

TEST(Debdesc, TranslationsStandBesideEnglish) {
  const auto found = converted(convert::debdesc, "it");
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0]["text"], "Vi migliorato\n\nUna versione di Vi.");
  EXPECT_EQ(found[0]["it"], found[0]["text"]);
  EXPECT_EQ(found[0]["en"].get<std::string>().substr(0, 18), "Vi IMproved\n\nVim i");
}

TEST(Debdesc, TheStatusFileHasItsTextsInside) {
  std::vector<json> found;
  convert::debdesc(MemberTexts(std::map<std::string, std::string>{
                       {"var/lib/dpkg/status",
                        "Package: a\nStatus: install ok installed\nDescription: first\n  code\n text\n\n"
                        "Package: b\nStatus: deinstall ok config-files\nDescription: gone\n"}}),
                   {}, [&](const json& d) { found.push_back(d); });
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0]["text"], "first\n\n code\ntext");
}

TEST(Debtags, HidesTheNameAndWhatIsMissing) {
  const auto found = converted(convert::debtags);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0]["tags"], json({"implemented-in::c", "special::not-yet-tagged", "use::editing", "use::viewing"}));
  EXPECT_EQ(found[0]["facets"], json({"implemented-in", "special", "use"}));
  EXPECT_EQ(
      found[0]["body"],
      "PACKAGE is an almost compatible version of Vi; neovim is another.\n\nFeatures:\n * undo\n * PACKAGE script\n"
      "and more.");
}

TEST(Debdesc, OtherFilesAreRefusedWithTheirLine) {
  const auto refused = [](const std::string& text, std::string_view what, std::string_view where) {
    expect_error(
        [&] {
          convert::debdesc(MemberTexts(std::map<std::string, std::string>{{"x/Packages", text}}), {},
                           [](const json&) {});
        },
        Code::data, what, where);
  };
  refused("Package: a\nno colon here\n", "no 'Field: value'", "x/Packages:2");
  refused(" goes on\n", "goes on where no field stands", "x/Packages:1");
  refused("Version: 1\n", "names no package", "x/Packages");
}

}  // namespace
}  // namespace etude::debdesc_test
