#include <gtest/gtest.h>

#include "etude/base/file.h"
#include "etude/base/testing.h"
#include "etude/data/tokenizers/testing_tokenizers.h"

namespace etude::tokenizer_json_test {
namespace {

using Ids = std::vector<int32_t>;
using Spans = std::vector<Encoding::Span>;

/// A tokenizer of characters and a few merges; `parts` are further members of the file.
std::string bpe_json(const std::string& parts, const std::string& model = {}) {
  return R"({"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2, " ": 3, "ab": 4, "abc": 5,
    "<unk>": 6, "▁": 7, "-": 8}, "merges": ["a b", ["ab", "c"]])" +
         (model.empty() ? "" : ", " + model) + "}" + (parts.empty() ? "" : ", " + parts) + "}";
}

std::shared_ptr<Tokenizer> bpe(const std::string& parts, const std::string& model = {}) {
  return parse_tokenizer_json(bpe_json(parts, model), "t.json");
}

TEST(TokenizerJson, MergesInTheOrderInWhichTheyWereLearned) {
  const auto tokenizer = bpe("");
  EXPECT_EQ(tokenizer->encode("abcabba"), (Ids{5, 4, 1, 0}));
  EXPECT_EQ(tokenizer->encode(""), Ids{});
  EXPECT_EQ(tokenizer->encode("azb"), Ids{4});  // no unk_token: left out, as if it were not there
  EXPECT_EQ(tokenizer->vocabulary(), 9);
}

TEST(TokenizerJson, UnknownCharactersAreFusedOrNot) {
  EXPECT_EQ(bpe("", R"("unk_token": "<unk>")")->encode("aéèb"), (Ids{0, 6, 6, 1}));
  EXPECT_EQ(bpe("", R"("unk_token": "<unk>", "fuse_unk": true)")->encode("aéèb"), (Ids{0, 6, 1}));
  const auto fused = bpe("", R"("unk_token": "<unk>", "fuse_unk": true)");
  EXPECT_EQ(fused->encode_with_offsets("aéèb").offsets, (Spans{{0, 1}, {1, 5}, {5, 6}}));
}

TEST(TokenizerJson, AddedTokensTakeSpaceAndStandForWholeWords) {
  const auto tokenizer = bpe(R"("added_tokens": [
    {"id": 9, "content": "[X]", "special": true, "lstrip": true, "rstrip": true, "normalized": false},
    {"id": 10, "content": "[XY]", "special": false, "normalized": false},
    {"id": 11, "content": "cc", "single_word": true, "special": false, "normalized": false}])");
  EXPECT_EQ(tokenizer->encode("a [X]  b"), (Ids{0, 9, 1}));
  EXPECT_EQ(tokenizer->encode("[XY][X]"), (Ids{10, 9}));
  EXPECT_EQ(tokenizer->encode("acc cc a"), (Ids{0, 2, 2, 3, 11, 3, 0}));
  const Encoding found = tokenizer->encode_with_offsets("a [X] b[XY]");
  EXPECT_EQ(found.offsets, (Spans{{0, 1}, {1, 6}, {6, 7}, {7, 11}}));
  EXPECT_EQ(found.words, (Ids{0, -1, 1, 2}));
  EXPECT_EQ(tokenizer->decode({0, 9, 10}), "a [XY]");  // special ones stand for no text
  EXPECT_EQ(tokenizer->vocabulary(), 12);
}

TEST(TokenizerJson, TokensAreSoughtInNormalizedTextIfTheySaySo) {
  const std::string normalizer = R"("normalizer": {"type": "Lowercase"}, )";
  const auto normalized = bpe(normalizer + R"("added_tokens": [{"id": 9, "content": "CAB", "normalized": true}])");
  EXPECT_EQ(normalized->encode("acAb"), (Ids{0, 9}));
  const auto raw = bpe(normalizer + R"("added_tokens": [{"id": 9, "content": "CAB", "normalized": false}])");
  EXPECT_EQ(raw->encode("acAb"), (Ids{0, 2, 4}));
  EXPECT_EQ(raw->encode("aCAB"), (Ids{0, 9}));
}

TEST(TokenizerJson, EachBehaviorOfASplit) {
  const auto words = [](const std::string& behavior, const std::string& invert = "false") {
    return bpe(R"("pre_tokenizer": {"type": "Split", "pattern": {"String": "-"}, "behavior": ")" + behavior +
               R"(", "invert": )" + invert + "}")
        ->encode_with_offsets("a--b-c")
        .words;
  };
  EXPECT_EQ(words("Removed"), (Ids{0, 1, 2}));
  EXPECT_EQ(words("Isolated"), (Ids{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(words("Contiguous"), (Ids{0, 1, 1, 2, 3, 4}));
  EXPECT_EQ(words("MergedWithPrevious"), (Ids{0, 0, 1, 2, 2, 3}));
  EXPECT_EQ(words("MergedWithNext"), (Ids{0, 1, 2, 2, 3, 3}));
  EXPECT_EQ(words("Removed", "true"), (Ids{0, 1, 2}));
}

TEST(TokenizerJson, NormalizersFollowTheOriginalText) {
  const auto offsets = [](const std::string& normalizer, const std::string& text) {
    return bpe(R"("normalizer": )" + normalizer, R"("unk_token": "<unk>")")->encode_with_offsets(text).offsets;
  };
  EXPECT_EQ(offsets(R"({"type": "NFD"})", "aé"), (Spans{{0, 1}, {1, 3}, {1, 3}}));
  EXPECT_EQ(offsets(R"({"type": "NFC"})", "ae\u0301b"), (Spans{{0, 1}, {1, 2}, {4, 5}}));
  EXPECT_EQ(offsets(R"({"type": "Prepend", "prepend": "▁"})", "é"), (Spans{{0, 2}, {0, 2}}));
  EXPECT_EQ(offsets(R"({"type": "Strip", "strip_left": true, "strip_right": true})", " \u3000b\n"), (Spans{{4, 5}}));
  EXPECT_EQ(offsets(R"({"type": "Replace", "pattern": {"Regex": "[xy]+"}, "content": "a"})", "bxyxc"),
            (Spans{{0, 1}, {3, 4}, {4, 5}}));
  EXPECT_EQ(offsets(R"({"type": "BertNormalizer", "lowercase": true, "clean_text": true,
    "handle_chinese_chars": true, "strip_accents": null})",
                    "\u0001É中"),
            (Spans{{1, 3}, {3, 6}, {3, 6}, {3, 6}}));
}

TEST(TokenizerJson, MetaspaceBeforeTheTextOrBeforeEachPart) {
  const auto ids = [](const std::string& scheme) {
    return bpe(R"("added_tokens": [{"id": 9, "content": "X", "normalized": false}],
      "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": ")" +
               scheme + "\"}")
        ->encode("aXb c");
  };
  EXPECT_EQ(ids("always"), (Ids{7, 0, 9, 7, 1, 7, 2}));
  EXPECT_EQ(ids("first"), (Ids{7, 0, 9, 1, 7, 2}));
  EXPECT_EQ(ids("never"), (Ids{0, 9, 1, 7, 2}));
}

TEST(TokenizerJson, DocumentsAreClosedByWhatTheFilesSay) {
  const std::string token = R"("added_tokens": [{"id": 9, "content": "<end>", "special": true},
    {"id": 10, "content": "</s>", "special": true}])";
  const TestFolder folder;
  folder.write("tokenizer.json", bpe_json(token));
  EXPECT_EQ(open_tokenizer(folder.path())->document_end(), 10);  // by its usual name
  folder.write("config.json", R"({"eos_token_id": [9, 10]})");
  EXPECT_EQ(open_tokenizer(folder.path())->document_end(), 9);
  const TestFolder copy;
  for (const auto& [name, content] : open_tokenizer(folder.path())->files()) copy.write(name, content);
  EXPECT_FALSE(file::exists(copy.at("config.json")));  // that one belongs to the model
  EXPECT_EQ(open_tokenizer(copy.path())->document_end(), 9);
  folder.write("tokenizer_config.json", R"({"eos_token": null})");
  const TestFolder again;
  for (const auto& [name, content] : open_tokenizer(folder.path())->files()) again.write(name, content);
  EXPECT_EQ(open_tokenizer(again.path())->document_end(), 9);
  folder.write("special_tokens_map.json", R"({"eos_token": {"content": "</s>"}})");
  EXPECT_EQ(open_tokenizer(folder.path())->document_end(), 10);
  folder.write("tokenizer_config.json", R"({"eos_token": "<end>", "bos_token": "</s>", "add_bos_token": true})");
  EXPECT_EQ(open_tokenizer(folder.path())->document_end(), 9);
  EXPECT_EQ(open_tokenizer(folder.path())->document_begin(), 10);
  folder.write("tokenizer_config.json", R"({"eos_token": "<ende>"})");
  expect_error([&] { open_tokenizer(folder.path()); }, Code::data, "'<ende>' is not in the vocabulary",
               "tokenizer.json", "belong together");
  expect_error([] { bpe("")->document_end(); }, Code::data, "no token that closes a document", "t.json", "eos_token");
}

TEST(TokenizerJson, OtherHashForOtherEnds) {
  const TestFolder folder;
  folder.write("tokenizer.json", bpe_json(""));
  const std::string before = open_tokenizer(folder.path())->hash();
  folder.write("tokenizer_config.json", R"({"eos_token": "abc"})");
  EXPECT_NE(open_tokenizer(folder.path())->hash(), before);
}

TEST(TokenizerJson, PathsThatHoldNone) {
  const TestFolder folder;
  folder.write("corpus.txt.gz", "x");
  folder.write("tokenizer.jsn", "{}");
  expect_error([&] { open_tokenizer(folder.path()); }, Code::data, "no file of a tokenizer", "Hefte", "tokenizer.json");
  expect_error([&] { open_tokenizer(folder.at("tokenizer.json")); }, Code::data, "there is no tokenizer",
               "tokenizer.json", "'tokenizer.jsn'");
  expect_error([&] { open_tokenizer(folder.at("corpus.txt.gz")); }, Code::data, "no file of a tokenizer", "corpus");
  expect_error([&] { open_tokenizer(""); }, Code::data, "path of the tokenizer is empty", "", "'bytes'");
  folder.write("merges.txt", "");
  expect_error([&] { open_tokenizer(folder.path()); }, Code::data, "'vocab.json' is missing", "vocab.json",
               "one tokenizer");
  folder.write("a.model", "");
  folder.write("b.model", "");
  expect_error([&] { open_tokenizer(folder.path()); }, Code::data, "several sentencepiece models", "Hefte",
               "the one that you mean");
  EXPECT_EQ(open_tokenizer("bytes")->vocabulary(), 257);
}

struct Hostile {
  const char* name;
  std::string content;
  const char* message;
  const char* where = "t.json";
};

std::vector<Hostile> hostile_files() {
  const auto model = [](const std::string& body) { return R"({"model": {"type": "BPE", )" + body + "}}"; };
  const auto step = [](const std::string& key, const std::string& value) {
    return bpe_json("\"" + key + "\": " + value);
  };
  std::string deep = R"({"model": )";
  for (int i = 0; i < 100'000; ++i) deep += "[";
  return {
      {"empty", "", "the file is empty"},
      {"blanks", " \n\t ", "the file is empty"},
      {"binary", std::string("\x89PNG\r\n\0\x1a", 8), "no JSON value begins here", "t.json:1:1"},
      {"truncated", bpe_json("").substr(0, 60), "the JSON ends too early"},
      {"truncated_string", R"({"model": {"type": "BP)", "a string has no end", "t.json:1:20"},
      {"second_value", bpe_json("") + "{}", "something follows the end"},
      {"list", "[]", "must be an object, not a list"},
      {"no_model", "{}", "the key 'model' is missing"},
      {"model_twice", R"({"model": {}, "model": {}})", "the key 'model' stands twice"},
      {"model_number", R"({"model": 7})", "'model' must be an object, not a number"},
      {"deep", deep, "more than 64 values are nested"},
      {"not_utf8", "{\"model\": \"\xff\"}", "a string is not UTF-8"},
      {"overlong", "{\"model\": \"\xc0\x80\"}", "a string is not UTF-8"},
      {"lone_surrogate", R"({"model": "\ud800"})", "surrogate pair stands alone"},
      {"control", "{\"model\": \"\x01\"}", "a control character stands in a string"},
      {"leading_zero", R"({"model": 007})", "a number begins with 0"},
      {"unknown_model", R"({"model": {"type": "Markov", "vocab": {}}})", "the model 'Markov' is not supported"},
      {"vocab_list", model(R"("vocab": ["a"], "merges": [])"), "'vocab' must be an object, not a list"},
      {"no_merges", model(R"("vocab": {"a": 0})"), "the key 'merges' is missing"},
      {"negative_id", model(R"("vocab": {"a": -1}, "merges": [])"), "'a' has the negative id -1"},
      {"huge_id", model(R"("vocab": {"a": 2147483646}, "merges": [])"), "far beyond what the file has room for"},
      {"overflowing_id", model(R"("vocab": {"a": 99999999999999999999}, "merges": [])"), "must be a whole number"},
      {"real_id", model(R"("vocab": {"a": 0.5}, "merges": [])"), "must be a whole number, not 0.5"},
      {"text_id", model(R"("vocab": {"a": "0"}, "merges": [])"), "must be a whole number, not a string"},
      {"same_id", model(R"("vocab": {"a": 0, "b": 0}, "merges": [])"), "'a' and 'b' have the same id 0"},
      {"same_token", model(R"("vocab": {"a": 0, "a": 1}, "merges": [])"), "'a' stands twice"},
      {"merge_unknown", model(R"("vocab": {"a": 0}, "merges": ["a b"])"), "needs the token 'b'"},
      {"merge_made", model(R"("vocab": {"a": 0, "b": 1}, "merges": ["a b"])"), "needs the token 'ab'"},
      {"merge_three", model(R"("vocab": {"a": 0}, "merges": ["a a a"])"), "two tokens with one blank"},
      {"merge_list", model(R"("vocab": {"a": 0}, "merges": [["a"]])"), "must name two tokens, not 1"},
      {"merge_type", model(R"("vocab": {"a": 0}, "merges": [7])"), "'merge' must be a string, not a number"},
      {"unknown_missing", model(R"("vocab": {"a": 0}, "merges": [], "unk_token": "<u>")"), "'<u>' is not in the"},
      {"dropout", bpe_json("", R"("dropout": 0.1)"), "dropout is not supported"},
      {"normalizer", step("normalizer", R"({"type": "Rot13"})"), "the normalizer 'Rot13' is not supported"},
      {"charsmap", step("normalizer", R"({"type": "Precompiled", "precompiled_charsmap": "AA"})"), "'Precompiled' is"},
      {"pre_tokenizer", step("pre_tokenizer", R"({"type": "Knife"})"), "the pre_tokenizer 'Knife' is not supported"},
      {"decoder", step("decoder", R"({"type": "CTC"})"), "the decoder 'CTC' is not supported"},
      {"post", step("post_processor", R"({"type": "Glue"})"), "the post_processor 'Glue' is not supported"},
      {"no_type", step("normalizer", "{}"), "the key 'type' is missing"},
      {"bad_regex", step("pre_tokenizer", R"({"type": "Split", "behavior": "Isolated", "pattern": {"Regex": "a(b"}})"),
       "the regular expression 'a(b' is not understood"},
      {"no_pattern", step("pre_tokenizer", R"({"type": "Split", "behavior": "Isolated", "pattern": {"Glob": "*"}})"),
       "a pattern must be"},
      {"behavior", step("pre_tokenizer", R"({"type": "Split", "behavior": "Shred", "pattern": {"String": "*"}})"),
       "unknown behavior 'Shred'"},
      {"metaspace", step("pre_tokenizer", R"({"type": "Metaspace", "replacement": "ab"})"), "must be one character"},
      {"added_conflict", step("added_tokens", R"([{"id": 3, "content": "a"}])"), "has the id 3, but 0 in the"},
      {"added_taken", step("added_tokens", R"([{"id": 3, "content": "new"}])"), "has the id 3 of the token ' '"},
      {"added_huge", step("added_tokens", R"([{"id": 900000000000, "content": "new"}])"), "far beyond the vocabulary"},
      {"added_twice", step("added_tokens", R"([{"id": 9, "content": "x"}, {"id": 9, "content": "y"}])"), "twice"},
      {"added_empty", step("added_tokens", R"([{"id": 9, "content": ""}])"), "an added token has 0 bytes"},
      {"unigram_pair", R"({"model": {"type": "Unigram", "vocab": [["a"]]}})", "must be [token, score]"},
      {"unigram_unk", R"({"model": {"type": "Unigram", "vocab": [["a", 0.0]], "unk_id": 1}})", "unk_id 1 is outside"},
      {"unigram_score", R"({"model": {"type": "Unigram", "vocab": [["a", 1e999]]}})", "must be a finite number"},
      {"wordpiece_unk", R"({"model": {"type": "WordPiece", "vocab": {"a": 0}}})", "'[UNK]' is not in the vocabulary"},
      {"wordpiece_long", R"({"model": {"type": "WordPiece", "vocab": {"[UNK]": 0}, "max_input_chars_per_word": 1e9}})",
       "must be a whole number"},
  };
}

TEST(TokenizerJson, HostileFilesAreRefusedWithPlaceAndReason) {
  const std::vector<Hostile> files = hostile_files();
  ASSERT_GE(files.size(), 20u);
  for (const Hostile& file : files) {
    SCOPED_TRACE(file.name);
    expect_error([&] { parse_tokenizer_json(file.content, "t.json"); }, Code::data, file.message, file.where);
  }
}

TEST(TokenizerJson, EveryPrefixOfAFileIsRefused) {
  const std::string whole = bpe_json(R"("decoder": {"type": "Fuse"})");
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_THROW(parse_tokenizer_json(whole.substr(0, size), "t.json"), Error) << size;
  }
}

TEST(TokenizerJson, ExpressionsThatBacktrackWithoutEndAreStopped) {
  const auto tokenizer = bpe(R"("pre_tokenizer": {"type": "Split", "behavior": "Isolated",
    "pattern": {"Regex": "(a|aa|a*)*c"}})");
  expect_error([&] { tokenizer->encode(std::string(3000, 'a') + "b"); }, Code::data, "takes too many steps",
               "t.json:", "backtracks");
  EXPECT_EQ(tokenizer->encode("aac").size(), 3u);  // and serves other texts
}

TEST(TokenizerJson, WordsWithoutBlanksTakeTimeThatGrowsWithThem) {
  const auto tokenizer = fixture_tokenizer("gpt2");
  const std::string word(3'000'000, 'x');
  EXPECT_EQ(tokenizer->decode([&] {
    const std::vector<int32_t> ids = tokenizer->encode(word);
    return std::vector<int64_t>(ids.begin(), ids.end());
  }()),
            word);
  std::string marks = "e";  // a segment that no normal form may sort in quadratic time
  for (int i = 0; i < 200'000; ++i) marks += i % 2 ? "\u0323" : "\u0301";
  EXPECT_GT(fixture_tokenizer("qwen2")->encode(marks).size(), 1000u);
}

}  // namespace
}  // namespace etude::tokenizer_json_test
