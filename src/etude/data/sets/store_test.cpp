#include "etude/data/sets/store.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "etude/base/testing.h"
#include "etude/data/sets.h"

namespace etude::store_test {
namespace {

/// A cache of its own for each test.
class SetStore : public testing::Test {
 protected:
  SetStore() { setenv("ETUDE_CACHE", folder_.at("cache").c_str(), 1); }
  ~SetStore() override { unsetenv("ETUDE_CACHE"); }

  static SetDescription words(const std::string& name = "words_american") {
    SetDescription set;
    set.name = name;
    set.licence = "free";
    set.kind = "words";
    set.members = {"usr/share/dict/*"};
    return set;
  }
  static SetManifest made(const SetDescription& set, const std::string& text) {
    SetMaker maker(set, [] {});
    maker.add({"usr/share/dict/some", text});
    return maker.publish({{"wamerican", "1", ""}}, "2026-11-24");
  }
  std::string set_file(const std::string& name) const { return folder_.at("cache/sets/words_american/" + name); }

  TestFolder folder_;
};

TEST_F(SetStore, MakesASetThatRunsRead) {
  const SetManifest manifest = made(words(), "one\ntwo\n");
  EXPECT_EQ(manifest.documents, 2);
  const std::string path = fetched_set("words_american");
  EXPECT_EQ(path, set_file("documents.jsonl"));
  EXPECT_EQ(file::read(path), "{\"id\":\"one\",\"text\":\"one\"}\n{\"id\":\"two\",\"text\":\"two\"}\n");
  EXPECT_EQ(file::read(set_file("files/usr/share/dict/some")), "one\ntwo\n");
  const SetManifest read = read_manifest("words_american");
  EXPECT_EQ(read.packages_text(), "wamerican 1");
  EXPECT_EQ(read.documents_file.sha256, file::sha256(file::read(path)));
  EXPECT_EQ(read.date, "2026-11-24");
  check_set(read, true);
  EXPECT_EQ(file::list(folder_.at("cache/sets")), (std::vector<std::string>{".lock-words_american", "words_american"}));
}

TEST_F(SetStore, ContentIsOneHashOfAllMembers) {
  // As sha256sum prints it for the members sorted by name, hashed again.
  const std::string hash_a = file::sha256("1"), hash_b = file::sha256("2");
  EXPECT_EQ(members_hash({{"files/b", 1, hash_b}, {"files/a", 1, hash_a}}),
            file::sha256(hash_a + "  files/a\n" + hash_b + "  files/b\n"));
  EXPECT_EQ(members_hash({}), file::sha256(""));
}

TEST_F(SetStore, ANewOneTakesThePlaceOfTheOld) {
  made(words(), "one\n");
  made(words(), "three\n");
  EXPECT_EQ(file::read(fetched_set("words_american")), "{\"id\":\"three\",\"text\":\"three\"}\n");
  EXPECT_FALSE(file::exists(folder_.at("cache/sets/.making-words_american.old")));
}

TEST_F(SetStore, WhatFailsLeavesTheOldOneAndNothingElse) {
  made(words(), "one\n");
  expect_error([] { made(words(), "\n\n"); }, Code::data, "hold no document", "set:words_american");
  EXPECT_THROW(
      {
        const SetDescription set = words();
        SetMaker maker(set, [] { throw Error(Code::interrupted, "interrupted"); });
        maker.add({"usr/share/dict/some", "two\n"});
      },
      Error);
  EXPECT_EQ(file::read(fetched_set("words_american")), "{\"id\":\"one\",\"text\":\"one\"}\n");
  EXPECT_EQ(file::list(folder_.at("cache/sets")), (std::vector<std::string>{".lock-words_american", "words_american"}));
}

TEST_F(SetStore, LeftoversOfADeadProcessAreCleared) {
  folder_.write("cache/sets/.making-words_american/files/usr/share/dict/some", "half");
  made(words(), "one\n");
  EXPECT_EQ(file::read(fetched_set("words_american")), "{\"id\":\"one\",\"text\":\"one\"}\n");
}

TEST_F(SetStore, OneProcessAtATime) {
  const SetDescription set = words();
  const SetMaker first(set, [] {});
  EXPECT_THROW(SetMaker(set, [] {}), Error);
}

TEST_F(SetStore, UnknownAndUnfetchedSets) {
  expect_error([] { fetched_set("word_american"); }, Code::data, "there is no data set", "set:word_american",
               "words_american");
  expect_error([] { fetched_set("words_american"); }, Code::data, "was not fetched", "set:words_american",
               "etude data get words_american");
  EXPECT_FALSE(is_fetched("words_american"));
}

TEST_F(SetStore, DamageIsNamed) {
  made(words(), "one\n");
  const auto damaged = [&](std::string_view what, std::string_view where) {
    expect_error([] { fetched_set("words_american"); }, Code::data, what, where, "etude data get words_american");
  };
  folder_.write("cache/sets/words_american/documents.jsonl", "{\"id\":\"one\",\"text\":\"two\"}\n");
  damaged("(wamerican 1) is damaged: a file of it has SHA-256", "documents.jsonl");
  folder_.write("cache/sets/words_american/documents.jsonl", "");
  damaged("a file of it has 0 bytes in place of 26", "documents.jsonl");
  file::remove_all(set_file("documents.jsonl"));
  damaged("a file of it is missing", "documents.jsonl");
  for (const std::string bad : {"", "{", "[]", "{\"name\": 3}", "null"}) {
    folder_.write("cache/sets/words_american/manifest.json", bad);
    damaged("the manifest of the data set 'words_american' is damaged", "manifest.json");
  }
}

TEST_F(SetStore, MembersAreCheckedWhenAsked) {
  const SetManifest manifest = made(words(), "one\n");
  folder_.write("cache/sets/words_american/files/usr/share/dict/some", "two\n");
  EXPECT_NO_THROW(check_set(manifest, false));
  expect_error([&] { check_set(manifest, true); }, Code::data, "has SHA-256", "files/usr/share/dict/some");
}

TEST_F(SetStore, AFileThatTwoPackagesHoldIsRefused) {
  const SetDescription set = words();
  SetMaker maker(set, [] {});
  EXPECT_TRUE(maker.wanted("usr/share/dict/some"));
  EXPECT_FALSE(maker.wanted("usr/share/dict/deep/er"));
  maker.add({"usr/share/dict/some", "one\n"});
  expect_error(
      [&] {
        maker.add({"usr/share/dict/some", "two\n"});
      },
      Code::data, "hold the same file", "usr/share/dict/some");
  maker.clear();
  maker.add({"usr/share/dict/some", "two\n"});
  EXPECT_EQ(maker.content(), members_hash({{"files/usr/share/dict/some", 4, file::sha256("two\n")}}));
}

TEST_F(SetStore, IsRemoved) {
  made(words(), "one\n");
  EXPECT_TRUE(remove_set("words_american"));
  EXPECT_FALSE(is_fetched("words_american"));
  EXPECT_FALSE(remove_set("words_american"));
}

TEST(CacheDirectory, IsTheUsersOwnUnlessToldOtherwise) {
  unsetenv("ETUDE_CACHE");
  setenv("XDG_CACHE_HOME", "/somewhere/cache", 1);
  EXPECT_EQ(cache_directory(), "/somewhere/cache/etude");
  setenv("XDG_CACHE_HOME", "relative", 1);  // the specification says to ignore it
  setenv("HOME", "/home/somebody", 1);
  EXPECT_EQ(cache_directory(), "/home/somebody/.cache/etude");
  unsetenv("XDG_CACHE_HOME");
  unsetenv("HOME");
  EXPECT_EQ(cache_directory(), "");
  expect_error([] { set_folder("kjv"); }, Code::io, "no folder to keep data sets in", "ETUDE_CACHE");
  setenv("ETUDE_CACHE", "/own", 1);
  EXPECT_EQ(cache_directory(), "/own");
}

}  // namespace
}  // namespace etude::store_test
