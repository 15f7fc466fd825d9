// vocab.json with merges.txt, vocab.txt, and the settings beside them.

#include "etude/data/tokenizers/tokenizer_readers.h"

#include <gtest/gtest.h>

#include "etude/base/testing.h"

namespace etude::tokenizer_readers_test {
namespace {

using Ids = std::vector<int32_t>;

constexpr const char* kVocabulary = R"({"a": 0, "b": 1, "Ġ": 2, "ab": 3, "Ġab": 4, "<|endoftext|>": 5})";
constexpr const char* kMerges = "#version: 0.2\na b\nĠ ab\n";

std::shared_ptr<Tokenizer> pair_of(const std::string& vocabulary, const std::string& merges) {
  return parse_merges(vocabulary, "vocab.json", merges, "merges.txt");
}

TEST(Merges, MakeGpt2sTokens) {
  const auto tokenizer = pair_of(kVocabulary, kMerges);
  EXPECT_EQ(tokenizer->encode("ab abb<|endoftext|>a"), (Ids{3, 4, 1, 5, 0}));
  EXPECT_EQ(tokenizer->decode({3, 4, 1, 5}), "ab abb");
  EXPECT_EQ(tokenizer->document_end(), 5);
  EXPECT_EQ(tokenizer->token(4), "Ġab");
  EXPECT_EQ(tokenizer->id("Ġab"), 4);
  EXPECT_EQ(tokenizer->id("ba"), std::nullopt);
}

TEST(Merges, LineEndsOfOtherSystemsAndEmptyLines) {
  EXPECT_EQ(pair_of(kVocabulary, "#version: 0.2\r\na b\r\n\r\nĠ ab")->encode(" ab"), Ids{4});
  EXPECT_EQ(pair_of(kVocabulary, "")->encode("ab"), (Ids{0, 1}));
}

TEST(Merges, SettingsChooseThePipeline) {
  const TestFolder folder;
  folder.write("vocab.json", R"({"a": 0, "1": 1, "11": 2, "<|im_end|>": 3, "x": 4, "Ġ": 5, "Ġa": 6})");
  folder.write("merges.txt", "1 1\nĠ a\n");
  EXPECT_EQ(open_tokenizer(folder.path())->encode("a11"), (Ids{0, 2}));
  folder.write("tokenizer_config.json", R"({"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>",
    "added_tokens_decoder": {"7": {"content": "<new>", "special": false}}})");
  const auto qwen = open_tokenizer(folder.path());
  EXPECT_EQ(qwen->encode("a11<new>x"), (Ids{0, 1, 1, 7, 4}));
  EXPECT_EQ(qwen->document_end(), 3);
  EXPECT_EQ(qwen->vocabulary(), 8);
  folder.write("tokenizer_config.json", R"({"add_prefix_space": true})");
  EXPECT_EQ(open_tokenizer(folder.path())->encode("a"), Ids{6});
}

struct Hostile {
  const char* name;
  std::string content;
  const char* message;
  const char* where;
};

TEST(Merges, HostileFilesAreRefusedWithPlaceAndReason) {
  const std::vector<Hostile> merges{
      {"one_token", "a\n", "two tokens with one blank", "merges.txt:1"},
      {"three_tokens", "a b\na b a\n", "two tokens with one blank", "merges.txt:2"},
      {"blank_first", " a\n", "two tokens with one blank", "merges.txt:1"},
      {"blank_last", "a \n", "two tokens with one blank", "merges.txt:1"},
      {"two_blanks", "a  b\n", "two tokens with one blank", "merges.txt:1"},
      {"tab", "a\tb\n", "two tokens with one blank", "merges.txt:1"},
      {"unknown_left", "z b\n", "needs the token 'z'", "merges.txt:1"},
      {"unknown_right", "a z\n", "needs the token 'z'", "merges.txt:1"},
      {"makes_unknown", "#version\nb a\n", "needs the token 'ba'", "merges.txt:2"},
      {"not_utf8", "a \xff\n", "needs the token", "merges.txt:1"},
      {"nul", std::string("a\0 b\n", 5), "needs the token", "merges.txt:1"},
      {"json", R"(["a b"])", "needs the token", "merges.txt:1"},
      {"binary", std::string("\x1f\x8b\x08\0\0\n", 6), "two tokens with one blank", "merges.txt:1"},
      {"truncated", "a b\nĠ a", "needs the token 'Ġa'", "merges.txt:2"},
      {"long_line", std::string(100'000, 'a') + "\n", "two tokens with one blank", "merges.txt:1"},
      {"comment", "// merges\n", "needs the token", "merges.txt:1"},
  };
  const std::vector<Hostile> vocabularies{
      {"empty", "", "the file is empty", "vocab.json:1:1"},
      {"empty_object", "{}", "the vocabulary is empty", "vocab.json"},
      {"list", R"(["a"])", "must be an object, not a list", "vocab.json:1:1"},
      {"truncated", R"({"a": 0, "b)", "a string has no end", "vocab.json:1:10"},
      {"no_comma", R"({"a": 0 "b": 1})", "expected ',' or '}'", "vocab.json:1:9"},
      {"negative", R"({"a": -7})", "negative id -7", "vocab.json:1:7"},
      {"doubled", R"({"a": 0, "b": 0})", "same id 0", "vocab.json:1:15"},
      {"huge", R"({"a": 123456789})", "far beyond", "vocab.json:1:7"},
      {"null", R"({"a": null})", "must be a whole number, not null", "vocab.json:1:7"},
      {"nested", R"({"a": {"b": 1}})", "must be a whole number, not an object", "vocab.json:1:7"},
      {"clip", R"({"a</w>": 0, "a": 1})", "ends of words as '</w>'", "vocab.json"},
  };
  ASSERT_GE(merges.size() + vocabularies.size(), 20u);
  for (const Hostile& file : merges) {
    SCOPED_TRACE(file.name);
    expect_error([&] { pair_of(kVocabulary, file.content); }, Code::data, file.message, file.where);
  }
  for (const Hostile& file : vocabularies) {
    SCOPED_TRACE(file.name);
    expect_error([&] { pair_of(file.content, kMerges); }, Code::data, file.message, file.where);
  }
}

TEST(Merges, MergesThatMakeTheirOwnPartsEnd) {
  // "" is a token that merges with all others without making anything longer.
  const auto tokenizer = pair_of(R"({"": 0, "a": 1, "aa": 2, "aaaa": 3})", "a a\naa aa\n");
  EXPECT_EQ(tokenizer->encode(std::string(9, 'a')), (Ids{3, 3, 1}));
}

// ---- vocab.txt ----------------------------------------------------------------------------------

constexpr const char* kLines = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\nworld\n##ing\nsing\n!\ncafe\n";

TEST(VocabularyLines, FindTheLongestPieces) {
  const auto tokenizer = parse_vocabulary_txt(kLines, "vocab.txt");
  EXPECT_EQ(tokenizer->encode("Hello SINGing, world! [MASK]"), (Ids{5, 8, 7, 1, 6, 9, 4}));
  EXPECT_EQ(tokenizer->encode("Café cafeteria"), (Ids{10, 1}));
  const Encoding found = tokenizer->encode_with_offsets("Café singing!");
  EXPECT_EQ(found.offsets, (std::vector<Encoding::Span>{{0, 5}, {6, 10}, {10, 13}, {13, 14}}));
  EXPECT_EQ(found.words, (Ids{0, 1, 1, 2}));
  EXPECT_EQ(tokenizer->decode({5, 8, 7, 9, 3}), "hello singing!");
  EXPECT_EQ(tokenizer->document_begin(), 2);
  EXPECT_EQ(tokenizer->document_end(), 3);
}

TEST(VocabularyLines, CaseAsTheSettingsOrTheVocabularySay) {
  EXPECT_EQ(parse_vocabulary_txt(std::string(kLines) + "Hello\n", "vocab.txt")->encode("Hello hello"), (Ids{11, 5}));
  TokenizerSettings lower;
  lower.lower_case = true;
  EXPECT_EQ(parse_vocabulary_txt(std::string(kLines) + "Hello\n", "vocab.txt", lower)->encode("Hello"), Ids{5});
  TokenizerSettings cased;
  cased.lower_case = false;
  EXPECT_EQ(parse_vocabulary_txt(kLines, "vocab.txt", cased)->encode("Hello hello"), (Ids{1, 5}));
}

TEST(VocabularyLines, WordsOfMoreThan100CharactersAreUnknown) {
  const auto tokenizer = parse_vocabulary_txt("[UNK]\né\n##é\n", "vocab.txt", [] {
    TokenizerSettings settings;
    settings.strip_accents = false;
    return settings;
  }());
  const auto word = [](int characters) {
    std::string text;
    for (int i = 0; i < characters; ++i) text += "é";
    return text;
  };
  EXPECT_EQ(tokenizer->encode(word(100)).size(), 100u);
  EXPECT_EQ(tokenizer->encode(word(101)), Ids{0});
}

TEST(VocabularyLines, HostileFilesAreRefusedWithPlaceAndReason) {
  const std::string start = "[UNK]\n";
  const std::vector<Hostile> files{
      {"empty", "", "the vocabulary is empty", "vocab.txt"},
      {"only_mark", "\xef\xbb\xbf", "the vocabulary is empty", "vocab.txt"},
      {"one_line_end", "\n", "a line is empty", "vocab.txt:1"},
      {"empty_line", start + "a\n\nb\n", "a line is empty", "vocab.txt:3"},
      {"empty_line_windows", start + "\r\nb\r\n", "a line is empty", "vocab.txt:2"},
      {"empty_last_line", start + "a\n\n", "a line is empty", "vocab.txt:3"},
      {"twice", start + "a\nb\na\n", "the token 'a' stands twice", "vocab.txt:4"},
      {"special_twice", start + start, "'[UNK]' stands twice", "vocab.txt:2"},
      {"twice_windows", start + "a\r\na\n", "the token 'a' stands twice", "vocab.txt:3"},
      {"not_utf8", start + "\xff\n", "a token is not UTF-8", "vocab.txt:2"},
      {"cut_character", start + "\xe2\x96", "a token is not UTF-8", "vocab.txt:2"},
      {"overlong", start + "\xc1\xa1\n", "a token is not UTF-8", "vocab.txt:2"},
      {"surrogate", start + "\xed\xa0\x80\n", "a token is not UTF-8", "vocab.txt:2"},
      {"beyond_unicode", start + "\xf4\x90\x80\x80\n", "a token is not UTF-8", "vocab.txt:2"},
      {"latin1", start + "caf\xe9\n", "a token is not UTF-8", "vocab.txt:2"},
      {"nul", start + std::string("a\0b\n", 4), "a token has a NUL byte", "vocab.txt:2"},
      {"utf16", std::string("\xff\xfe[\0U\0N\0K\0]\0\n\0", 14), "a token is not UTF-8", "vocab.txt:1"},
      {"gzip", std::string("\x1f\x8b\x08\0\0\0\0\0\0\x03\n", 11), "a token is not UTF-8", "vocab.txt:1"},
      {"no_unknown", "a\nb\n", "'[UNK]' is not in the vocabulary", "vocab.txt"},
      {"json", R"({"[UNK]": 0, "a": 1})", "'[UNK]' is not in the vocabulary", "vocab.txt"},
      {"long_token", start + std::string(1025, 'a') + "\n", "has 1025 bytes", "vocab.txt"},
      {"huge_line", start + std::string(1'000'000, 'a'), "has 1000000 bytes", "vocab.txt"},
      {"control", start + "a\x01\n" + "a\x01\n", "'a?' stands twice", "vocab.txt:3"},
  };
  ASSERT_GE(files.size(), 20u);
  for (const Hostile& file : files) {
    SCOPED_TRACE(file.name);
    expect_error([&] { parse_vocabulary_txt(file.content, "vocab.txt"); }, Code::data, file.message, file.where);
  }
}

TEST(Settings, HostileOnesAreRefusedWithPlaceAndReason) {
  const std::vector<Hostile> files{
      {"not_json", "eos = 1", "no JSON value begins here", "tokenizer_config.json:1:1"},
      {"list", "[1]", "must be an object", "tokenizer_config.json:1:1"},
      {"eos_number", R"({"eos_token": 3})", "'eos_token' must be a string", "tokenizer_config.json:1:15"},
      {"eos_object", R"({"eos_token": {}})", "'content' is missing", "tokenizer_config.json:1:15"},
      {"case_text", R"({"do_lower_case": "yes"})", "must be a boolean", "tokenizer_config.json:1:19"},
      {"added_id", R"({"added_tokens_decoder": {"x": {"content": "y"}}})", "'x' is no id", "tokenizer_config.json:1"},
      {"added_taken", R"({"added_tokens_decoder": {"5": {"content": "y"}}})", "of the token 'hello'", "vocab.txt"},
  };
  for (const Hostile& file : files) {
    SCOPED_TRACE(file.name);
    const TestFolder folder;
    folder.write("vocab.txt", kLines);
    folder.write("tokenizer_config.json", file.content);
    expect_error([&] { open_tokenizer(folder.path()); }, Code::data, file.message, file.where);
  }
  const TestFolder folder;
  folder.write("vocab.json", kVocabulary);
  folder.write("merges.txt", kMerges);
  folder.write("config.json", R"({"eos_token_id": 99})");
  expect_error([&] { open_tokenizer(folder.path()); }, Code::data, "eos_token_id = 99, which is not in the vocabulary",
               "vocab.json", "belong together");
  folder.write("config.json", R"({"eos_token_id": 3})");
  EXPECT_EQ(open_tokenizer(folder.path())->document_end(), 3);
}

}  // namespace
}  // namespace etude::tokenizer_readers_test
