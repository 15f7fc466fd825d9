#include "etude/rl/text_stream.h"

#include <gtest/gtest.h>

#include <map>

#include "etude/base/text.h"

namespace etude {
namespace {

/// Ids are bytes.
std::vector<int64_t> byte_ids(const std::string& text) {
  std::vector<int64_t> ids;
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

/// Words with a mark for the blank before them, which decoding leaves out at the beginning, as sentencepiece does.
class MarkedWords : public Tokenizer {
 public:
  std::vector<int32_t> encode(std::string_view) const override { return {}; }
  Encoding encode_with_offsets(std::string_view) const override { return {}; }
  std::string decode(const std::vector<int64_t>& ids) const override {
    std::string text;
    for (const int64_t id : ids) text += token(id);
    return text.starts_with(' ') ? text.substr(1) : text;
  }
  int64_t vocabulary() const override { return 4; }
  int64_t document_end() const override { return 3; }
  std::optional<int64_t> id(std::string_view) const override { return std::nullopt; }
  std::string token(int64_t id) const override {
    const std::vector<std::string> words = {" the", " cat", "s", ""};
    return words.at(static_cast<size_t>(id));
  }
  std::string hash() const override { return ""; }
  std::vector<File> files() const override { return {}; }
};

TEST(TextStream, GivesWholeCharacters) {
  const auto bytes = byte_tokenizer();
  const std::string text = "aß€😀\u0301z";
  TextStream stream(*bytes, byte_ids("the prompt"));
  std::string taken;
  for (const int64_t id : byte_ids(text)) {
    stream.push(id);
    const std::string piece = stream.take();
    EXPECT_TRUE(valid_utf8(piece)) << piece;
    taken += piece;
  }
  EXPECT_EQ(taken, text);
  EXPECT_EQ(stream.text(), text);
}

TEST(TextStream, BytesThatAreNoCharacterAreKept) {
  const auto bytes = byte_tokenizer();
  for (const std::string text : {"\xFF\xFEok", "\xC3(", "a\xF0\x9F\x98", "\x80\x80\x80\x80", "\xE2\xE2\xE2\xE2z"}) {
    TextStream stream(*bytes, {});
    for (const int64_t id : byte_ids(text)) stream.push(id);
    stream.finish();
    EXPECT_EQ(stream.text(), text);
    EXPECT_EQ(stream.take(), text);
  }
}

TEST(TextStream, ManyTokensWithoutTextAreNotDecodedOverAndOver) {
  const auto bytes = byte_tokenizer();
  TextStream stream(*bytes, byte_ids("x"));
  for (int i = 0; i < 500; ++i) stream.push(256);
  stream.push('a');
  for (int i = 0; i < 500; ++i) stream.push(0xE2);
  stream.push('b');
  stream.finish();
  EXPECT_EQ(stream.text(), "a" + std::string(500, '\xE2') + "b");
}

TEST(TextStream, ABlankThatOpensADocumentOnlyIsKeptWithin) {
  const MarkedWords words;
  TextStream after(words, {0});
  TextStream first(words, {});
  for (const int64_t id : {1, 2, 3, 0, 1}) {
    after.push(id);
    first.push(id);
  }
  EXPECT_EQ(after.text(), " cats the cat");
  EXPECT_EQ(first.text(), "cats the cat");
}

struct Stopped {
  std::string text, taken;
  size_t tokens = 0;
  bool stopped = false;
};

Stopped stop_at(const std::string& text, std::vector<std::string> stop) {
  const auto bytes = byte_tokenizer();
  TextStream stream(*bytes, byte_ids("stop"), std::move(stop));
  Stopped result;
  for (const int64_t id : byte_ids(text)) {
    if (stream.stopped()) break;
    stream.push(id);
    ++result.tokens;
    result.taken += stream.take();
  }
  result.stopped = stream.stopped();
  stream.finish();
  result.taken += stream.take();
  result.text = stream.text();
  return result;
}

TEST(TextStream, StopStringsAreFoundAcrossTokens) {
  const Stopped found = stop_at("one END two", {"END", "never"});
  EXPECT_TRUE(found.stopped);
  EXPECT_EQ(found.text, "one ");
  EXPECT_EQ(found.taken, "one ");
  EXPECT_EQ(found.tokens, 7u);
}

TEST(TextStream, TheFirstStopStringCounts) {
  EXPECT_EQ(stop_at("a\n\nb</s>", {"</s>", "\n\n"}).text, "a");
  EXPECT_EQ(stop_at("aabaac", {"aac"}).text, "aab");
  EXPECT_EQ(stop_at("xyz", {"z", "xyz"}).text, "");
  EXPECT_EQ(stop_at("schöner Tag", {"ö"}).text, "sch");
  EXPECT_EQ(stop_at("abc", {""}).text, "abc");
}

TEST(TextStream, TheBeginningOfAStopStringIsHeldBackUntilItIsNone) {
  const auto bytes = byte_tokenizer();
  TextStream stream(*bytes, {}, {"END"});
  const auto push = [&](const std::string& text) {
    for (const int64_t id : byte_ids(text)) stream.push(id);
    return stream.take();
  };
  EXPECT_EQ(push("a E"), "a ");
  EXPECT_EQ(push("N"), "");
  EXPECT_EQ(push("E"), "EN");
  EXPECT_EQ(push("x"), "Ex");
  EXPECT_EQ(push("EN"), "");
  stream.finish();
  EXPECT_EQ(stream.take(), "EN");
}

TEST(TextStream, APromptIsNeitherTextNorPartOfAStopString) {
  const Stopped found = stop_at("p more stop", {"stop"});
  EXPECT_EQ(found.text, "p more ");
}

}  // namespace
}  // namespace etude
