#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "etude/base/testing.h"
#include "etude/data/tokenizers/sentencepiece_tokenizer.h"
#include "etude/data/tokenizers/testing_tokenizers.h"

namespace etude::sentencepiece_test {
namespace {

using Ids = std::vector<int32_t>;

// ---- models written by hand ---------------------------------------------------------------------

std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}

std::string field(int tag, std::string_view bytes) {
  return varint(static_cast<uint64_t>(tag) << 3 | 2) + varint(bytes.size()) + std::string(bytes);
}

std::string number(int tag, uint64_t value) { return varint(static_cast<uint64_t>(tag) << 3) + varint(value); }

std::string real(int tag, float value) {
  std::string bytes(4, '\0');
  std::memcpy(bytes.data(), &value, 4);
  return varint(static_cast<uint64_t>(tag) << 3 | 5) + bytes;
}

constexpr int kNormal = 1, kUnknown = 2, kControl = 3, kByte = 6;

std::string piece(std::string_view text, float score = 0, int type = kNormal) {
  return field(1, field(1, text) + real(2, score) + number(3, static_cast<uint64_t>(type)));
}

const std::string kSpecial = piece("<unk>", 0, kUnknown) + piece("<s>", 0, kControl) + piece("</s>", 0, kControl);
const std::string kPieces = kSpecial + piece("▁", -2) + piece("a", -2) + piece("b", -2) + piece("▁ab", -1);

/// The rules of a normalizer: a double array of these units and texts.
std::string rules(const std::vector<uint32_t>& units, std::string_view texts) {
  const auto size = static_cast<uint32_t>(units.size() * 4);
  std::string bytes(4 + size, '\0');
  std::memcpy(bytes.data(), &size, 4);
  std::memcpy(bytes.data() + 4, units.data(), size);
  return bytes + std::string(texts);
}

std::string normalizer(const std::string& charsmap) { return field(3, field(2, charsmap)); }

TEST(SentencepieceModel, HandMadeOneFindsTheLikeliestPieces) {
  const auto tokenizer = parse_sentencepiece(kPieces, "m.model");
  EXPECT_EQ(tokenizer->encode("ab ba"), (Ids{6, 3, 5, 4}));
  EXPECT_EQ(tokenizer->decode({6, 3, 5, 4, 2}), "ab ba");
  EXPECT_EQ(tokenizer->vocabulary(), 7);
  EXPECT_EQ(tokenizer->document_end(), 2);
  EXPECT_EQ(tokenizer->document_begin(), std::nullopt);
  EXPECT_EQ(tokenizer->id("▁ab"), 6);
  EXPECT_EQ(tokenizer->token(6), "▁ab");
  const Encoding found = tokenizer->encode_with_offsets("ab ba");
  EXPECT_EQ(found.words, (Ids{0, 1, 1, 1}));
}

TEST(SentencepieceModel, SettingsOpenAndCloseDocuments) {
  const TestFolder folder;
  folder.write("tokenizer.model", kPieces);
  folder.write("tokenizer_config.json", R"({"bos_token": "<s>", "eos_token": "b", "add_bos_token": true})");
  const auto tokenizer = open_tokenizer(folder.path());
  EXPECT_EQ(tokenizer->document_begin(), 1);
  EXPECT_EQ(tokenizer->document_end(), 5);
  folder.write("tokenizer_config.json", R"({"eos_token": "<end>"})");
  expect_error([&] { open_tokenizer(folder.path()); }, Code::data, "'<end>' is not in the vocabulary",
               "tokenizer.model", "belong together");
  const std::string without = piece("<unk>", 0, kUnknown) + piece("a");
  expect_error([&] { parse_sentencepiece(without, "m.model")->document_end(); }, Code::data,
               "no token that closes a document", "m.model", "eos_token");
}

struct Hostile {
  const char* name;
  std::string content;
  const char* message;
  const char* where = "m.model";
};

std::vector<Hostile> hostile_models() {
  std::vector<uint32_t> far(256, 0);
  far[0] = 0x7FFFFC00 | 1u << 9;  // an offset far beyond the array
  std::vector<uint32_t> leaf(256, 0);
  leaf[0] = ~0u;
  std::vector<uint32_t> outside(256, 0);
  outside[0] = 1u << 8;  // a value at unit 0 ^ 0, that is itself: 256
  return {
      {"empty", "", "the file is empty"},
      {"text", "hello, this is no model", "the model"},
      {"json", R"({"model": 1})", "the model"},
      {"binary", std::string("\x89PNG\r\n\0\x1a", 8), "the model"},
      {"zeros", std::string(64, '\0'), "field without a number"},
      {"ones", std::string(64, '\xff'), "a number that does not fit"},
      {"truncated", kPieces.substr(0, kPieces.size() - 3), "ends within a field of"},
      {"cut_number", kPieces + "\x80", "ends within a number"},
      {"huge_size", "\x0a" + varint(~uint64_t{0}), "ends within a field of 18446744073709551615 bytes"},
      {"huge_piece", field(1, "\x0a" + varint(1ull << 40)), "ends within a field of 1099511627776", "piece 0"},
      {"group", "\x0b", "field of the unknown kind 3"},
      {"wrong_kind", number(1, 7), "the field 1 in the wrong kind"},
      {"wrong_text", field(1, number(1, 7)), "the field 1 in the wrong kind", "piece 0"},
      {"wrong_score", field(1, field(1, "a") + number(2, 7)), "the field 2 in the wrong kind", "piece 0"},
      {"no_pieces", field(2, ""), "the model has no pieces"},
      {"empty_piece", kSpecial + piece(""), "a piece is empty", "piece 3"},
      {"not_utf8", kSpecial + piece("\xff"), "is not UTF-8", "piece 3"},
      {"nul", kSpecial + piece(std::string_view("a\0b", 3)), "is not UTF-8", "piece 3"},
      {"twice", kPieces + piece("a"), "the piece 'a' stands twice", "piece 7"},
      {"not_a_number", kSpecial + piece("a", std::nanf("")), "is not finite", "piece 3"},
      {"infinite", kSpecial + piece("a", -std::numeric_limits<float>::infinity()), "is not finite", "piece 3"},
      {"type", kSpecial + piece("a", 0, 9), "the unknown type 9", "piece 3"},
      {"byte", kSpecial + piece("<0xZZ>", 0, kByte), "stands for a byte", "piece 3"},
      {"no_unknown", piece("a") + piece("b"), "sentencepiece can't use the model"},
      {"two_unknown", kPieces + piece("<unk2>", 0, kUnknown), "sentencepiece can't use the model"},
      {"rules_short", kPieces + normalizer("ab"), "rules are cut off", "normalizer_spec"},
      {"rules_size", kPieces + normalizer(varint(200) + "abc"), "rules are cut off", "normalizer_spec"},
      {"rules_cut", kPieces + normalizer(rules(std::vector<uint32_t>(256, 0), "")), "cut off", "normalizer_spec"},
      {"rules_texts", kPieces + normalizer(rules(std::vector<uint32_t>(256, 0), "abc")), "texts", "normalizer_spec"},
      {"rules_utf8", kPieces + normalizer(rules(std::vector<uint32_t>(256, 0), std::string_view("\xff\0", 2))), "texts",
       "normalizer_spec"},
      {"rules_far", kPieces + normalizer(rules(far, std::string_view("\0", 1))), "outside of itself",
       "normalizer_spec"},
      {"rules_outside", kPieces + normalizer(rules(outside, std::string_view("\0", 1))), "outside of their texts",
       "normalizer_spec"},
      {"rules_root", kPieces + normalizer(rules(leaf, std::string_view("\0", 1))), "outside of itself",
       "normalizer_spec"},
      {"denormalizer", kPieces + field(5, field(2, "ab")), "rules are cut off", "denormalizer_spec"},
  };
}

TEST(SentencepieceModel, HostileModelsAreRefusedWithPlaceAndReason) {
  const std::vector<Hostile> models = hostile_models();
  ASSERT_GE(models.size(), 20u);
  for (const Hostile& model : models) {
    SCOPED_TRACE(model.name);
    expect_error([&] { parse_sentencepiece(model.content, "m.model"); }, Code::data, model.message, model.where);
  }
}

/// No beginning of a model and no model with a byte changed does more than being refused.
TEST(SentencepieceModel, DamagedModelsAreRefusedOrWork) {
  const std::string whole = tokenizer_fixture("sp_bpe");
  for (size_t size = 0; size < whole.size(); size += 97) {
    try {
      parse_sentencepiece(whole.substr(0, size), "m.model");
    } catch (const Error&) {
    }
  }
  for (size_t at = 0; at < whole.size(); at += 131) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << at % 8));
    try {
      parse_sentencepiece(damaged, "m.model")->encode("Das große Haus 😀");
    } catch (const Error&) {
    }
  }
}

// ---- training -----------------------------------------------------------------------------------

const std::vector<std::string>& training_lines() {
  static const std::vector<std::string> lines = [] {
    std::vector<std::string> all;
    const std::vector<std::string> strings = tokenizer_strings();
    for (size_t i = 0; i < 1500; ++i) all.push_back(strings[i]);
    for (int i = 0; i < 200; ++i) all.push_back("the cat sat on the mat number " + std::to_string(i * 37));
    return all;
  }();
  return lines;
}

std::function<bool(std::string&)> reader(const std::vector<std::string>& lines) {
  return [&lines, at = size_t{0}](std::string& line) mutable {
    if (at == lines.size()) return false;
    line = lines[at++];
    return true;
  };
}

SentencepieceTraining of_kind(const std::string& model, int64_t vocab) {
  SentencepieceTraining options;
  options.model = model;
  options.vocab = vocab;
  return options;
}

TEST(SentencepieceTraining, SameLinesSameModelAndEveryTextSurvives) {
  for (const char* kind : {"unigram", "bpe"}) {
    SentencepieceTraining options = of_kind(kind, 1500);
    options.coverage = 0.98;
    const auto tokenizer = train_sentencepiece(reader(training_lines()), options);
    EXPECT_EQ(train_sentencepiece(reader(training_lines()), options)->hash(), tokenizer->hash());
    EXPECT_EQ(tokenizer->vocabulary(), 1500);
    EXPECT_EQ(tokenizer->token(0) + tokenizer->token(1) + tokenizer->token(2), "<unk><s></s>");
    EXPECT_EQ(tokenizer->document_end(), 2);
    EXPECT_EQ(tokenizer->encode("the cat").size(), 2u);
    for (const std::string text : {"the  cat\n\tsat ", " 中文 😀\u200d", "\r\n", "", "x▁y"}) {
      const Ids ids = tokenizer->encode(text);
      std::string expected = text;
      if (const size_t sign = expected.find("▁"); sign != std::string::npos) expected.replace(sign, 3, " ");
      EXPECT_EQ(tokenizer->decode({ids.begin(), ids.end()}), expected);
    }
    const TestFolder folder;
    for (const auto& [name, content] : tokenizer->files()) folder.write(name, content);
    EXPECT_EQ(open_tokenizer(folder.path())->hash(), tokenizer->hash());
    EXPECT_EQ(open_tokenizer(folder.at("tokenizer.model"))->encode("the cat sat"), tokenizer->encode("the cat sat"));
  }
}

TEST(SentencepieceTraining, WithoutBytesOtherCharactersAreUnknownButLinesStay) {
  SentencepieceTraining options = of_kind("bpe", 200);
  options.byte_fallback = false;
  options.coverage = 1;
  std::vector<std::string> lines;
  for (int i = 0; i < 300; ++i) lines.push_back("the cat sat on mat number " + std::to_string(i * 7919));
  const auto tokenizer = train_sentencepiece(reader(lines), options);
  const Ids ids = tokenizer->encode("the\ncat ü");
  EXPECT_EQ(ids.back(), 0);
  EXPECT_EQ(tokenizer->decode({ids.begin(), ids.end()}), "the\ncat ");
}

TEST(SentencepieceTraining, SampleIsSpreadOverTheText) {
  // Only every 64th line would be left; each of the two halves of the text has a word of its own.
  std::vector<std::string> lines;
  for (int i = 0; i < 6400; ++i) lines.push_back(i < 3200 ? "alpha alpha alpha" : "omega omega omega");
  SentencepieceTraining options = of_kind("bpe", 280);
  options.sentences = 100;
  const auto tokenizer = train_sentencepiece(reader(lines), options);
  EXPECT_NE(tokenizer->id("▁alpha"), std::nullopt);
  EXPECT_NE(tokenizer->id("▁omega"), std::nullopt);
}

TEST(SentencepieceTraining, LongLinesAreUsed) {
  std::string line;
  for (int i = 0; i < 3000; ++i) line += "gamma ";
  const std::vector<std::string> lines{line, std::string(9000, 'x') + "\u00e9"};
  const auto tokenizer = train_sentencepiece(reader(lines), of_kind("bpe", 280));
  EXPECT_NE(tokenizer->id("▁gamma"), std::nullopt);
}

TEST(SentencepieceTraining, TextsThatDoNotFitAreRefusedWithTheSizeThatWould) {
  const std::vector<std::string> few{"ab ab ab", "cd cd"};
  expect_error([&] { train_sentencepiece(reader(few), of_kind("unigram", 4000)); }, Code::data,
               "too little in it for a vocabulary of 4000", "", "set vocab to at most ");
  expect_error([&] { train_sentencepiece(reader(few), of_kind("bpe", 4000)); }, Code::data,
               "too little in it for a vocabulary of 4000", "", "set vocab to at most ");
  expect_error([&] { train_sentencepiece(reader(training_lines()), of_kind("unigram", 100)); }, Code::data,
               "has no room for the characters", "", "set vocab to more than ");
  const std::vector<std::string> none{"", ""};
  expect_error([&] { train_sentencepiece(reader(none), of_kind("bpe", 300)); }, Code::data, "no text to train", "",
               "empty");
}

}  // namespace
}  // namespace etude::sentencepiece_test
