// Ten thousand strings in 26 languages with emoji, combining marks and white space: the ids, offsets and texts that the
// reference libraries give (tests/interop/make_tokenizer_fixtures.py).

#include <gtest/gtest.h>

#include <thread>

#include "etude/base/testing.h"
#include "etude/data/tokenizers/testing_tokenizers.h"

namespace etude::tokenizer_fixtures_test {
namespace {

/// The lower 16 bits of FNV-1a over little-endian int32, in hexadecimal.
std::string hash_of_ids(const std::vector<int32_t>& ids) {
  uint64_t hash = 0xCBF29CE484222325;
  for (const int32_t id : ids) {
    for (int shift = 0; shift < 32; shift += 8) {
      hash = (hash ^ (static_cast<uint32_t>(id) >> shift & 0xFF)) * 0x100000001B3;
    }
  }
  static constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  for (int shift = 12; shift >= 0; shift -= 4) text += kHex[hash >> shift & 15];
  return text;
}

std::vector<int32_t> ids_of(const JsonView& json) {
  std::vector<int32_t> ids;
  json.each_element("ids", [&](JsonView id) { ids.push_back(static_cast<int32_t>(id.as_int("id"))); });
  return ids;
}

std::vector<Encoding::Span> spans_of(const JsonView& json) {
  std::vector<Encoding::Span> spans;
  json.each_element("offsets", [&](JsonView pair) {
    const std::vector<int32_t> ends = ids_of(pair);
    spans.push_back({ends.at(0), ends.at(1)});
  });
  return spans;
}

/// Sentencepiece gives a character that is written in bytes to the last of them; here each stands for all of it.
void give_bytes_their_character(const Encoding& found, std::vector<Encoding::Span>& spans) {
  for (size_t i = 0; i < spans.size() && i < found.offsets.size(); ++i) {
    if (spans[i].begin == spans[i].end) spans[i] = found.offsets[i];
  }
}

std::string without_unknown(std::string text) {
  static const std::string unknown = " \u2047 ";
  for (size_t at = text.find(unknown); at != std::string::npos; at = text.find(unknown)) text.erase(at, unknown.size());
  return text;
}

class Fixture : public testing::TestWithParam<std::string> {};

TEST_P(Fixture, TokenizesAsTheReference) {
  const std::vector<std::string> strings = tokenizer_strings();
  ASSERT_EQ(strings.size(), 10'000u);
  const auto tokenizer = fixture_tokenizer(GetParam());
  const std::string expected_text = tokenizer_fixture(GetParam() + ".expected.json");
  const JsonView expected = JsonView::parse(expected_text, "expected");
  EXPECT_EQ(tokenizer->vocabulary(), expected.at("vocabulary").as_int("vocabulary"));

  const std::string hashes = expected.at("hashes").as_string("hashes");
  int wrong = 0;
  for (size_t i = 0; i < strings.size(); ++i) {
    if (hash_of_ids(tokenizer->encode(strings[i])) == hashes.substr(i * 4, 4)) continue;
    if (++wrong <= 5) ADD_FAILURE() << "string " << i << ": " << json_quoted(strings[i]);
  }
  EXPECT_EQ(wrong, 0);

  size_t i = 0;
  expected.at("ids").each_element("ids", [&](JsonView ids) {
    EXPECT_EQ(tokenizer->encode_with_offsets(strings[i]).ids, ids_of(ids)) << json_quoted(strings[i]);
    ++i;
  });
  ASSERT_EQ(i, 300u);
  const bool is_model = GetParam().substr(0, 3) == "sp_";
  i = 0;
  expected.at("offsets").each_element("offsets", [&](JsonView offsets) {
    const Encoding found = tokenizer->encode_with_offsets(strings[i]);
    std::vector<Encoding::Span> spans = spans_of(offsets);
    if (is_model) give_bytes_their_character(found, spans);
    EXPECT_TRUE(found.offsets == spans) << json_quoted(strings[i]);
    ++i;
  });
  i = 0;
  expected.at("decoded").each_element("decoded", [&](JsonView decoded) {
    const std::vector<int32_t> ids = tokenizer->encode(strings[i]);
    const std::string text = decoded.as_string("decoded");
    if (text.find("\ufffd") == std::string::npos) {
      EXPECT_EQ(tokenizer->decode({ids.begin(), ids.end()}), is_model ? without_unknown(text) : text);
    }
    ++i;
  });
}

TEST_P(Fixture, WordsAreNumberedInOrderAndOffsetsLieInTheText) {
  const auto tokenizer = fixture_tokenizer(GetParam());
  for (const std::string& text : tokenizer_strings()) {
    const Encoding found = tokenizer->encode_with_offsets(text);
    ASSERT_EQ(found.offsets.size(), found.ids.size());
    ASSERT_EQ(found.words.size(), found.ids.size());
    int32_t last = -1;
    for (size_t i = 0; i < found.ids.size(); ++i) {
      ASSERT_GE(found.ids[i], 0);
      ASSERT_LT(found.ids[i], tokenizer->vocabulary());
      ASSERT_LE(0, found.offsets[i].begin);
      ASSERT_LE(found.offsets[i].begin, found.offsets[i].end);
      ASSERT_LE(found.offsets[i].end, static_cast<int64_t>(text.size()));
      if (found.words[i] < 0) continue;
      ASSERT_TRUE(found.words[i] == last || found.words[i] == last + 1) << json_quoted(text);
      last = found.words[i];
    }
  }
}

TEST_P(Fixture, FilesOpenAsTheSameTokenizer) {
  const auto tokenizer = fixture_tokenizer(GetParam());
  const TestFolder folder;
  for (const auto& [name, content] : tokenizer->files()) folder.write(name, content);
  const auto again = open_tokenizer(folder.path());
  EXPECT_EQ(again->hash(), tokenizer->hash());
  EXPECT_EQ(again->document_end(), tokenizer->document_end());
  EXPECT_EQ(again->document_begin(), tokenizer->document_begin());
  for (int64_t id = 0; id < tokenizer->vocabulary(); ++id) {
    ASSERT_EQ(again->token(id), tokenizer->token(id));
    if (!tokenizer->token(id).empty()) {
      ASSERT_EQ(again->id(tokenizer->token(id)), id);
    }
  }
}

TEST_P(Fixture, IdsAreTheSameInFourThreadsAtOnce) {
  const auto tokenizer = fixture_tokenizer(GetParam());
  std::vector<std::string> strings = tokenizer_strings();
  strings.resize(1000);
  std::vector<std::vector<int32_t>> alone;
  for (const std::string& text : strings) alone.push_back(tokenizer->encode(text));
  const auto shared = fixture_tokenizer(GetParam());
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = 0; i < strings.size(); ++i) wrong[t] += shared->encode(strings[i]) != alone[i];
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

INSTANTIATE_TEST_SUITE_P(All, Fixture, testing::ValuesIn(tokenizer_fixture_names()),
                         [](const auto& test) { return test.param; });

TEST(FixtureTokens, OpenAndCloseDocuments) {
  const auto named = [](const std::string& fixture) {
    const auto tokenizer = fixture_tokenizer(fixture);
    const auto begin = tokenizer->document_begin();
    return (begin ? tokenizer->token(*begin) : "-") + " " + tokenizer->token(tokenizer->document_end());
  };
  EXPECT_EQ(named("gpt2"), "- <|endoftext|>");
  EXPECT_EQ(named("roberta"), "<s> </s>");
  EXPECT_EQ(named("llama3"), "<|begin_of_text|> <|end_of_text|>");
  EXPECT_EQ(named("llama2"), "- </s>");
  EXPECT_EQ(named("bert_cased"), "[CLS] [SEP]");
  EXPECT_EQ(named("sp_bpe"), "- </s>");
}

TEST(FixtureTokens, BytesSurviveByteLevelTokenizers) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  all += "\xe2\x82 \xf0\x9f\x98 a\xcc";
  for (const char* name : {"gpt2", "llama3"}) {
    const auto tokenizer = fixture_tokenizer(name);
    const std::vector<int32_t> ids = tokenizer->encode(all);
    EXPECT_EQ(tokenizer->decode({ids.begin(), ids.end()}), all) << name;
  }
  const auto tokenizer = fixture_tokenizer("gpt2");
  EXPECT_EQ(tokenizer->decode({-1, tokenizer->vocabulary(), 1LL << 40, tokenizer->document_end()}), "");
}

TEST(FixtureTokens, VocabularyAndMergesAreTheSameTokenizerAsTheirTokenizerJson) {
  const auto whole = fixture_tokenizer("gpt2");
  const std::string json = tokenizer_fixture("gpt2");
  const JsonView model = JsonView::parse(json, "gpt2").at("model");
  std::string merges = "#version: 0.2\n";
  model.at("merges").each_element("merges", [&](JsonView pair) {
    bool first = true;
    pair.each_element("merge", [&](JsonView token) {
      merges += token.as_string("token") + (first ? " " : "\n");
      first = false;
    });
  });
  const TestFolder folder;
  folder.write("vocab.json", model.at("vocab").raw());
  folder.write("merges.txt", merges);
  for (const std::string& path : {folder.path(), folder.at("merges.txt")}) {
    const auto pair = open_tokenizer(path);
    for (const std::string& text : tokenizer_strings()) ASSERT_EQ(pair->encode(text), whole->encode(text));
    EXPECT_EQ(pair->document_end(), whole->document_end());
  }
}

TEST(FixtureTokens, VocabularyLinesAreTheSameTokenizerAsTheirTokenizerJson) {
  for (const char* name : {"bert_uncased", "bert_cased"}) {
    const auto whole = fixture_tokenizer(name);
    std::string lines;
    for (int64_t id = 0; id < whole->vocabulary(); ++id) lines += whole->token(id) + "\n";
    const auto plain = parse_vocabulary_txt(lines, "vocab.txt");
    for (const std::string& text : tokenizer_strings()) ASSERT_EQ(plain->encode(text), whole->encode(text));
    EXPECT_EQ(plain->document_end(), whole->document_end());
    EXPECT_EQ(plain->document_begin(), whole->document_begin());
  }
}

}  // namespace
}  // namespace etude::tokenizer_fixtures_test
