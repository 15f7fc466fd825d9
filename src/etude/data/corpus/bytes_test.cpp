#include "etude/data/corpus/bytes.h"

#include <sstream>

#include "etude/data/corpus/readers.h"
#include "etude/data/corpus/testing.h"

namespace etude::corpus::bytes_test {
namespace {

std::vector<std::string> lines_of(std::string_view text, size_t piece, size_t most = 100) {
  Lines lines(in_memory(text, piece), most);
  std::vector<std::string> all;
  for (std::string_view line; lines.next(line);) {
    all.emplace_back(line);
    EXPECT_EQ(lines.number(), static_cast<int64_t>(all.size()));
  }
  return all;
}

TEST(CorpusLines, EndInEveryWayWhereverPiecesEnd) {
  const std::string text = "one\r\n\ntwo\rtwo\n\r\nlast";
  for (size_t piece = 1; piece <= text.size() + 1; ++piece) {
    EXPECT_EQ(lines_of(text, piece), (std::vector<std::string>{"one", "", "two\rtwo", "", "last"})) << piece;
    EXPECT_EQ(lines_of("\xef\xbb\xbf" + text + "\n", piece)[0], "one") << piece;
  }
  EXPECT_EQ(lines_of("", 3).size(), 0u);
  EXPECT_EQ(lines_of("\n", 3), (std::vector<std::string>{""}));
}

TEST(CorpusLines, AgreeWithTheStandardLibrary) {
  for (uint32_t seed = 1; seed < 400; ++seed) {
    std::string text;
    for (uint32_t x = seed * 2654435761u, n = x % 40; n > 0; --n) {
      x = x * 1664525u + 1013904223u;
      text += "ab\nc\n"[x >> 20 & 3];
    }
    std::vector<std::string> expected;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) expected.push_back(line);
    ASSERT_EQ(lines_of(text, 1 + seed % 9), expected) << text;
  }
}

TEST(CorpusLines, TooLongOnesAreRefused) {
  EXPECT_EQ(lines_of("12345\n12345", 2, 5).size(), 2u);
  expect_error([] { lines_of("123\n123456\n", 2, 5); }, Code::data, "line 2 has more than 5 bytes", "here:2", "cut it");
}

TEST(CorpusPlainText, PiecesAreTheWholeText) {
  const std::string text =
      "Zw\u00f6lf Boxk\u00e4mpfer\njagen Viktor\nquer \u00fcber den gro\u00dfen Sylter Deich\n\U0001F98A";
  for (size_t most = 8; most < text.size() + 3; ++most) {
    for (const size_t piece : {size_t{1}, size_t{5}, size_t{1000}}) {
      const std::string marked = "\xef\xbb\xbf" + text;
      const auto reader = plain_text(in_memory(marked, piece), "name", most);
      std::string found;
      const std::vector<Document> documents = all_of(*reader);
      for (const Document& document : documents) {
        EXPECT_EQ(document.name, "name");
        EXPECT_EQ(document.ends, &document == &documents.back());
        EXPECT_FALSE(document.text.empty());
        EXPECT_LE(document.text.size(), most);
        found += document.text;
      }
      EXPECT_EQ(found, text) << most << " " << piece;
    }
  }
}

TEST(CorpusPlainText, LargePiecesEndBehindLines) {
  std::string text;
  for (int i = 0; i < 100; ++i) text += "line " + std::to_string(i) + "\n";
  const auto reader = plain_text(in_memory(text), "name", 100);
  for (const Document& document : all_of(*reader)) {
    EXPECT_EQ(document.text.back(), '\n');
    EXPECT_GE(document.text.size(), document.ends ? 1u : 50u);
  }
}

TEST(CorpusPlainText, FaultsAreToldWithOffsetAndLineOfTheFile) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "0123456789\n";
  expect_error([&] { all_of(*plain_text(in_memory(text + "ab\xff"), "name", 64)); }, Code::data,
               "byte 0xff at offset 11002", "here:1001", "iconv");
  expect_error([&] { all_of(*plain_text(in_memory(text + "\xe2\x82"), "name", 64)); }, Code::data,
               "begins at offset 11000", "here:1001", "truncated");
  expect_error([&] { all_of(*plain_text(in_memory(text + std::string(1, '\0') + text), "name", 64)); }, Code::data,
               "NUL byte at offset 11000", "here:1001", "plain text");
  expect_error([&] { all_of(*plain_text(in_memory(std::string(500, '\x80')), "name", 64)); }, Code::data,
               "byte 0x80 at offset 0", "here:1", "iconv");
  expect_error([] { all_of(*plain_text(in_memory(""), "name")); }, Code::data, "the text is empty", "here", "put text");
}

TEST(CorpusPlainText, MemoryIsThatOfAPiece) {
  const std::string block = std::string((1 << 20) - 1, 'x') + "\n";
  const PeakMemory memory;
  const auto reader = plain_text(std::make_unique<RepeatedBytes>("", block, 400, "end"), "name");
  int64_t bytes = 0;
  for (Document document; reader->next(document);) bytes += static_cast<int64_t>(document.text.size());
  EXPECT_EQ(bytes, (int64_t{400} << 20) + 3);
  EXPECT_LT(memory.grown(), int64_t{64} << 20);
}

TEST(CorpusFileBytes, StampsTellFilesApart) {
  const TestFolder folder;
  const std::string a = folder.write("a", "text");
  const Stamp before = stamp_of(a);
  EXPECT_EQ(stamp_of(a), before);
  EXPECT_EQ(before.size, 4);
  folder.write("b", "text");
  EXPECT_NE(stamp_of(folder.at("b")), before);
  std::filesystem::rename(folder.at("b"), a);
  EXPECT_NE(stamp_of(a), before);
}

}  // namespace
}  // namespace etude::corpus::bytes_test
