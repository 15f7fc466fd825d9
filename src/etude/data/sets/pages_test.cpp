#include "etude/data/sets/pages.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "etude/base/testing.h"
#include "etude/data/sets/converters.h"

namespace etude::pages_test {
namespace {

using Blocks = std::vector<std::pair<std::string, std::string>>;
using Texts = std::map<std::string, std::string>;

const std::string kPage = R"(<?xml version="1.0" encoding="utf-8"?>
<page xmlns="http://projectmallard.org/1.0/" xmlns:its="x" type="topic" id="keys" xml:lang="de">
  <info>
    <link type="guide" xref="a"/><title type="sort">no</title>
    <credit><name>Nobody</name></credit>
    <desc>Kurz &amp; gut.</desc>
  </info>
  <title>Tasten</title>
  <comment><p>Not this.</p></comment>
  <p>Die <em>eine</em>
     <link xref="b">Taste</link> <keyseq><key>Strg</key><key>A</key></keyseq>.</p>
  <steps><item><p>Erst</p></item><item><p/></item></steps>
  <screen>
a  b
  c
</screen>
  <note><p><![CDATA[<dann>]]> <guiseq><gui>X</gui><gui>Y</gui></guiseq></p></note>
</page>)";

TEST(Pages, MallardAsBlocks) {
  const TextPage page = read_mallard(kPage, "p");
  EXPECT_EQ(page.id, "keys");
  EXPECT_EQ(page.title, "Tasten");
  EXPECT_EQ(page.blocks, (Blocks{{"desc", "Kurz & gut."},
                                 {"title", "Tasten"},
                                 {"p", "Die eine Taste Strg+A."},
                                 {"p", "Erst"},
                                 {"screen", "a  b\n  c"},
                                 {"p", "<dann> X ▸ Y"}}));
  EXPECT_EQ(page.text(), "Kurz & gut.\n\nTasten\n\nDie eine Taste Strg+A.\n\nErst\n\na  b\n  c\n\n<dann> X ▸ Y");
}

TEST(Pages, EntitiesOfAPageAreNotReplaced) {
  const TestFolder folder;
  const std::string file = folder.write("secret", "secret");
  const TextPage page = read_mallard(
      "<!DOCTYPE page [<!ENTITY a \"inside\"><!ENTITY f SYSTEM \"" + file + "\">]><page><p>x&a;&f;y</p></page>", "p");
  EXPECT_EQ(page.blocks, (Blocks{{"p", "xy"}}));
}

TEST(Pages, WhatIsNoPageIsRefused) {
  const auto refused = [](std::string_view xml, std::string_view what, std::string_view where) {
    expect_error([&] { read_mallard(xml, "de/p.page"); }, Code::data, what, where);
  };
  refused("", "the page is no XML", "de/p.page");
  refused("text", "the page is no XML", "de/p.page:1");
  refused("<page>\n<p>one</page>", "the page is no XML", "de/p.page:2");
  refused("<page><p>\xff</p></page>", "the page is no XML", "de/p.page:1");
  refused("<page>&unknown;</page>", "the page is no XML: Entity 'unknown' not defined", "de/p.page:1");
  refused("<html/>", "it is no page of Mallard", "de/p.page:1");
  std::string laughs = "<!DOCTYPE page [<!ENTITY l0 \"ha\">";
  for (int i = 1; i < 30; ++i) {
    const std::string before = "&l" + std::to_string(i - 1) + ";";
    laughs += "<!ENTITY l" + std::to_string(i) + " \"" + before + before + before + before + "\">";
  }
  try {
    EXPECT_EQ(read_mallard(laughs + "]><page><p>a&l29;</p></page>", "p").text(), "a");
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::data);
  }
  std::string deep;
  for (int i = 0; i < 100000; ++i) deep += "<p>";
  refused("<page>" + deep, "the page is no XML: Excessive depth", "de/p.page:1");
}

TEST(Pages, HtmlWithoutWhatLeadsAround) {
  const TextPage page = read_html(
      "<html lang=en><head><title>no</title></head><body><div id=banner>no</div><ul class='docnav top'><li>no</ul>"
      "<div class=section><h2><a id=x></a>1.  One</h2><div class=para>\n\tGr&uuml;&szlig;e <code>a</code>b"
      "<a class=headerlink>no</a></div><pre>x\n  y &lt;</pre><p>one<br>two<p>three<script>no</script></div>"
      "<div role=navigation>no</div><nav>no</nav></body></html>",
      "p");
  EXPECT_EQ(page.lang, "en");
  EXPECT_EQ(page.title, "1. One");
  EXPECT_EQ(page.blocks,
            (Blocks{{"h2", "1. One"}, {"div", "Grüße ab"}, {"pre", "x\n  y <"}, {"p", "one two"}, {"p", "three"}}));
  expect_error([] { read_html("", "p"); }, Code::data, "the page", "p");
  std::string deep = "<p>a";
  for (int i = 0; i < 100000; ++i) deep += "<div>";
  try {
    read_html(deep + "b", "p");
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::data);
  }
}

TEST(Pages, OfManyLanguages) {
  std::vector<nlohmann::json> found;
  const Emit emit = [&](const nlohmann::json& d) { found.push_back(d); };
  convert::mallard(MemberTexts(Texts{{"usr/share/help/C/gnome-help/a.page", "<page><title>One</title></page>"},
                                     {"usr/share/help/de/gnome-help/a.page", "<page><title>Eins</title></page>"},
                                     {"usr/share/help/de/gnome-help/empty.page", "<page/>"},
                                     {"usr/share/help/de/gnome-help/legal.xml", "<p/>"}}),
                   {}, emit);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0]["id"], "en/gnome-help/a");
  EXPECT_EQ(found[1]["lang"], "de");
  EXPECT_EQ(found[1]["blocks"], nlohmann::json::parse(R"([["title", "Eins"]])"));
  found.clear();
  convert::html(MemberTexts(Texts{{"html/it-IT/apt.html", "<h1>Uno</h1>"},
                                  {"html/it-IT/index.html", "<h1>Indice</h1>"},
                                  {"reference/tools.html", "<html lang=fr><p>Deux"},
                                  {"reference/scope.html", "<p>Three"}}),
                {}, emit);
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0]["id"], "it-IT/apt");
  EXPECT_EQ(found[0]["title"], "Uno");
  EXPECT_EQ(found[1]["id"], "en/scope");
  EXPECT_EQ(found[2]["id"], "fr/tools");
}

}  // namespace
}  // namespace etude::pages_test
