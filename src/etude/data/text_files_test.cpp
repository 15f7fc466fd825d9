#include "etude/data/text_files.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <random>

#include "etude/base/testing.h"
#include "etude/base/text.h"

namespace etude::text_files_test {
namespace {

std::vector<std::string> names(const std::vector<Document>& documents) {
  std::vector<std::string> all;
  for (const Document& document : documents) all.push_back(document.name);
  return all;
}

void refused(const std::string& path, std::string_view message, std::string_view where, std::string_view hint = {}) {
  expect_error([&] { read_documents(path); }, Code::data, message, where, hint);
}

TEST(TextFiles, OneFileWhateverItsName) {
  const TestFolder folder;
  const auto documents = read_documents(folder.write("größe 1.text", "Zwölf\r\nBoxkämpfer\n"));
  ASSERT_EQ(documents.size(), 1u);
  EXPECT_EQ(documents[0].name, "größe 1.text");
  EXPECT_EQ(documents[0].text, "Zwölf\r\nBoxkämpfer\n");
}

TEST(TextFiles, AFolderInTheOrderOfPathBytes) {
  const TestFolder folder;
  for (const char* name : {"z.txt", "Ä b.txt", "a/b.txt", "a.txt", "B.TXT", "a/c/d.txt", "a b.txt"}) {
    folder.write(name, std::string("text of ") + name);
  }
  folder.write("notes.md", std::string("\0\xff", 2));
  folder.write(".hidden.txt", "no");
  folder.write(".git/x.txt", "no");
  folder.make("empty.txt");  // a folder, whatever its name
  const auto documents = read_documents(folder.path());
  const std::vector<std::string> expected{"B.TXT", "a b.txt", "a.txt", "a/b.txt", "a/c/d.txt", "z.txt", "Ä b.txt"};
  EXPECT_EQ(names(documents), expected);
  for (const Document& document : documents) EXPECT_EQ(document.text, "text of " + document.name);
  EXPECT_EQ(names(read_documents(folder.path() + "/")), expected);
}

TEST(TextFiles, LinksAreFollowedAndFoldersReadOnce) {
  const TestFolder folder;
  folder.write("real/one.txt", "one");
  folder.write("single.text", "two");
  folder.link("real", "again");
  folder.link("single.text", "two.txt");
  EXPECT_EQ(names(read_documents(folder.path())), (std::vector<std::string>{"again/one.txt", "two.txt"}));
  EXPECT_EQ(names(read_documents(folder.at("again"))), (std::vector<std::string>{"one.txt"}));
}

TEST(TextFiles, ByteOrderMarkIsLeftOut) {
  const TestFolder folder;
  EXPECT_EQ(read_text_file(folder.write("a.txt", "\xef\xbb\xbfText\xef\xbb\xbf")), "Text\xef\xbb\xbf");
  refused(folder.write("b.txt", "\xef\xbb\xbf"), "empty", "b.txt");
}

TEST(TextFiles, MissingOnesWithTheNearestName) {
  const TestFolder folder;
  folder.write("corpus.txt", "text");
  folder.write("Märchen/1.txt", "text");
  refused(folder.at("corpsu.txt"), "no file or folder '" + folder.at("corpsu.txt"), "data.path", "'corpus.txt'");
  refused(folder.at("Marchen/1.txt"), "no file or folder", "data.path", "'Märchen'");
  refused(folder.at("corpus.txt/1.txt"), "no file or folder", "data.path", ".txt");
  refused("/quite-unlikely-9", "no file or folder", "data.path", ".txt");
  refused("quite-unlikely-9.txt", "no file or folder", "data.path", ".txt");
  refused("", "empty", "data.path");
  refused(std::string("a\0b", 3), "empty", "data.path");
  refused(folder.at(std::string(300, 'x')), "can't be read", "xxx");
  refused("builtin:wbe", "'wbe'", "data.path", "'web'");
  refused("builtin:", "''", "data.path", "web");
  refused("builtin:web.licence", "web.licence", "data.path");
  refused("builtin:../web", "../web", "data.path");
}

TEST(TextFiles, FoldersWithoutText) {
  const TestFolder folder;
  refused(folder.path(), "folder is empty", folder.path());
  folder.write("sub/readme.md", "no");
  refused(folder.path(), "no .txt file", folder.path());
}

TEST(TextFiles, EmptyFiles) {
  const TestFolder folder;
  folder.write("a.txt", "text");
  const std::string empty = folder.write("b.txt", "");
  refused(empty, "empty", empty);
  refused(folder.path(), "empty", empty);
}

TEST(TextFiles, WhatIsNoRegularFileIsNeverOpened) {
  const TestFolder folder;
  folder.write("a.txt", "text");
  const std::string fifo = folder.at("fifo.txt");
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  refused(fifo, "a FIFO", fifo);  // opening it would wait for a writer for ever
  refused(folder.path(), "a FIFO", fifo);
  unlink(fifo.c_str());

  folder.link("/dev/zero", "zero.txt");
  refused(folder.path(), "a character device", folder.at("zero.txt"));
  refused("/dev/null", "a character device", "/dev/null");
  unlink(folder.at("zero.txt").c_str());

  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string socket_path = folder.at("s.txt");
  ASSERT_LT(socket_path.size(), sizeof address.sun_path);
  std::strcpy(address.sun_path, socket_path.c_str());
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  refused(folder.path(), "a socket", socket_path);
  close(fd);
}

TEST(TextFiles, LinksInACircle) {
  const TestFolder folder;
  folder.write("a/1.txt", "text");
  folder.link("..", "a/up");
  refused(folder.path(), "circle", folder.at("a/up"));
  unlink(folder.at("a/up").c_str());

  folder.link("y.txt", "x.txt");
  folder.link("x.txt", "y.txt");
  refused(folder.at("x.txt"), "circle", folder.at("x.txt"));
  refused(folder.path(), "circle", folder.at("x.txt"));
  unlink(folder.at("x.txt").c_str());
  refused(folder.at("y.txt"), "points to nothing", folder.at("y.txt"));
  refused(folder.path(), "points to nothing", folder.at("y.txt"));
}

TEST(TextFiles, WhatIsNotUtf8WithOffsetAndLine) {
  const TestFolder folder;
  refused(folder.write("nul.txt", std::string("one\ntwo\0", 8)), "NUL byte at offset 7", "nul.txt:2");
  refused(folder.write("latin.txt", "a\n\nK\xf6ln\n"), "byte 0xf6 at offset 4", "latin.txt:3", "iconv -f LATIN1");
  refused(folder.write("cut.txt", "abc\xe2\x80"), "begins at offset 3", "cut.txt:1", "truncated");
  refused(folder.write("utf16.txt", std::string("\xff\xfeh\0i\0", 6)), "UTF-16", "utf16.txt", "iconv -f UTF-16");
  const std::string long_text(3'000'000, 'x');
  refused(folder.write("late.txt", long_text + "\n\xff"), "offset 3000001", "late.txt:2");
}

TEST(TextFiles, FaultsAgreeWithAnotherCheckOnRandomBytes) {
  // Pieces around every boundary of RFC 3629, so that random joins are valid often enough.
  const std::vector<std::string> pieces{"a",
                                        "\x7f",
                                        "\xc2\x80",
                                        "\xdf\xbf",
                                        "\xe0\xa0\x80",
                                        "\xed\x9f\xbf",
                                        "\xee\x80\x80",
                                        "\xef\xbf\xbf",
                                        "\xf0\x90\x80\x80",
                                        "\xf4\x8f\xbf\xbf",
                                        "\xc1\xbf",
                                        "\xe0\x9f\xbf",
                                        "\xed\xa0\x80",
                                        "\xf0\x8f\xbf\xbf",
                                        "\xf4\x90\x80\x80",
                                        "\x80",
                                        "\xe2\x80",
                                        "\xf5\x80\x80\x80",
                                        std::string(1, '\0')};
  std::mt19937 random(3);
  int valid = 0;
  for (int i = 0; i < 60000; ++i) {
    std::string text;
    for (auto n = random() % 4; n > 0; --n) text += pieces[random() % (random() % 4 ? 10 : pieces.size())];
    if (random() % 8 == 0 && !text.empty()) text[random() % text.size()] = static_cast<char>(random());
    const auto good = [](std::string_view s) { return valid_utf8(s) && s.find('\0') == std::string_view::npos; };
    const TextFault fault = find_fault(text);
    ASSERT_EQ(fault.kind == TextFault::Kind::none, good(text));
    ASSERT_EQ(fault.offset < 0, good(text));
    valid += good(text);
    if (fault.offset < 0) continue;
    const auto at = static_cast<size_t>(fault.offset);
    ASSERT_TRUE(good(text.substr(0, at)));
    for (size_t n = 1; n <= std::min<size_t>(4, text.size() - at); ++n) ASSERT_FALSE(good(text.substr(at, n)));
    if (fault.kind == TextFault::Kind::cut) {
      bool completes = false;  // some continuation makes it a character
      for (const std::string& piece : pieces) {
        const std::string rest = text.substr(at);
        completes =
            completes || (good(piece) && piece.size() > rest.size() && (piece[0] == rest[0] || rest.size() == 1));
      }
      ASSERT_TRUE(completes || text.size() - at < 4);
    }
  }
  EXPECT_GT(valid, 10000);
  EXPECT_LT(valid, 50000);
}

TEST(TextFiles, ChangesWhileReading) {
  const TestFolder folder;
  const std::string content(3 << 20, 'x');
  const auto meddle = [&](const std::function<void(const std::string&)>& act, std::string_view message) {
    const std::string path = folder.write("t.txt", content);
    // An older time, so that a write shows in the time even where clocks are coarse.
    const timespec old[2] = {{1000000000, 0}, {1000000000, 0}};
    ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), old, 0), 0);
    bool once = false;
    expect_error(
        [&] {
          read_text_file(path, [&](int64_t) {
            if (!once) act(path);
            once = true;
          });
        },
        Code::data, message, path, "finish");
  };
  meddle([](const std::string& path) { ASSERT_EQ(truncate(path.c_str(), 2 << 20), 0); }, "shrank");
  meddle([](const std::string& path) { ASSERT_EQ(truncate(path.c_str(), 0), 0); }, "shrank");
  meddle([](const std::string& path) { std::ofstream(path, std::ios::app) << "more"; }, "grew");
  meddle(
      [](const std::string& path) {
        std::fstream file(path, std::ios::in | std::ios::out);
        file << "y";
      },
      "changed");
  EXPECT_EQ(read_text_file(folder.write("t.txt", content)), content);
}

TEST(TextFiles, LargerThanMemory) {
  const TestFolder folder;
  const std::string path = folder.write("a.txt", "x");
  if (truncate(path.c_str(), int64_t{1} << 43) != 0) GTEST_SKIP() << "this file system has no files of 8 TiB";
  refused(path, "too large", path);
  refused(folder.path(), "too large", folder.path());
}

TEST(TextFiles, Unreadable) {
  const TestFolder folder;
  const std::string path = folder.write("a.txt", "text");
  folder.write("shut/b.txt", "text");
  chmod(path.c_str(), 0);
  chmod(folder.at("shut").c_str(), 0);
  const bool root = geteuid() == 0;
  if (root) {
    ASSERT_EQ(seteuid(65534), 0);
  }
  refused(path, "can't be opened", path, "chmod");
  refused(folder.at("shut"), "can't be read", folder.at("shut"), "chmod");
  refused(folder.at("shut/b.txt"), "can't be read", folder.at("shut/b.txt"), "chmod");
  if (root) {
    ASSERT_EQ(seteuid(0), 0);
  }
  chmod(folder.at("shut").c_str(), 0755);
}

}  // namespace
}  // namespace etude::text_files_test
