#include "etude/data/text.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "etude/base/assets.h"
#include "etude/base/file.h"
#include "etude/base/testing.h"
#include "etude/base/torch_pch.h"
#include "etude/data/sets.h"
#include "etude/data/text_files.h"

namespace etude::data_text_test {
namespace {

using Split = TextDataset::Split;

TextOptions options(const std::string& path, int64_t length, double validation = 0) {
  TextOptions o;
  o.path = path;
  o.length = length;
  o.validation = validation;
  return o;
}

Batch all_rows(const TextDataset& data) {
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < data.size(); ++i) ids.push_back(i);
  return data.get(ids, Rng(Key{}));
}

Tensor table(std::vector<int64_t> values, int64_t rows) {
  return torch::tensor(values, torch::kInt64).reshape({rows, -1});
}

TEST(ByteTokenizer, IsTheBytes) {
  const auto tokenizer = byte_tokenizer();
  EXPECT_EQ(tokenizer->encode("Aß"), (std::vector<int32_t>{65, 0xc3, 0x9f}));
  EXPECT_EQ(tokenizer->vocabulary(), 257);
  EXPECT_EQ(tokenizer->document_end(), 256);
  EXPECT_EQ(tokenizer->decode({65, 256, 0xc3, 0x9f, -1, 300}), "Aß");
  std::string every;
  for (int c = 0; c < 256; ++c) every += static_cast<char>(c);
  const std::vector<int32_t> ids = tokenizer->encode(every);
  EXPECT_EQ(tokenizer->decode({ids.begin(), ids.end()}), every);
}

TEST(TextDataset, DocumentBoundariesByHand) {
  const TestFolder folder;
  folder.write("1.txt", "ab");
  folder.write("2.txt", "c");
  folder.write("3.txt", "de");
  // The sequence: a b END c END d e END
  const auto four = open_text(options(folder.path(), 3), Split::train);
  ASSERT_EQ(four->size(), 2);
  EXPECT_EQ(four->documents(), 3);
  EXPECT_EQ(four->tokens(), 8);
  const Batch batch = all_rows(*four);
  EXPECT_TRUE(torch::equal(batch.id_B, torch::tensor({0, 1}, torch::kInt64)));
  EXPECT_TRUE(torch::equal(batch.at("ids_BT"), table({'a', 'b', 256, 'c', 256, 'd'}, 2)));
  EXPECT_TRUE(torch::equal(batch.at("labels_BT"), table({'b', 256, -1, 256, -1, 'e'}, 2)));
  EXPECT_TRUE(torch::equal(batch.at("position_BT"), table({0, 1, 2, 0, 1, 0}, 2)));
  EXPECT_TRUE(torch::equal(batch.at("segment_BT"), table({0, 0, 0, 0, 0, 1}, 2)));
  // Row 0 ends with a document's end: it has one document, so it alone needs no positions.
  EXPECT_EQ(four->get({0}, Rng(Key{})).x.count("position_BT"), 0u);
  EXPECT_EQ(four->get({0}, Rng(Key{})).x.count("segment_BT"), 0u);
  EXPECT_EQ(four->get({1}, Rng(Key{})).x.count("position_BT"), 1u);
}

TEST(TextDataset, RowsFollowTheDefinitionOnRandomDocuments) {
  std::mt19937 random(11);
  for (int round = 0; round < 25; ++round) {
    const TestFolder folder;
    std::vector<int64_t> token, document,
        begins;  // of every place in the sequence: its token, document, document's begin
    const auto documents = 1 + static_cast<int64_t>(random() % 12);
    for (int64_t d = 0; d < documents; ++d) {
      std::string text;
      for (auto n = 1 + random() % 30; n > 0; --n) text += static_cast<char>('a' + random() % 26);
      folder.write("d" + std::to_string(100 + d) + ".txt", text);
      const auto begin = static_cast<int64_t>(token.size());
      for (const char c : text + "$") {
        token.push_back(c == '$' ? 256 : c);
        document.push_back(d);
        begins.push_back(begin);
      }
    }
    const auto T = 2 + static_cast<int64_t>(random() % 9), total = static_cast<int64_t>(token.size());
    if (total < T + 1) continue;
    const auto data = open_text(options(folder.path(), T), Split::train);
    ASSERT_EQ(data->size(), (total - 1) / T);
    for (int64_t i = 0; i < data->size(); ++i) {
      const Batch row = data->get({i}, Rng(Key{}));
      bool boundary = false;
      for (int64_t t = 0; t < T; ++t) {
        const auto j = static_cast<size_t>(i * T + t), first = static_cast<size_t>(i * T);
        ASSERT_EQ(row.at("ids_BT")[0][t].item<int64_t>(), token[j]);
        ASSERT_EQ(row.at("labels_BT")[0][t].item<int64_t>(), document[j + 1] == document[j] ? token[j + 1] : -1);
        boundary = boundary || document[j] != document[first];
        if (!row.x.contains("position_BT")) continue;
        ASSERT_EQ(row.at("position_BT")[0][t].item<int64_t>(), static_cast<int64_t>(j) - std::max(i * T, begins[j]));
        ASSERT_EQ(row.at("segment_BT")[0][t].item<int64_t>(), document[j] - document[first]);
      }
      ASSERT_EQ(row.x.contains("position_BT"), boundary);
      ASSERT_EQ(row.x.contains("segment_BT"), boundary);
    }
  }
}

/// A text in which every place can be told by its 7 bytes: numbers of equal width.
std::string numbered(int64_t places) {
  std::string text;
  for (int64_t i = 0; i < places; ++i) text += std::to_string(1000000 + i);
  return text;
}

/// Where each row begins in such a text, found from its ids alone. T >= 13.
std::vector<int64_t> begins(const TextDataset& data, const std::string& text) {
  std::vector<int64_t> found;
  for (int64_t i = 0; i < data.size(); ++i) {
    const Tensor ids_T = data.get({i}, Rng(Key{})).at("ids_BT")[0].contiguous();
    std::string row;
    for (int64_t t = 0; t < ids_T.size(0); ++t) row += static_cast<char>(ids_T[t].item<int64_t>());
    const size_t at = text.find(row);
    EXPECT_NE(at, std::string::npos);
    EXPECT_EQ(text.find(row, at + 1), std::string::npos);
    found.push_back(static_cast<int64_t>(at));
  }
  return found;
}

TEST(TextDataset, SplitsShareNoTokenAndCoverTheWholeText) {
  const TestFolder folder;
  for (const int64_t places : {8, 40, 700, 4000}) {
    for (const double share : {0.02, 0.1, 0.5, 0.93}) {
      const int64_t T = 14;
      const std::string text = numbered(places);
      const auto total = static_cast<int64_t>(text.size()) + 1;
      const TextSplits splits = open_text(options(folder.write("a.txt", text), T, share));
      const std::vector<int64_t> train = begins(*splits.train, text), valid = begins(*splits.validation, text);
      ASSERT_FALSE(train.empty());
      ASSERT_FALSE(valid.empty());
      EXPECT_TRUE(std::is_sorted(train.begin(), train.end()));
      EXPECT_TRUE(std::is_sorted(valid.begin(), valid.end()));

      // Places that are ids or labels; no label twice.
      std::vector<std::set<int64_t>> read(2), labels(2);
      for (const int s : {0, 1}) {
        for (const int64_t begin : s == 0 ? train : valid) {
          for (int64_t t = 0; t <= T; ++t) read[static_cast<size_t>(s)].insert(begin + t);
          for (int64_t t = 1; t <= T; ++t) ASSERT_TRUE(labels[static_cast<size_t>(s)].insert(begin + t).second);
        }
      }
      for (const int64_t place : read[0]) ASSERT_EQ(read[1].count(place), 0u);

      // What no split reads: at most the rest at the end, shorter than a row.
      EXPECT_LT(total - static_cast<int64_t>(read[0].size() + read[1].size()), T + 1);

      // The share, over the whole text to a row; and nowhere a long way without validation or training.
      const auto rows = static_cast<double>(train.size() + valid.size());
      if (places >= 40) {
        EXPECT_NEAR(static_cast<double>(valid.size()), share * rows, 1);
      }
      int64_t blocks = 0;  // runs of validation rows
      for (const int64_t begin : valid) blocks += read[1].count(begin - 1) == 0;
      EXPECT_EQ(*read[1].rbegin() > *read[0].rbegin(), true);  // a block ends with validation
      const double fewest = rows / 64 * std::min(share, 1 - share);
      if (fewest > 5) {
        EXPECT_EQ(blocks, 64);
      }
      if (blocks > 1) {
        for (int64_t q = 0; q < 4; ++q) {
          const auto in_quarter =
              std::count_if(valid.begin(), valid.end(), [&](int64_t begin) { return begin * 4 / total == q; });
          EXPECT_NEAR(static_cast<double>(in_quarter), share * rows / 4,
                      2 + rows / static_cast<double>(blocks) * share);
        }
      }
    }
  }
}

TEST(TextDataset, SplitsAreTheSameOpenedTogetherOrAlone) {
  const TestFolder folder;
  const TextOptions o = options(folder.write("a.txt", numbered(500)), 16, 0.2);
  const TextSplits both = open_text(o);
  for (const Split split : {Split::train, Split::validation}) {
    const auto alone = open_text(o, split);
    const auto& shared = split == Split::train ? both.train : both.validation;
    EXPECT_TRUE(torch::equal(all_rows(*alone).at("ids_BT"), all_rows(*shared).at("ids_BT")));
    EXPECT_EQ(alone->card().sha256, shared->card().sha256);
  }
}

TEST(TextDataset, NoValidationIsAnEmptySplit) {
  const TestFolder folder;
  const auto none = open_text(options(folder.write("a.txt", "abcdef"), 2), Split::validation);
  EXPECT_EQ(none->size(), 0);
  EXPECT_TRUE(all_rows(*none).empty());
  EXPECT_THROW(none->get({0}, Rng(Key{})), Error);
}

TEST(TextDataset, TooShort) {
  const TestFolder folder;
  const auto opened = [&](int64_t bytes, double share) {
    return open_text(options(folder.write("a.txt", std::string(static_cast<size_t>(bytes), 'x')), 10, share));
  };
  EXPECT_EQ(opened(10, 0).train->size(), 1);  // 10 bytes and the end: 10 ids and the label of the last
  expect_error([&] { opened(9, 0); }, Code::data, "10 tokens", "a.txt", "length of at most 9");
  EXPECT_EQ(opened(21, 0.05).train->size(), 1);
  EXPECT_EQ(opened(21, 0.05).validation->size(), 1);
  expect_error([&] { opened(20, 0.05); }, Code::data, "21 tokens", "a.txt", "length of at most 9");
  // The longest length that the hint names does work.
  EXPECT_EQ(open_text(options(folder.at("a.txt"), 9, 0.05)).validation->size(), 1);
  expect_error([&] { opened(1, 0.5); }, Code::data, "2 tokens", "a.txt", "use more text");
}

TEST(TextDataset, OptionsOutOfRange) {
  expect_error([] { open_text(options("builtin:web", 1)); }, Code::config, "length 1", "data.length");
  expect_error([] { open_text(options("builtin:web", int64_t{1} << 62)); }, Code::config, "length", "data.length");
  expect_error([] { open_text(options("builtin:web", 64, 1)); }, Code::config, "validation", "data.validation");
  expect_error([] { open_text(options("builtin:web", 64, std::nan(""))); }, Code::config, "validation",
               "data.validation");
  expect_error([] { open_text(options("builtin:web", int64_t{1} << 40)); }, Code::data, "tokens", "builtin:web");
}

TEST(TextDataset, CardOfTheUsersText) {
  const TestFolder folder;
  folder.write("a.txt", "abc");
  folder.write("b.txt", "def");
  const DataCard card = open_text(options(folder.path(), 3), Split::train)->card();
  EXPECT_EQ(card.name, folder.path());
  EXPECT_EQ(card.bytes, 6);
  EXPECT_EQ(card.records, 2);
  EXPECT_EQ(card.sha256.size(), 64u);
  folder.write("a.txt", "abd");
  EXPECT_NE(open_text(options(folder.path(), 3), Split::train)->card().sha256, card.sha256);
  folder.write("a.txt", "abcd");  // the same bytes, other documents
  folder.write("b.txt", "ef");
  EXPECT_NE(open_text(options(folder.path(), 3), Split::train)->card().sha256, card.sha256);
}

TEST(DataSets, WebIsWhatItsCardSays) {
  const std::vector<DataCard> sets = data_sets();
  ASSERT_EQ(sets.size(), 1u);
  const DataCard& web = sets[0];
  EXPECT_EQ(web.name, "web");
  EXPECT_EQ(web.licence, "Public Domain");
  const std::string_view text = builtin_text("web");
  EXPECT_EQ(static_cast<int64_t>(text.size()), web.bytes);
  EXPECT_EQ(file::sha256(text), web.sha256);
  EXPECT_EQ(find_fault(text).kind, TextFault::Kind::none);
  const std::string_view told = asset("data/web.md").value_or("");
  EXPECT_NE(told.find(web.sha256), std::string_view::npos);
  EXPECT_NE(told.find("31,095 verses"), std::string_view::npos);
  EXPECT_TRUE(asset("data/web.licence.txt").has_value());

  int64_t verses = 0;
  const std::vector<Document> books = read_documents("builtin:web");
  EXPECT_EQ(books.size(), 66u);
  for (const Document& book : books) {
    verses += std::count(book.text.begin(), book.text.end(), '\n');
    EXPECT_NE(book.text.front(), '\n');
    EXPECT_EQ(book.text.find("\n\n"), std::string::npos);
    EXPECT_EQ(book.text.back(), '\n');
    EXPECT_EQ(book.text.find_first_of("<>\t\f\r"), std::string::npos);
  }
  EXPECT_EQ(verses, web.records);
  EXPECT_TRUE(books.front().text.starts_with("In the beginning, God created the heavens and the earth.\n"));
  EXPECT_TRUE(books[39].text.starts_with("The book of the genealogy of Jesus Christ, the son of David,"));
  EXPECT_TRUE(books.back().text.ends_with("The grace of the Lord Jesus Christ be with all the saints. Amen.\n"));
}

TEST(DataSets, WebAsRows) {
  const TextSplits web = open_text(options("builtin:web", 64, 0.05));
  EXPECT_EQ(web.train->documents(), 66);
  EXPECT_EQ(web.train->tokens(), 4020880 - 65 + 66);  // without the blank lines, with the ends
  const auto rows = static_cast<double>(web.train->size() + web.validation->size());
  EXPECT_EQ(rows, (4020881 - 2 * 64) / 64);
  EXPECT_NEAR(static_cast<double>(web.validation->size()) / rows, 0.05, 1 / rows);
  const Tensor ids_T = web.train->get({0}, Rng(Key{})).at("ids_BT")[0].contiguous();
  const int64_t* ids = ids_T.const_data_ptr<int64_t>();
  EXPECT_EQ(web.train->tokenizer().decode({ids, ids + 64}),
            "In the beginning, God created the heavens and the earth.\nThe ear");
  EXPECT_EQ(web.train->card().name, "web");
  EXPECT_EQ(web.train->card().sha256, data_sets()[0].sha256);
}

}  // namespace
}  // namespace etude::data_text_test
