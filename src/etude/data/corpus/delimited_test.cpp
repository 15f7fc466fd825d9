#include <random>

#include "etude/data/corpus/readers.h"
#include "etude/data/corpus/testing.h"

namespace etude::corpus::delimited_test {
namespace {

std::vector<std::string> cells(const std::string& table, const std::string& field, char delimiter = ',',
                               size_t piece = 7) {
  return texts_of(*delimited(in_memory(table, piece), "file", field, delimiter));
}

TEST(CorpusDelimited, QuotesAndLineEndsByHand) {
  const std::string table =
      "\xef\xbb\xbfid,text,\"no, yes\"\r\n"
      "1,plain,x\r\n"
      "\r\n"
      "2,\"with \"\"quotes\"\", commas\r\nand lines\",\n"
      "3,,x\n"
      "4,5'6\" tall,\"\"\n"
      "5,last,x";
  for (size_t piece = 1; piece <= table.size(); ++piece) {
    EXPECT_EQ(cells(table, "text", ',', piece),
              (std::vector<std::string>{"plain", "with \"quotes\", commas\r\nand lines", "5'6\" tall", "last"}))
        << piece;
  }
  EXPECT_EQ(cells(table, "no, yes"), (std::vector<std::string>{"x", "x", "x"}));
  const auto reader = delimited(in_memory(table), "file", "text", ',');
  const std::vector<Document> documents = all_of(*reader);
  EXPECT_EQ(documents[1].name, "file:4");
  EXPECT_EQ(documents[2].name, "file:7");
  EXPECT_EQ(reader->empty(), 1);
}

TEST(CorpusDelimited, AByteOrderMarkIsNoPartOfAName) {
  for (size_t piece = 1; piece < 5; ++piece) {
    EXPECT_EQ(cells("\xef\xbb\xbftext\nx\n", "text", ',', piece), (std::vector<std::string>{"x"})) << piece;
  }
  EXPECT_EQ(cells("\xef\xbb\xbf\"text\"\nx\n", "text"), (std::vector<std::string>{"x"}));
}

TEST(CorpusDelimited, TabsAndOneColumn) {
  EXPECT_EQ(cells("id\ttext\n1\ta, b\n2\t\"c\td\"\n", "text", '\t'), (std::vector<std::string>{"a, b", "c\td"}));
  EXPECT_EQ(cells("text\none\n\ntwo\n", "text"), (std::vector<std::string>{"one", "two"}));
}

TEST(CorpusDelimited, WhatIsWrittenByTheStandardIsReadBack) {
  std::mt19937 random(9);
  const std::string characters = "ab,\"\n\r\t '";
  for (int round = 0; round < 500; ++round) {
    const auto columns = 1 + random() % 4, wanted = random() % columns;
    std::string table;
    std::vector<std::string> expected;
    for (size_t row = 0; row < 6; ++row) {
      for (size_t c = 0; c < columns; ++c) {
        std::string cell = row == 0 ? "column " + std::to_string(c) : "";
        for (auto n = random() % 6; row > 0 && n > 0; --n) cell += characters[random() % characters.size()];
        if (row > 0 && c == wanted && !cell.empty()) expected.push_back(cell);
        std::string quoted = "\"";
        for (const char x : cell) quoted += x == '"' ? std::string("\"\"") : std::string(1, x);
        const bool bare = cell.find_first_of(",\"\r\n") == std::string::npos && columns > 1 && random() % 2 == 0;
        table += (c > 0 ? "," : "") + (bare ? cell : quoted + "\"");
      }
      table += random() % 2 ? "\r\n" : "\n";
    }
    ASSERT_EQ(cells(table, "column " + std::to_string(wanted), ',', 1 + random() % 9), expected) << table;
  }
}

TEST(CorpusDelimited, HostileFiles) {
  const std::string head = "id,text\n";
  std::string wide = "text";
  for (int i = 0; i < 10001; ++i) wide += ",c" + std::to_string(i);
  const std::vector<Hostile> all = {
      {"", "the table is empty", "here", "line of names"},
      {"\n\r\n\n", "the table is empty", "here", "line of names"},
      {head, "no row below the names", "here", "put rows"},
      {head + "\n\n", "no row below the names", "here", "put rows"},
      {"id,txt\n1,x\n", "no column 'text'", "here:1", "did you mean 'txt'"},
      {"id,body\n1,x\n", "no column 'text'", "here:1", "field = \"id\""},
      {"\n\nid,body\n1,x\n", "no column 'text'", "here:3", "field"},
      {"text,text\n1,x\n", "two columns are called 'text'", "here:1", "a name of its own"},
      {"id\ttext\n1\tx\n", "no column 'text'", "here:1", "field"},
      {head + "1,x\n2\n", "the row has 1 cells, the first line 2", "here:3", "quotes"},
      {head + "1,x,y\n", "the row has 3 cells, the first line 2", "here:2", "quotes"},
      {head + "1,\"x\n2,y\n", "the quote of cell 2 is not closed", "here:2", "twice"},
      {head + "1,\"x\"y\n", "cell 2 goes on after its closing quote", "here:2", "twice"},
      {head + "\"1\" ,x\n", "cell 1 goes on after its closing quote", "here:2", "twice"},
      {head + "\"1\n2\n3\",x\n4,\"x\"y\n", "goes on after its closing quote", "here:5", "twice"},
      {head + "1,a\rb\n", "carriage return within a row", "here:2", "quotes"},
      {"id,text\r1,x\r", "carriage return within a row", "here:1", "quotes"},
      {head + "1,K\xf6ln\n", "byte 0xf6 at offset 1", "here:2", "iconv"},
      {head + std::string("1,a\0b\n", 6), "NUL byte at offset 1", "here:2", "plain text"},
      {"id,t\xffxt\n1,x\n", "byte 0xff", "here:1", "iconv"},
      {std::string("\xff\xfei\0d\0,\0", 8), "UTF-16", "here", "iconv"},
      {head + "1," + std::string(3000, 'x') + "\n", "a row has more than 2000 bytes", "here:2", "quote not closed"},
      {head + "1,\"" + std::string(3000, '\n'), "a row has more than 2000 bytes", "here:2", "quote not closed"},
      {wide + "\n", "more than 10000 columns", "here:1", "table"},
  };
  refuse_all(all, [](const std::string& content) {
    all_of(*delimited(in_memory(content, 50), "file", "text", ',', content.size() > 50000 ? 1 << 20 : 2000));
  });
}

TEST(CorpusDelimited, MemoryIsThatOfTheLargestRow) {
  std::string block;
  while (block.size() < 1 << 20) block += "1,\"" + std::string(900, 'x') + "\",nobody reads this\n";
  const PeakMemory memory;
  const auto many = delimited(std::make_unique<RepeatedBytes>("id,text,other\n", block, 100, ""), "name", "text", ',');
  int64_t bytes = 0;
  for (Document document; many->next(document);) bytes += static_cast<int64_t>(document.text.size());
  EXPECT_GT(bytes, int64_t{80} << 20);
  EXPECT_LT(memory.grown(), int64_t{16} << 20);
  // A cell that never ends is given up at the limit.
  const std::string open = std::string(1 << 20, '\n');
  expect_error(
      [&] {
        all_of(*delimited(std::make_unique<RepeatedBytes>("text\n\"", open, 1000, ""), "name", "text", ',', 1 << 24));
      },
      Code::data, "more than 16777216 bytes", "here:2", "quote");
  EXPECT_LT(memory.grown(), int64_t{80} << 20);
}

}  // namespace
}  // namespace etude::corpus::delimited_test
