#include "etude/data/sets/roff.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "etude/base/testing.h"
#include "etude/data/sets/converters.h"
#include "etude/data/sets/mdoc.h"
#include "etude/data/sets/roff_table.h"
#include "etude/data/sets/roff_text.h"

namespace etude::roff_test {
namespace {

std::string plain(std::string_view line) { return roff_text(line, {{"R", "®"}, {"xy", "two"}}).text; }
std::string page(const std::string& source) { return read_manual_page(source, "m.1").text; }

TEST(Roff, Escapes) {
  EXPECT_EQ(plain("a\\-b \\fBbold\\fP \\f(CWx\\fR \\f[CR]y\\f[]"), "a-b bold x y");
  EXPECT_EQ(plain("\\(co \\[lq]q\\[rq] \\(:u\\('e \\[u20AC] \\[u1F600] \\(zz."), "© “q” üé € 😀 .");
  EXPECT_EQ(plain("\\*R \\*(xy \\*[xy] \\*(no|"), "® two two |");
  EXPECT_EQ(plain("\\s-1SMALL\\s0 \\s+2x\\s12y\\s[+3]z\\s(10w"), "SMALL xyzw");
  EXPECT_EQ(plain("e.g\\&. a\\e b\\\\c\\ d\\~e\\|f\\^g\\%h\\/i\\,j"), "e.g. a\\ b\\c d efghij");
  EXPECT_EQ(plain("\\h'-04'\\(bu\\h'+03'x\\v'1'\\w'abc'y\\n(.gz\\n[no]\\k1"), "• xyz");
  EXPECT_EQ(plain("text \\\" comment"), "text ");
  EXPECT_EQ(plain("a\\z\\(o/b \\z»c"), "a(o/b c");
  EXPECT_EQ(plain("\\»\\f»x\\(»«y"), "»xy");
  EXPECT_EQ(plain("end\\"), "end");
  EXPECT_EQ(plain("open \\[abc"), "open abc");
  EXPECT_EQ(plain("\\C'bu'"), "•");
  EXPECT_TRUE(roff_text("x\\c", {}).goes_on);
  EXPECT_FALSE(roff_text("x", {}).goes_on);
}

TEST(Roff, Arguments) {
  using Words = std::vector<std::string>;
  EXPECT_EQ(roff_arguments(" a \"b c\" d\\ e \"say \"\"hi\"\"\" \"\""), (Words{"a", "b c", "d\\ e", "say \"hi\"", ""}));
  EXPECT_EQ(roff_arguments("a \\\" comment"), (Words{"a"}));
  EXPECT_EQ(roff_arguments("\"open"), (Words{"open"}));
  EXPECT_TRUE(roff_arguments("").empty());
}

TEST(Roff, APageOfManMacros) {
  const std::string source = R"(.\" comment
.TH "GIT\-ADD" "1" "2025" "Git"
.SH NAME
git-add \- Add
.SH
"SYNOPSIS"
.nf
\fBgit add\fR  [x]
        [y]
.fi
.SH DESCRIPTION
One
.BR two (3),
three.
.PP
Next\c
, glued.
.TP
.B \-v
Verbose.
.TP
.BI \-o " file"
Output.
.IP \(bu 2
Point.
.IP "long tag" 4
Body.
.br
Line.
.UR http://x.org
the site
.UE .
)";
  const ManualPage read = read_manual_page(source, "m.1");
  EXPECT_EQ(read.title, "GIT-ADD");
  EXPECT_EQ(read.section, "1");
  EXPECT_EQ(read.text,
            "NAME\ngit-add - Add\n\n\"SYNOPSIS\"\ngit add  [x]\n        [y]\n\nDESCRIPTION\nOne two(3), three.\n\n"
            "Next, glued.\n\n-v\nVerbose.\n\n-o file\nOutput.\n\n• Point.\n\nlong tag\nBody.\nLine. the site "
            "<http://x.org>.");
}

TEST(Roff, ConditionsAndDefinitions) {
  EXPECT_EQ(page(".if n yes\n.if t no\n.if !t also\n.if !n no\n"), "yes also");
  EXPECT_EQ(page(".ie n \\{\\\na\nb\\}\n.el \\{\\\nc\n.if n \\{ d\n.\\}\n.\\}\ne\n"), "a b e");
  EXPECT_EQ(page(".ie t a\n.el b\n.el c\n"), "b");
  EXPECT_EQ(page(".if 'x'x' same\n.if 'x'y' other\n.if \\n(.g groff\n.if \\n(zz register\n"), "same groff");
  EXPECT_EQ(page(".ds me \"the page\n\\*(me and \\*[me]\n"), "the page and the page");
  EXPECT_EQ(page(".de Say\nI say \\\\$1, \\\\fB\\\\$2\\\\fP.\n..\n.Say \"a b\" c\n"), "I say a b, c.");
  EXPECT_EQ(page(".de X END\nno\n.END\n.ig\nno\n.  .\nafter\n"), "after");
  EXPECT_EQ(page(".de EX\n.nf\n..\n.EX\na  b\n.EE\nc d\n"), "a  b\nc d");
  EXPECT_EQ(page("one \\\ntwo\n"), "one two");
  EXPECT_EQ(page(".so man1/other.1\n"), "");
  EXPECT_EQ(page(".unknown words\ntext"), "text");
}

TEST(Roff, Tables) {
  EXPECT_EQ(
      page("Before\n.TS\nbox tab(@);\nl l\nlb lx.\n_\nName@Meaning\n=\nx@T{\nlong\n.B bold\ntext\nT}@z\n.TE\nAfter"),
      "Before\n\nName\tMeaning\nx\tlong bold text\tz\n\nAfter");
  EXPECT_EQ(roff_table({"l l.", "a\tb", ".T&", "l.", "c"}, {}), (std::vector<std::string>{"a\tb", "c"}));
  EXPECT_EQ(roff_table({"l.", "T{", "never closed"}, {}), (std::vector<std::string>{}));
}

std::string mdoc_line(const std::string& line) {
  const std::vector<std::string> words = roff_arguments(line);
  return mdoc_text(words[0], {words.begin() + 1, words.end()}, "ls", {});
}

TEST(Roff, MacrosOfMdocWithinALine) {
  EXPECT_EQ(mdoc_line("Op Fl v Ar file"), "[-v file]");
  EXPECT_EQ(mdoc_line("Op Fl a b Ns Ar x Ns ,"), "[-a -bx],");
  EXPECT_EQ(mdoc_line("Nm"), "ls");
  EXPECT_EQ(mdoc_line("Fl"), "-");
  EXPECT_EQ(mdoc_line("Ar"), "file ...");
  EXPECT_EQ(mdoc_line("Xr ls 1 ,"), "ls(1),");
  EXPECT_EQ(mdoc_line("Pq see Xr ls 1 ."), "(see ls(1)).");
  EXPECT_EQ(mdoc_line("Dq Li a b"), "“a b”");
  EXPECT_EQ(mdoc_line("Oo Fl x Oc"), "[-x]");
  EXPECT_EQ(mdoc_line("Fn open path flags ;"), "open(path, flags);");
  EXPECT_EQ(mdoc_line("Ar a Ap s"), "a's");
  EXPECT_EQ(mdoc_line("Pf ( Ar x )"), "(x)");
  EXPECT_EQ(mdoc_line("Sy \"two words\" \\&Fl"), "two words Fl");
}

TEST(Roff, APageOfMdoc) {
  const std::string source = R"(.Dd May 1, 2022
.Dt LS 1
.Os
.Sh NAME
.Nm ls
.Nd list files
.Sh SYNOPSIS
.Nm
.Op Fl l
.Sh OPTIONS
.Bl -tag -width x
.It Fl l
Long.
.It Fl a , Fl Fl all
All.
.El
.Bl -bullet
.It
Point.
.El
.Pp
See
.Xr cat 1 .
.Bd -literal
a  b
c
.Ed
End.
)";
  const ManualPage read = read_manual_page(source, "ls.1");
  EXPECT_EQ(read.title, "LS");
  EXPECT_EQ(read.section, "1");
  EXPECT_EQ(read.text,
            "NAME\nls — list files\n\nSYNOPSIS\nls [-l]\n\nOPTIONS\n\n-l\nLong.\n\n-a, --all\nAll.\n\n• Point.\n\nSee "
            "cat(1).\n\na  b\nc\n\nEnd.");
}

TEST(Roff, HostilePages) {
  // Each call of a macro calls the one before it twice: 2^10 lines of text at the deepest level that is followed.
  std::string doubling = ".de a0\ntext\n..\n";
  for (int i = 1; i < 40; ++i) {
    const std::string before = ".a" + std::to_string(i - 1) + "\n";
    doubling += ".de a" + std::to_string(i) + "\n" + before + before + "..\n";
  }
  EXPECT_NO_THROW(page(doubling + ".a39\n"));
  std::string wide = ".de w\n";
  for (int i = 0; i < 300; ++i) wide += ".w \\\\$1\\\\$1\n";
  expect_error([&] { page(wide + "..\n.w xxxxxxxx\n"); }, Code::data, "its macros expand to far more than the page has",
               "m.1:");
  std::string growing = ".ds s xxxxxxxx\n";
  for (int i = 0; i < 100; ++i) growing += ".ds s \\*s\\*s\n";
  EXPECT_LE(page(growing + "\\*s\n").size(), 1000u);
  EXPECT_NO_THROW(page(std::string(100000, '\\')));
  EXPECT_NO_THROW(page(".if n " + std::string(100000, '!')));
  std::string conditions;
  for (int i = 0; i < 10000; ++i) conditions += ".if n ";
  expect_error([&] { page(conditions); }, Code::data, "its macros expand to far more", "m.1:1");
  EXPECT_NO_THROW(page(".TS\n.TS\n.de\n.if\n.ie\n.el\n.ds\n.IP\n.TP\n.Xr\n.Nm\n.It\n.El\n.%\n.\n'\n"));
}

TEST(Roff, APageIsADocument) {
  std::vector<nlohmann::json> found;
  convert::manpages(MemberTexts(std::map<std::string, std::string>{
                        {"usr/share/man/de/man1/ls.1", ".TH LS 1\n.SH NAME\nls \\- zeige\n"},
                        {"usr/share/man/man3/a.b.3type", ".TH A 3type\nx\n"},
                        {"usr/share/man/man3/alias.3", ".so man3/a.b.3type\n"},
                        {"usr/share/doc/man1/README.1", "no"}}),
                    {}, [&](const nlohmann::json& d) { found.push_back(d); });
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0], nlohmann::json::parse(R"({"id": "de/1/ls", "text": "NAME\nls - zeige", "lang": "de", "name": "ls",
                                               "section": "1", "title": "LS"})"));
  EXPECT_EQ(found[1]["id"], "en/3type/a.b");
}

}  // namespace
}  // namespace etude::roff_test
