// Texts of all kinds as rows: tokenizers, caches, token ids, mixtures.

#include "etude/data/text_sources.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <map>
#include <set>

#include "etude/base/file.h"
#include "etude/base/torch_pch.h"
#include "etude/data/corpus/testing.h"
#include "etude/data/stream.h"

namespace etude::text_sources_test {
namespace {

using Split = TextDataset::Split;

class TextSources : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const char* before = getenv("ETUDE_CACHE")) before_ = before;
    setenv("ETUDE_CACHE", folder_.at("cache").c_str(), 1);
  }
  void TearDown() override {
    if (before_.empty()) {
      unsetenv("ETUDE_CACHE");
    } else {
      setenv("ETUDE_CACHE", before_.c_str(), 1);
    }
  }

  TextOptions options(const std::string& path, int64_t length = 4, double validation = 0) const {
    TextOptions o;
    o.path = path;
    o.length = length;
    o.validation = validation;
    return o;
  }

  /// A WordPiece vocabulary of words and letters, with [SEP] as the end of documents.
  std::string vocabulary() const {
    std::string text = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nalpha\nbeta\ngamma\ndelta\n";
    for (char c = 'a'; c <= 'z'; ++c) text += std::string(1, c) + "\n##" + c + "\n";
    return folder_.write("model/vocab.txt", text);
  }

  std::vector<std::string> kept(const std::string& part, const std::string& end) const {
    std::vector<std::string> names;
    for (const std::string& name : file::list(folder_.at("cache/" + part))) {
      if (name.ends_with(end)) names.push_back(name);
    }
    return names;
  }

  TestFolder folder_;
  std::string before_;
};

/// The ids of the whole text: rows of an unsplit text cover it, but for the last ones.
std::vector<int64_t> ids_of(const TextDataset& data) {
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < data.size(); ++i) {
    const Tensor row_T = data.get({i}, Rng(Key{})).at("ids_BT")[0].contiguous();
    ids.insert(ids.end(), row_T.const_data_ptr<int64_t>(), row_T.const_data_ptr<int64_t>() + row_T.size(0));
  }
  return ids;
}

template <class T>
std::string raw(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

TEST_F(TextSources, KindsInOneFolderAreOneSequence) {
  folder_.write("text/1.jsonl", "{\"text\":\"ab\"}\n{\"text\":\"\"}\n{\"text\":\"c\"}\n");
  folder_.write("text/2.csv", "id,text\n1,\"d\"\"e\"\n");
  folder_.write("text/3.tsv", "text\tid\nf\t1\n");
  folder_.write("text/4.txt", "gh");
  folder_.write("text/5.npy", "");
  folder_.write("text/readme.md", "not this");
  std::filesystem::remove(folder_.at("text/5.npy"));
  const auto data = open_text(options(folder_.at("text"), 2), Split::train);
  EXPECT_EQ(data->documents(), 5);
  EXPECT_EQ(data->tokens(), 2 + 1 + 3 + 1 + 2 + 5);
  const std::vector<int64_t> expected = {'a', 'b', 256, 'c', 256, 'd', '"', 'e', 256, 'f', 256, 'g'};
  EXPECT_EQ(ids_of(*data), expected);
}

TEST_F(TextSources, EveryKindTellsWhichItIs) {
  folder_.write("only/data.parquet", "PAR1");
  expect_error([&] { find_texts(folder_.at("only")); }, Code::data, "Parquet", "data.parquet", "to_json");
  expect_error([&] { find_texts(folder_.at("only/data.parquet")); }, Code::data, "Parquet", "data.parquet", "to_json");
  const std::string packed = folder_.write("ids.bin.gz", "x");
  expect_error([&] { find_texts(packed); }, Code::data, "can't be packed", packed, "unpack");
  expect_error([&] { open_text(options("set:no-such-set-anywhere")); }, Code::data, "no-such-set-anywhere", "");
  TextOptions o = options(folder_.write("a.jsonl", "{\"body\":\"abcdefgh\"}\n"));
  expect_error([&] { open_text(o); }, Code::data, "no field 'text'", "a.jsonl:1", "body");
  o.field = "body";
  EXPECT_EQ(open_text(o).train->tokens(), 9);
  o.field = "";
  expect_error([&] { open_text(o); }, Code::config, "field", "data.field", "text");
  o = options(folder_.write("b.jsonl", "{\"text\":\"\"}\n{\"text\":null}\n"));
  expect_error([&] { open_text(o); }, Code::data, "no text in any of the 2 documents", "b.jsonl", "field");
}

TEST_F(TextSources, ATokenizerOfOthersWithItsCache) {
  folder_.write("text/1.txt", "alpha beta gamma");
  folder_.write("text/2.txt", "delta alpha");
  TextOptions o = options(folder_.at("text"), 3);
  o.tokenizer = FileChoice{vocabulary()};
  const auto data = open_text(o, Split::train);
  const Tokenizer& tokenizer = data->tokenizer();
  EXPECT_EQ(tokenizer.vocabulary(), 9 + 52);
  EXPECT_EQ(tokenizer_of(o)->hash(), tokenizer.hash());
  // By hand: documents are opened where the tokenizer has a token for it.
  std::vector<int64_t> expected;
  for (const std::vector<int64_t>& words : {std::vector<int64_t>{5, 6, 7}, {8, 5}}) {
    if (tokenizer.document_begin()) expected.push_back(*tokenizer.document_begin());
    expected.insert(expected.end(), words.begin(), words.end());
    expected.push_back(tokenizer.document_end());
  }
  EXPECT_EQ(data->tokens(), static_cast<int64_t>(expected.size()));
  expected.resize(static_cast<size_t>(data->size() * 3));
  EXPECT_EQ(ids_of(*data), expected);
  ASSERT_EQ(kept("tokens", ".tokens").size(), 1u);
  EXPECT_EQ(ids_of(*open_text(o, Split::train)), expected);
  EXPECT_EQ(kept("tokens", ".tokens").size(), 1u);
  folder_.write("text/1.txt", "gamma beta gamma");  // other content, another key
  EXPECT_NE(ids_of(*open_text(o, Split::train)), expected);
  EXPECT_EQ(kept("tokens", ".tokens").size(), 2u);
  o.document_end = 4;
  EXPECT_EQ(ids_of(*open_text(o, Split::train)).size(), expected.size());
  EXPECT_EQ(kept("tokens", ".tokens").size(), 3u);
  o.document_end = 61;
  expect_error([&] { open_text(o); }, Code::config, "document_end = 61", "data.document_end", "-1");
}

TEST_F(TextSources, CachedAndInMemoryAreTheSameRows) {
  std::string text;
  for (int i = 0; i < 3000; ++i) text += "line " + std::to_string(i * i) + (i % 100 == 99 ? "\n\f\n" : "\n");
  folder_.write("text/1.txt", text);
  folder_.write("text/2.txt", "a short one");
  TextOptions o = options(folder_.at("text"), 16, 0.1);
  const TextSplits memory = open_text(o);
  const std::vector<FoundText> texts = found_texts(o);
  // Whoever asks with an end of its own by number gets the same tokens out of a file.
  const auto tokenizer = byte_tokenizer();
  FoundText large = texts[0];
  large.content.bytes = int64_t{1} << 40;
  const auto cached = tokens_of(large, o, *tokenizer, 256);
  EXPECT_EQ(kept("tokens", ".tokens").size(), 1u);
  EXPECT_EQ(cached->size(), memory.train->tokens());
  EXPECT_EQ(cached->documents(), 2);
  std::vector<int32_t> ids(static_cast<size_t>(cached->size()));
  cached->read(0, cached->size(), ids.data());
  std::string again;
  for (const int32_t id : ids) again += id == 256 ? '$' : static_cast<char>(id);
  EXPECT_EQ(again, text + "$a short one$");
}

TEST_F(TextSources, TokenIdsAreReadWhereTheyAre) {
  std::vector<uint16_t> first, second;
  for (uint16_t i = 0; i < 50; ++i) (i < 20 ? first : second).push_back(i % 10 == 9 ? 300 : i);
  folder_.write("ids/1.bin", raw(first));
  folder_.write("ids/2.bin", raw(second));
  TextOptions o = options(folder_.at("ids"), 7);
  const auto data = open_text(o, Split::train);
  EXPECT_EQ(data->documents(), 1);
  EXPECT_EQ(data->tokens(), 50);
  EXPECT_EQ(data->tokenizer().vocabulary(), 301);
  EXPECT_EQ(data->tokenizer().decode({7, 300}), "<7><300>");
  expect_error([&] { data->tokenizer().encode("x"); }, Code::data, "text can't become", "data.tokenizer", "path");
  expect_error([&] { data->tokenizer().document_end(); }, Code::data, "ends a document", "data.document_end");
  std::vector<int64_t> expected;
  for (int64_t i = 0; i < 49; ++i) expected.push_back(i % 10 == 9 ? 300 : i);
  EXPECT_EQ(ids_of(*data), expected);
  EXPECT_EQ(data->get({1}, Rng(Key{})).x.count("segment_BT"), 0u);
  EXPECT_FALSE(file::exists(folder_.at("cache/tokens")));

  o.document_end = 300;
  const auto ended = open_text(o, Split::train);
  EXPECT_EQ(ended->documents(), 5);
  EXPECT_EQ(ended->tokenizer().document_end(), 300);
  const Batch row = ended->get({1}, Rng(Key{}));  // 7 8 | 10 11 12 13
  EXPECT_TRUE(torch::equal(row.at("labels_BT"), torch::tensor({{8, 300, -1, 11, 12, 13, 14}}, torch::kInt64)));
  EXPECT_TRUE(torch::equal(row.at("segment_BT"), torch::tensor({{0, 0, 0, 1, 1, 1, 1}}, torch::kInt64)));

  o.tokenizer = FileChoice{vocabulary()};
  o.document_end = -1;
  expect_error([&] { open_text(o); }, Code::data, "id 300 is not in the vocabulary of 61", folder_.at("ids"), "made");
  o.tokenizer = SentencepieceChoice{};
  expect_error([&] { open_text(o); }, Code::config, "can't be trained on token ids", folder_.at("ids"), "made");
}

TEST_F(TextSources, TokenIdsBesideTextGoThroughTheCache) {
  folder_.write("both/1.bin", raw(std::vector<uint16_t>{'x', 'y', 256, 'z'}));
  folder_.write("both/2.txt", "ab");
  const auto data = open_text(options(folder_.at("both"), 7), Split::train);
  EXPECT_EQ(data->documents(), 3);
  EXPECT_EQ(ids_of(*data), (std::vector<int64_t>{'x', 'y', 256, 'z', 256, 'a', 'b'}));
  folder_.write("both/1.bin", raw(std::vector<uint16_t>{'x', 257}));
  expect_error([&] { open_text(options(folder_.at("both"), 3)); }, Code::data, "id 257 is not in the vocabulary of 257",
               "1.bin", "tokenizer");
}

TEST_F(TextSources, ASourceThatShrinksFailsTheBatchAndNoSooner) {
  const std::string path = folder_.write("ids.bin", raw(std::vector<uint16_t>(100000, 7)));
  const auto data = open_text(options(path, 10), Split::train);
  data->get({9000}, Rng(Key{}));
  ASSERT_EQ(truncate(path.c_str(), 1000), 0);
  expect_error([&] { data->get({9000}, Rng(Key{})); }, Code::data, "shrank from 200000 to 1000", path, "start again");
  Stream stream(data, epoch_plan(true), 1);
  const PlanPoint at{1, 0, 0, 0, 1, data->size(), 4};
  stream.expect({at});
  expect_error([&] { stream.take(at); }, Code::data, "shrank", path, "start again");
}

TEST_F(TextSources, ATrainedTokenizerIsKeptAndUsed) {
  std::string text;
  for (int i = 0; i < 2000; ++i) text += "the cat number " + std::to_string(i % 97) + " sat on the mat of the king\n";
  const std::string path = folder_.write("cats.txt", text);
  TextOptions o = options(path, 16, 0.1);
  SentencepieceChoice choice;
  choice.training.vocab = 290;
  o.tokenizer = choice;
  const auto tokenizer = tokenizer_of(o);
  EXPECT_EQ(tokenizer->vocabulary(), 290);
  ASSERT_EQ(kept("tokenizers", ".model").size(), 1u);
  const TextSplits splits = open_text(o);
  EXPECT_EQ(splits.train->tokenizer().hash(), tokenizer->hash());
  EXPECT_LT(splits.train->tokens(), static_cast<int64_t>(text.size()));
  EXPECT_EQ(kept("tokenizers", ".model").size(), 1u);
  const auto ids = ids_of(*splits.train);
  EXPECT_NE(tokenizer->decode({ids.begin(), ids.end()}).find("sat on the mat"), std::string::npos);
}

TEST_F(TextSources, ATokenizerIsTrainedOnTheTrainingSplit) {
  // Lines of one letter each, a block of the split a letter's run; what is kept for validation has a letter of its own.
  TextOptions o = options("", 16, 0.25);
  std::string text;
  const int lines = 4096;
  for (int i = 0; i < lines; ++i) {
    const bool validation = i % 64 >= 48 + 1;  // one line later: a line that ends a block's training part is training
    text += std::string(15, validation ? 'q' : static_cast<char>('a' + i % 7)) + "\n";
  }
  o.path = folder_.write("letters.txt", text);
  SentencepieceChoice choice;
  choice.training.vocab = 280;
  choice.training.coverage = 1;
  o.tokenizer = choice;
  const auto tokenizer = tokenizer_of(o);
  EXPECT_TRUE(tokenizer->id("a").has_value());
  EXPECT_FALSE(tokenizer->id("q").has_value());
}

/// A text whose rows say where they come from: one letter throughout.
std::string letters(char letter, size_t size) { return std::string(size, letter); }

TEST_F(TextSources, MixedByWeightWithEpochsOfTheirOwn) {
  TextOptions o = options("nowhere", 8, 0.1);
  o.mix = {{folder_.write("a.txt", letters('a', 4000)), 3, "text"},
           {folder_.write("b.jsonl", "{\"body\":\"" + letters('b', 9000) + "\"}"), 1, "body"}};
  const TextSplits mixed = open_text(o);
  const auto shares = mixed.train->shares();
  ASSERT_EQ(shares.size(), 2u);
  EXPECT_EQ(shares[0].records + shares[1].records, mixed.train->size());
  EXPECT_EQ(shares[1].first, shares[0].records);
  const TextOptions first = options(o.mix[0].path, 8, 0.1);
  EXPECT_EQ(shares[0].records, open_text(first).train->size());
  EXPECT_EQ(mixed.train->tokens(), 13002);
  EXPECT_EQ(mixed.train->documents(), 2);
  EXPECT_TRUE(mixed.validation->shares().empty());

  const auto plan = mixed_plan(true, shares);
  std::map<int64_t, int64_t> seen;
  std::map<int64_t, int64_t> letters_seen;
  for (int64_t step = 0; step < 400; ++step) {
    const auto ids = plan->ids({1, step, step * 4, 0, 1, mixed.train->size(), 4});
    const Batch batch = mixed.train->get(ids, Rng(Key{}));
    for (int64_t b = 0; b < 4; ++b) ++letters_seen[batch.at("ids_BT")[b][0].item<int64_t>()];
    for (const int64_t id : ids) ++seen[id];
  }
  EXPECT_EQ(letters_seen['a'], 1200);
  EXPECT_EQ(letters_seen['b'], 400);
  for (const auto& [id, times] : seen) {
    const int64_t epochs = id < shares[0].records ? 1200 / shares[0].records : 0;
    EXPECT_TRUE(times == epochs || times == epochs + 1) << id << " came " << times << " times";
  }

  // Of the smaller text all validation rows, of the other in proportion, mixed evenly, none twice.
  const int64_t valid_a = open_text(first).validation->size();
  EXPECT_NEAR(static_cast<double>(mixed.validation->size()), static_cast<double>(valid_a) * 4 / 3, 2);
  int64_t of_a = 0;
  for (int64_t i = 0; i < mixed.validation->size(); ++i) {
    of_a += mixed.validation->get({i}, Rng(Key{})).at("ids_BT")[0][0].item<int64_t>() == 'a';
    EXPECT_LE(std::abs(static_cast<double>(of_a) - 0.75 * static_cast<double>(i + 1)), 1.0);
  }
  EXPECT_EQ(mixed.train->card().sha256.size(), 64u);
  o.mix[0].weight = 2;
  EXPECT_NE(open_text(o).train->card().sha256, mixed.train->card().sha256);
  o.mix[0].weight = 1e-9;
  o.mix[0].path = folder_.at("c.txt");
  expect_error([&] { open_text(o); }, Code::data, "no file or folder", "data.path", "a.txt");
}

TEST_F(TextSources, OptionsAreReadFromARecipe) {
  TextOptions o;
  read_options(parse_toml("mix = [{path = \"a.txt\", weight = 2.5}, {path = \"b\", field = \"body\"}]\n"
                          "tokenizer = {kind = \"sentencepiece\", vocab = 500}\nfield = \"content\"",
                          "recipe.toml"),
               o);
  ASSERT_EQ(o.mix.size(), 2u);
  EXPECT_EQ(o.mix[0].weight, 2.5);
  EXPECT_EQ(o.mix[0].field, "text");
  EXPECT_EQ(o.mix[1].field, "body");
  EXPECT_EQ(o.tokenizer.get<SentencepieceChoice>()->training.vocab, 500);
  EXPECT_EQ(o.field, "content");
}

}  // namespace
}  // namespace etude::text_sources_test
