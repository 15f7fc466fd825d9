#include "etude/data/sets/archive.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <map>

#include "etude/base/testing.h"
#include "etude/data/sets/testing_deb.h"

namespace etude::archive_test {
namespace {

using namespace testing_deb;

std::map<std::string, std::string> members_of(const std::string& package, const ArchiveLimits& limits = {}) {
  std::map<std::string, std::string> found;
  read_deb_bytes(
      package, "some.deb", [](const std::string&) { return true; }, [&](ArchiveMember m) { found[m.path] = m.bytes; },
      limits);
  return found;
}

void refused(const std::string& package, std::string_view what, const ArchiveLimits& limits = {}) {
  expect_error([&] { members_of(package, limits); }, Code::data, what, "some.deb");
}

std::string gzip(const std::string& text) {
  z_stream z{};
  deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(compressBound(text.size()) + 64, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  z.avail_in = static_cast<uInt>(text.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  deflate(&z, Z_FINISH);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

TEST(Deb, GivesFilesOfEveryCompression) {
  const std::vector<Entry> files = {{"./usr/share/a", "one\n"}, {"usr/share/ü b", std::string("two\0", 4)}};
  for (const auto& [filter, name] : std::map<int, std::string>{{ARCHIVE_FILTER_XZ, "data.tar.xz"},
                                                               {ARCHIVE_FILTER_GZIP, "data.tar.gz"},
                                                               {ARCHIVE_FILTER_ZSTD, "data.tar.zst"},
                                                               {ARCHIVE_FILTER_BZIP2, "data.tar.bz2"},
                                                               {ARCHIVE_FILTER_NONE, "data.tar"}}) {
    const auto found = members_of(deb(files, filter, name));
    EXPECT_EQ(found, (std::map<std::string, std::string>{{"usr/share/a", "one\n"},
                                                         {"usr/share/ü b", std::string("two\0", 4)}}))
        << name;
  }
}

TEST(Deb, GivesWhatIsWantedAlone) {
  const std::string package = deb({{"./a", "1"}, {"./b", "2"}});
  std::vector<std::string> asked, taken;
  read_deb_bytes(
      package, "x",
      [&](const std::string& path) {
        asked.push_back(path);
        return path == "b";
      },
      [&](const ArchiveMember& m) { taken.push_back(m.path + "=" + m.bytes); });
  EXPECT_EQ(asked, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(taken, (std::vector<std::string>{"b=2"}));
}

TEST(Deb, PassesOverWhatIsNoFile) {
  const auto found = members_of(deb({{"./folder", "", AE_IFDIR},
                                     {"./to-passwd", "", AE_IFLNK, "/etc/passwd"},
                                     {"../../climbing", "", AE_IFLNK, "x"},
                                     {"./device", "", AE_IFCHR},
                                     {"./pipe", "", AE_IFIFO},
                                     {"./file", "content"},
                                     {"./hard", "", AE_IFREG, "./file"},
                                     {"/absolute", "", AE_IFDIR}}));
  EXPECT_EQ(found, (std::map<std::string, std::string>{{"file", "content"}}));
}

TEST(Deb, RefusesNamesThatLeadOutside) {
  for (const std::string name : {"../x", "./../x", "/etc/passwd", "usr/../../x", "usr/..", "usr//x", "usr/./x", "a\nb",
                                 "a\x1b[2Jb", "a\\b", "\xff\xfe"})
    refused(deb({{name, "evil"}}), "which may not be unpacked");
  refused(deb({{"./" + std::string(5000, 'a'), "x"}}), "which may not be unpacked");
}

TEST(Deb, RefusesAPathTwice) { refused(deb({{"./a", "one"}, {"a", "two"}}), "it has a twice"); }

TEST(Deb, RefusesWhatIsNoPackage) {
  refused("", "this is no Debian package");
  refused("PK\3\4", "this is no Debian package");
  refused("!<arch>\n", "this is no whole Debian package");
  refused("!<arch>\nshort header", "it has no data");
  refused(ar({{"debian-binary", "2.0\n"}}), "it has no data");
  refused(ar({{"data.tar.xz", tar({{"a", "b"}})}}), "no debian-binary before its data");
  refused(ar({{"debian-binary", "3.1\n"}, {"data.tar.xz", tar({{"a", "b"}})}}), "version '3.1'");
  refused(ar({{"debian-binary", std::string(1000, '2')}, {"data.tar.xz", tar({{"a", "b"}})}}), "more than 64 bytes");
  refused(ar({{"debian-binary", "2.0\n"}, {"data.tar.xz", "not packed at all"}}), "can't be read");
  refused(ar({{"debian-binary", "2.0\n"}, {"data.tar.xz", ar({{"a", "b"}})}}), "can't be read");
}

TEST(Deb, RefusesOneThatIsCutAnywhere) {
  const std::string whole = deb({{"./a", std::string(3000, 'a') + std::string(3000, 'b')}});
  const auto intact = members_of(whole);
  for (size_t size = 0; size < whole.size(); size += 7) {
    try {
      EXPECT_EQ(members_of(whole.substr(0, size)), intact) << size;  // what comes behind all data is nobody's loss
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Code::data) << e.what();
    }
  }
  EXPECT_THROW(members_of(whole.substr(0, whole.size() / 2)), Error);
}

TEST(Deb, RefusesDamageInsideThePackedPart) {
  std::string damaged = deb({{"./a", std::string(50, 'a')}, {"./b", "other"}});
  const size_t at = damaged.find("7zXZ", damaged.find("data.tar.xz"));
  damaged[at + 40] = static_cast<char>(damaged[at + 40] ^ 0x55);
  EXPECT_THROW(members_of(damaged), Error);
}

TEST(Deb, RefusesWhatUnpacksWithoutEnd) {
  ArchiveLimits limits;
  limits.member_bytes = 1000;
  limits.bytes = 5000;
  limits.entries = 20;
  refused(deb({{"./a", std::string(1001, '\0')}}), "its member a has more than 1000 bytes", limits);
  refused(deb({{"./a", std::string(900, 'a')}, {"./b", std::string(5000, 'b')}}),
          "unpacked it has more than 5000 bytes", limits);
  std::vector<Entry> many;
  for (int i = 0; i < 21; ++i) many.push_back({"./f" + std::to_string(i), ""});
  refused(deb(many), "it holds more than 20 files", limits);
  EXPECT_EQ(members_of(deb({{"./a", std::string(1000, 'a')}}), limits).size(), 1u);
}

TEST(Deb, IsReadFromAFile) {
  TestFolder folder;
  const std::string path = folder.write("some_1_all.deb", deb({{"./a", "content"}}));
  std::string found;
  read_deb(
      path, [](const std::string&) { return true; }, [&](const ArchiveMember& m) { found = m.bytes; });
  EXPECT_EQ(found, "content");
  expect_error([&] { read_deb(folder.at("none.deb"), {}, {}); }, Code::io, "", "none.deb");
}

TEST(Unpacked, KnowsPackedFilesByTheirFirstBytes) {
  EXPECT_EQ(unpacked(gzip("some text"), "x.gz"), "some text");
  EXPECT_EQ(unpacked("some text", "x.gz"), "some text");
  EXPECT_EQ(unpacked("", "x"), "");
}

TEST(Unpacked, RefusesDamageAndBombs) {
  const std::string packed = gzip(std::string(100000, 'a'));
  expect_error([&] { unpacked(packed, "x.gz", 99999); }, Code::data, "more than 99999 bytes", "x.gz");
  EXPECT_EQ(unpacked(packed, "x.gz", 100000).size(), 100000u);
  expect_error([&] { unpacked(packed.substr(0, packed.size() - 12), "x.gz"); }, Code::data, "cut or damaged", "x.gz");
}

}  // namespace
}  // namespace etude::archive_test
