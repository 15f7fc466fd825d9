#include "etude/data/sets/mo.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "etude/base/testing.h"
#include "etude/data/sets/converters.h"

namespace etude::mo_test {
namespace {

std::string word(uint32_t value, bool big = false) {
  std::string bytes;
  for (int i = 0; i < 4; ++i) bytes += static_cast<char>(value >> (big ? 24 - 8 * i : 8 * i));
  return bytes;
}

/// The header, the table of sources, that of translations, and the texts, each with a NUL behind it.
std::string catalogue(const std::vector<std::pair<std::string, std::string>>& messages, bool big = false) {
  const auto count = static_cast<uint32_t>(messages.size());
  std::string table[2], texts;
  uint32_t at = 28 + 16 * count;
  for (int side = 0; side < 2; ++side) {
    for (const auto& [source, translation] : messages) {
      const std::string& text = side ? translation : source;
      const auto length = static_cast<uint32_t>(text.size());
      table[side] += word(length, big) + word(at, big);
      texts += text + '\0';
      at += length + 1;
    }
  }
  return word(0x950412DE, big) + word(0, big) + word(count, big) + word(28, big) + word(28 + 8 * count, big) +
         word(0, big) + word(0, big) + table[0] + table[1] + texts;
}

const std::vector<std::pair<std::string, std::string>> kMessages = {
    {"", "Content-Type: text/plain; charset=UTF-8\n"},
    {"Italy", "Italien"},
    {std::string("menu\4Open"), "Öffnen"},
    {std::string("one\0%d ones", 11), std::string("eins\0%d Einsen", 14)},
};

TEST(Catalogues, InEitherOrderOfBytes) {
  for (const bool big : {false, true}) {
    const std::vector<Message> messages = read_mo(catalogue(kMessages, big), "x.mo");
    ASSERT_EQ(messages.size(), 3u);
    EXPECT_EQ(messages[0].source, "Italy");
    EXPECT_EQ(messages[0].translations, (std::vector<std::string>{"Italien"}));
    EXPECT_EQ(messages[1].context, "menu");
    EXPECT_EQ(messages[1].source, "Open");
    EXPECT_EQ(messages[2].source, "one");
    EXPECT_EQ(messages[2].plural, "%d ones");
    EXPECT_EQ(messages[2].translations, (std::vector<std::string>{"eins", "%d Einsen"}));
  }
  EXPECT_TRUE(read_mo(catalogue({}), "x.mo").empty());
  EXPECT_EQ(read_mo(catalogue({{"a", "\xfc"}}), "x.mo")[0].translations[0], "ü");
}

TEST(Catalogues, HostileBytesAreRefused) {
  const std::string good = catalogue(kMessages);
  const auto refused = [](const std::string& bytes, std::string_view what, std::string_view where) {
    expect_error([&] { read_mo(bytes, "x.mo"); }, Code::data, what, where, "fetch the set again");
  };
  const auto changed = [&](size_t at, uint32_t value) { return std::string(good).replace(at, 4, word(value)); };
  refused("", "it ends after 0 of the 4 bytes", "x.mo: byte 0");
  refused("msgid \"\"\nmsgstr", "it doesn't begin as a catalogue", "x.mo: byte 4");
  refused(changed(4, 0x20000), "its revision is 2, not 0 or 1", "x.mo: byte 8");
  refused(good.substr(0, 19), "it ends after 3 of the 4 bytes", "x.mo: byte 16");
  refused(changed(8, 0xFFFFFFFF), "", "x.mo: byte");                            // more messages than the file has bytes
  refused(changed(12, 0xFFFFFFF8), "it refers to byte 4294967288 of", "x.mo");  // the table of sources
  refused(changed(16, 0xFFFFFFFF), "it refers to byte 4294967295 of", "x.mo");
  refused(changed(28, 0xFFFFFFFF), "of the 4294967295 bytes that should follow", "x.mo");  // the length of a text
  refused(changed(32, 0xFFFFFFFF), "it refers to byte 4294967295 of", "x.mo");             // its place
  refused(good.substr(0, good.size() - 5), "bytes that should follow", "x.mo");
  refused(good.substr(0, 60), "", "x.mo: byte");
  // A thousand messages whose texts are all the whole file.
  std::string overlap = word(0x950412DE) + word(0) + word(1000) + word(28) + word(28) + word(0) + word(0);
  for (int i = 0; i < 1000; ++i) overlap += word(8028) + word(0);
  refused(overlap, "its texts overlap", "x.mo");
}

TEST(Catalogues, AMessageIsADocument) {
  std::vector<nlohmann::json> found;
  std::vector<std::pair<std::string, std::string>> messages = kMessages;
  messages.emplace_back(std::string(101, 'x'), "long");
  messages.emplace_back("untranslated", "");
  convert::message_catalogues(
      MemberTexts(std::map<std::string, std::string>{{"locale/de/LC_MESSAGES/iso_1.mo", catalogue(messages)}}), {},
      [&](const nlohmann::json& d) { found.push_back(d); });
  ASSERT_EQ(found.size(), 4u);
  EXPECT_EQ(found[0], nlohmann::json::parse(R"({"id": "de/iso_1/Italy", "text": "Italien", "lang": "de",
                                               "domain": "iso_1", "source": "Italy"})"));
  EXPECT_EQ(found[1]["id"], "de/iso_1/menu|Open");
  EXPECT_EQ(found[1]["context"], "menu");
  EXPECT_EQ(found[2]["text"], "eins");
  EXPECT_EQ(found[3]["id"].get<std::string>().size(), std::string("de/iso_1/").size() + 16);
}

}  // namespace
}  // namespace etude::mo_test
