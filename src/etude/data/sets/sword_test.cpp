#include "etude/data/sets/sword.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <nlohmann/json.hpp>
#include <numeric>

#include "etude/base/testing.h"
#include "etude/data/sets/converters.h"

namespace etude::sword_test {
namespace {

std::string little32(uint32_t value) {
  std::string bytes;
  for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(value >> shift);
  return bytes;
}

std::string deflated(const std::string& text) {
  uLongf size = compressBound(text.size());
  std::string packed(size, '\0');
  compress(reinterpret_cast<Bytef*>(packed.data()), &size, reinterpret_cast<const Bytef*>(text.data()), text.size());
  packed.resize(size);
  return packed;
}

/// A testament of one block whose slots are these.
struct Module {
  explicit Module(const std::vector<std::string>& slots) {
    for (const std::string& slot : slots) {
      bzv += little32(0) + little32(static_cast<uint32_t>(text.size()));
      bzv += static_cast<char>(slot.size() & 255);
      bzv += static_cast<char>(slot.size() >> 8);
      text += slot;
    }
    bzz = deflated(text);
    bzs = little32(0) + little32(static_cast<uint32_t>(bzz.size())) + little32(static_cast<uint32_t>(text.size()));
  }
  std::vector<Verse> verses() const {
    std::vector<Verse> all;
    read_verses({bzs, bzv, bzz}, {{"Gen", {2}}, {"Exod", {1, 1}}}, "m/ot", [&](const Verse& v) { all.push_back(v); });
    return all;
  }
  std::string text, bzs, bzv, bzz;
};

/// Slots of module, testament, Genesis, its chapter and two verses, Exodus, and two chapters of one verse.
Module small_module() {
  return Module({"", "<milestone/>", "<title>Genesis</title>", "<chapter n=\"1\"/>",
                 "In the <w lemma=\"strong:H1\">x</w>", "two", "Exodus", "<chapter/>", "three", "<chapter/>", ""});
}

TEST(Versification, CountsOfTheKingJamesVersion) {
  const auto count = [](const std::vector<VerseBook>& books) {
    int chapters = 0, verses = 0;
    for (const VerseBook& book : books) {
      chapters += static_cast<int>(book.verses.size());
      verses = std::accumulate(book.verses.begin(), book.verses.end(), verses);
    }
    return std::tuple(books.size(), chapters, verses);
  };
  EXPECT_EQ(count(old_testament()), std::tuple(39u, 929, 23145));
  EXPECT_EQ(count(new_testament()), std::tuple(27u, 260, 7957));
  EXPECT_EQ(old_testament()[18].name, "Ps");
  EXPECT_EQ(old_testament()[18].verses[118], 176);
  EXPECT_EQ(new_testament().back().verses.back(), 21);
}

TEST(Sword, VersesStandBehindTheSlotsOfHeadings) {
  const std::vector<Verse> verses = small_module().verses();
  ASSERT_EQ(verses.size(), 4u);
  EXPECT_EQ(verses[0].text, "In the x");
  EXPECT_EQ(verses[0].words, (std::vector<std::pair<std::string, std::string>>{{"x", "H1"}}));
  EXPECT_EQ(verses[1].text, "two");
  EXPECT_EQ(verses[2].book, "Exod");
  EXPECT_EQ(verses[2].text, "three");
  EXPECT_EQ(verses[3].chapter, 2);
  EXPECT_EQ(verses[3].verse, 1);
  EXPECT_EQ(verses[3].text, "");
}

TEST(Sword, MarkupGivesTextAndNumberedWords) {
  Verse verse;
  read_osis(
      "<div type=\"x-p\"/><title>The<note>1</note> fall</title>And <w lemma=\"strong:H0430\">God</w>\n said, "
      "<transChange type=\"added\">it &amp; is</transChange> <w lemma=\"strong:G2424 strong:G5547\" morph=\"x\">de "
      "Jesucristo</w> <w lemma=\"lemma.TR:x\">no</w><note>a <w lemma=\"strong:H2\">b</w></note> <w "
      "lemma=\"strong:H3\"></w>caf&#233;.<chapter eID=\"Gen.1\"/> ",
      "here", verse);
  EXPECT_EQ(verse.text, "And God said, it & is de Jesucristo no café.");
  EXPECT_EQ(verse.words,
            (std::vector<std::pair<std::string, std::string>>{{"God", "H0430"}, {"de Jesucristo", "G2424 G5547"}}));
}

TEST(Sword, WhatDoesNotFitIsRefusedWithItsPlace) {
  const auto refused = [](const Module& module, std::string_view what, std::string_view where) {
    expect_error([&] { module.verses(); }, Code::data, what, where, "fetch the set again");
  };
  Module module = small_module();
  module.bzs.pop_back();
  refused(module, "11 bytes are no whole number of entries of 12", "m/ot.bzs: byte 0");
  module = small_module();
  module.bzv += "x";
  refused(module, "111 bytes are no whole number of entries of 10", "m/ot.bzv: byte 0");
  module = small_module();
  module.bzv += module.bzv.substr(0, 10);
  refused(module, "it has 12 slots where this versification has 11", "m/ot.bzv");
  module = small_module();
  module.bzv.replace(10, 4, little32(7));
  refused(module, "it refers to block 7 of 1", "m/ot.bzv: byte 20");
  module = small_module();
  module.bzv.replace(14, 4, little32(0xFFFFFFFF));
  refused(module, "bytes 4294967295 to 4294967307 lie outside of block 0", "m/ot.bzv: byte 20");
  module = small_module();
  module.bzv.replace(18, 2, "\xff\xff");
  refused(module, "bytes 0 to 65535 lie outside of block 0", "m/ot.bzv: byte 20");
  module = small_module();
  module.bzs.replace(0, 4, little32(1000000));
  refused(module, "it refers to byte 1000000 of", "m/ot.bzz: byte 0");
  module = small_module();
  module.bzs.replace(4, 4, little32(0xFFFFFFFF));
  refused(module, "of the 4294967295 bytes that should follow", "m/ot.bzz: byte 0");
  module = small_module();
  module.bzs.replace(8, 4, little32(0xFFFFFFFF));
  refused(module, "a block of 4294967295 bytes is larger than any book", "m/ot.bzs: byte 12");
  module = small_module();
  module.bzs.replace(8, 4, little32(50000000));
  refused(module, "in place of 50000000", "m/ot.bzz: byte 0");
  module = small_module();
  module.bzs.replace(8, 4, little32(5));
  refused(module, "a block unpacks to more than its 5 bytes", "m/ot.bzz: byte 0");
  module = small_module();
  module.bzs.replace(4, 4, little32(static_cast<uint32_t>(module.bzz.size() - 6)));
  refused(module, "a block is no whole zlib stream", "m/ot.bzz: byte 0");
  module = small_module();
  module.bzz[0] = '!';
  refused(module, "a block is no whole zlib stream", "m/ot.bzz: byte 0");
  module = Module({"", "", "", "", "<w lemma=\"x\"", "", "", "", "", "", ""});
  refused(module, "a tag of the markup doesn't end", "m/ot Gen 1:1");
}

TEST(Sword, AModuleOfAnotherKindIsRefused) {
  const auto converted = [](const std::string& conf, std::map<std::string, std::string> texts) {
    texts["usr/share/sword/mods.d/m.conf"] = conf;
    convert::sword(MemberTexts(texts), {}, [](const nlohmann::json&) { ADD_FAILURE() << "a document"; });
  };
  const std::string good = "[m]\nModDrv=zText\nCompressType=ZIP\nVersification=KJV\n";
  expect_error([&] { converted("[m]\nModDrv=RawText\n", {}); }, Code::data, "the module has ModDrv=RawText where zText",
               "mods.d/m.conf");
  expect_error([&] { converted("[m]\nModDrv=zText\nCompressType=ZIP\nVersification=NRSVA\n", {}); }, Code::data,
               "the module has Versification=NRSVA where KJV is read", "mods.d/m.conf");
  expect_error([&] { converted(good, {{"x/ot.bzs", ""}}); }, Code::data, "the module lacks this file", "x/ot.bzv");
  expect_error(
      [&] {
        converted(good, {{"x/nt.bzs", ""}, {"x/nt.bzv", ""}, {"x/nt.bzz", ""}});
      },
      Code::data, "it has 0 slots where this versification has 8246", "x/nt.bzv");
}

}  // namespace
}  // namespace etude::sword_test
