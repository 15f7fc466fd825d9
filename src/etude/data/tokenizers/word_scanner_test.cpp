// The scanned patterns against ICU's regular expressions, and byte pair encoding against its definition.

#include "etude/data/tokenizers/word_scanner.h"

#include <gtest/gtest.h>

#include <random>

#include "etude/base/testing.h"
#include "etude/data/tokenizers/bpe.h"
#include "etude/data/tokenizers/testing_tokenizers.h"
#include "etude/data/tokenizers/text_pattern.h"

namespace etude::word_scanner_test {
namespace {

using Range = PieceText::Range;

std::vector<std::string> matches_of(const TextPattern& pattern, const std::string& text) {
  std::vector<Range> ranges;
  pattern.find(text, {0, text.size()}, ranges);
  std::vector<std::string> found;
  for (const Range& range : ranges) found.push_back(text.substr(range.begin, range.end - range.begin));
  return found;
}

const std::vector<std::string>& word_regexes() {
  static const std::string tail = R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  static const std::string head = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})";
  static const std::vector<std::string> all{std::string(kGpt2Regex), head + "{1,3}" + tail, head + tail};
  return all;
}

/// Of characters that the patterns treat differently, and some that only few think of.
std::string random_text(std::mt19937& random) {
  static const std::vector<std::string> pieces{
      " ",  " ",  " ",       "\n",     "\r",     "\r\n", "\t",  "\u00a0", "\u2003", "\u3000", "\u0085", "a",
      "b",  "é",  "e\u0301", "中",     "ß",      "١",    "1",   "2",      "½",      "Ⅷ",      "'",      "'s",
      "'S", "'T", "'re",     "'LL",    "'ſ",     "ſ",    "'Ve", "'d",     "'m",     ".",      "!",      "-",
      "…",  "😀",  "\u200d",  "\u0000", "\u00ad", "_",    "$",   "'r",     "'l"};
  std::string text;
  const int count = static_cast<int>(random() % 12);
  for (int i = 0; i < count; ++i) text += pieces[random() % pieces.size()];
  return text;
}

TEST(WordScanner, KnowsThePatternsByTheirText) {
  for (const std::string& regex : word_regexes()) EXPECT_TRUE(known_word_pattern(regex)) << regex;
  EXPECT_FALSE(known_word_pattern(word_regexes()[1] + "|x"));
}

TEST(WordScanner, MatchesAsTheRegularExpressions) {
  std::mt19937 random(7);
  for (const std::string& regex : word_regexes()) {
    const auto scanned = regex_pattern(regex, "scanned"), by_icu = icu_pattern(regex, "ICU");
    for (int i = 0; i < 20'000; ++i) {
      const std::string text = random_text(random);
      ASSERT_EQ(matches_of(*scanned, text), matches_of(*by_icu, text)) << regex << "\n" << json_quoted(text);
    }
  }
}

TEST(WordScanner, MatchesAsTheRegularExpressionsOnTheStringsOfTheFixtures) {
  const std::vector<std::string> strings = tokenizer_strings();
  for (const std::string& regex : word_regexes()) {
    const auto scanned = regex_pattern(regex, "scanned"), by_icu = icu_pattern(regex, "ICU");
    for (const std::string& text : strings) ASSERT_EQ(matches_of(*scanned, text), matches_of(*by_icu, text));
  }
}

TEST(WordScanner, CoversBytesThatAreNoText) {
  std::mt19937 random(3);
  for (int i = 0; i < 2000; ++i) {
    std::string text;
    for (int n = 0; n < 20; ++n) text += static_cast<char>(random() % 3 ? random() % 256 : " a1'"[random() % 4]);
    for (const WordPattern pattern : {WordPattern::gpt2, WordPattern::cl100k, WordPattern::qwen2}) {
      std::vector<Range> words;
      scan_words(pattern, text, {0, text.size()}, words);
      size_t at = 0;
      for (const Range& word : words) {
        ASSERT_EQ(word.begin, at);
        ASSERT_LT(word.begin, word.end);
        at = word.end;
      }
      ASSERT_EQ(at, text.size());
    }
  }
}

/// The definition: the merge that was learned first is made at its leftmost place, until there is none.
std::vector<std::string> merged_by_definition(std::vector<std::string> parts,
                                              const std::vector<std::pair<std::string, std::string>>& merges) {
  while (true) {
    bool made = false;
    for (const auto& [left, right] : merges) {
      for (size_t i = 0; !made && i + 1 < parts.size(); ++i) {
        if (parts[i] != left || parts[i + 1] != right) continue;
        parts[i] += right;
        parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(i) + 1);
        made = true;
      }
      if (made) break;
    }
    if (!made) return parts;
  }
}

TEST(BytePairs, FewAndManyMergeByTheDefinition) {
  std::mt19937 random(11);
  for (int round = 0; round < 60; ++round) {
    TokenTable table;
    std::vector<std::string> tokens{"a", "b", "c"};
    for (size_t i = 0; i < tokens.size(); ++i) table.add(tokens[i], static_cast<int32_t>(i));
    std::vector<std::pair<std::string, std::string>> merges;
    for (int i = 0; i < 25; ++i) {
      const std::string left = tokens[random() % tokens.size()], right = tokens[random() % tokens.size()];
      const std::pair<std::string, std::string> merge{left, right};
      if (std::find(merges.begin(), merges.end(), merge) != merges.end()) continue;
      merges.push_back(merge);
      if (table.id(left + right) != kNoToken) continue;
      table.add(left + right, static_cast<int32_t>(tokens.size()));
      tokens.push_back(left + right);
    }
    BpeModel model(table, {}, "test");
    for (const auto& [left, right] : merges) model.add_merge(left, right, "test");
    for (const size_t size : {1, 2, 5, 20, 24, 25, 26, 60, 150}) {
      std::vector<std::string> parts;
      std::string text;
      for (size_t i = 0; i < size; ++i) {
        parts.push_back(std::string(1, "abc"[random() % 3]));
        text += parts.back();
      }
      ModelScratch scratch;
      std::vector<ModelToken> found;
      model.tokenize(text, scratch, found);
      std::vector<std::string> written;
      size_t at = 0;
      for (const ModelToken& token : found) {
        ASSERT_EQ(token.begin, at);
        at = token.end;
        written.push_back(std::string(table.token(token.id)));
        ASSERT_EQ(written.back(), text.substr(token.begin, token.end - token.begin));
      }
      ASSERT_EQ(written, merged_by_definition(parts, merges));
    }
  }
}

TEST(BytePairs, TextMayBeCutWhereNoTokenReachesOver) {
  const std::string json = R"({"model": {"type": "BPE", "vocab": {"a": 0, "▁": 1, "▁a": 2, "▁▁": 3%s}, "merges":
    ["▁ ▁", "▁ a"%s]}, "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}})";
  const auto with = [&](const std::string& token, const std::string& merge) {
    std::string made = json;
    made.replace(made.find("%s"), 2, token);
    made.replace(made.find("%s"), 2, merge);
    return parse_tokenizer_json(made, "t.json");
  };
  const auto apart = with("", ""), over = with(R"(, "a▁": 4)", R"(, "a ▁")");
  EXPECT_EQ(apart->encode("a a  a "), (std::vector<int32_t>{0, 2, 3, 0, 1}));
  EXPECT_EQ(over->encode("a a  a "), (std::vector<int32_t>{0, 2, 3, 4}));
  EXPECT_EQ(apart->encode_with_offsets("a a  a ").words, (std::vector<int32_t>{0, 1, 2, 2, 3}));
  EXPECT_EQ(over->encode_with_offsets("a a  a ").words, (std::vector<int32_t>{0, 1, 2, 2}));
}

}  // namespace
}  // namespace etude::word_scanner_test
