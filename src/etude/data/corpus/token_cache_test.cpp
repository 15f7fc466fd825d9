#include "etude/data/corpus/token_cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "etude/base/log.h"
#include "etude/data/corpus/content.h"
#include "etude/data/corpus/testing.h"
#include "etude/data/sets.h"

namespace etude::corpus::token_cache_test {
namespace {

using Ids = std::vector<int32_t>;
const std::string kKey(64, 'a');

/// The cache of a test's own.
class CorpusTokenCache : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const char* before = getenv("ETUDE_CACHE")) before_ = before;
    setenv("ETUDE_CACHE", folder_.at("cache").c_str(), 1);
  }
  void TearDown() override {
    if (before_.empty())
      unsetenv("ETUDE_CACHE");
    else
      setenv("ETUDE_CACHE", before_.c_str(), 1);
    set_log_file("");
  }
  std::string path(const std::string& key = kKey) const { return folder_.at("cache/tokens/" + key + ".tokens"); }
  std::string log() const { return file::read(folder_.at("log")); }

  TestFolder folder_;
  std::string before_;
};

std::string written(const Ids& ids, int64_t vocabulary, const TestFolder& folder, const std::string& key = kKey) {
  const std::string path = folder.at("written");
  file::Writer writer(path, file::Writer::Mode::create);
  TokenCacheWriter tokens(writer, key, vocabulary);
  tokens.add(ids);
  tokens.add({});
  tokens.finish(3, 1);
  return file::read(path);
}

TokenCacheInfo info_of(const std::string& bytes) {
  const std::string_view all = bytes;
  return token_cache_info(all.substr(0, 128), all.substr(all.size() - std::min<size_t>(128, all.size())),
                          static_cast<int64_t>(all.size()), "here");
}

Ids all_of(const TokenSequence& tokens) {
  Ids ids(static_cast<size_t>(tokens.size()));
  tokens.read(0, tokens.size(), ids.data());
  return ids;
}

TEST_F(CorpusTokenCache, WritesWhatTheHeaderSays) {
  const Ids ids = {0, 1, 65535, 3};
  const std::string small = written(ids, 65536, folder_);
  EXPECT_EQ(small.size(), 128 + 2 * ids.size() + 128);
  EXPECT_EQ(small.substr(0, 16), std::string("etudetok\1\0\0\0\2\0\0\0", 16));
  EXPECT_EQ(small.substr(16, 64), kKey);
  EXPECT_EQ(small.substr(128, 8), std::string("\0\0\1\0\xff\xff\3\0", 8));
  EXPECT_EQ(small.substr(small.size() - 8), "etudeend");
  EXPECT_EQ(small.substr(small.size() - 104, 64), file::sha256(small.substr(0, 128) + small.substr(136, 24)));
  const TokenCacheInfo info = info_of(small);
  EXPECT_EQ(info.key, kKey);
  EXPECT_EQ(info.width, 2);
  EXPECT_EQ(info.tokens, 4);
  EXPECT_EQ(info.documents, 3);
  EXPECT_EQ(info.empty, 1);
  const std::string wide = written(ids, 65537, folder_);
  EXPECT_EQ(wide.size(), 128 + 4 * ids.size() + 128);
  EXPECT_EQ(info_of(wide).width, 4);
}

TEST_F(CorpusTokenCache, BuildsOnceAndOpensAgain) {
  int made = 0;
  Ids expected;
  for (int32_t i = 0; i < 2000000; ++i) expected.push_back(i % 1000 * 70);
  for (const int64_t vocabulary : {int64_t{70000}, int64_t{65536}}) {
    Ids ids = expected;
    for (int32_t& id : ids) id %= static_cast<int32_t>(vocabulary);
    const std::string key(64, vocabulary == 65536 ? 'b' : 'a');
    for (int turn = 0; turn < 3; ++turn) {
      const auto tokens = cached_tokens(key, vocabulary, "text", [&](TokenCacheWriter& writer) {
        ++made;
        for (size_t at = 0; at < ids.size(); at += 999) {
          writer.add(std::span(ids).subspan(at, std::min<size_t>(999, ids.size() - at)));
        }
        writer.finish(5, 2);
      });
      EXPECT_EQ(tokens->documents(), 5);
      EXPECT_EQ(tokens->empty(), 2);
      EXPECT_EQ(all_of(*tokens), ids);
    }
  }
  EXPECT_EQ(made, 2);
}

TEST_F(CorpusTokenCache, HostileFilesAreNamedAndMadeAnew) {
  const std::string good = written({1, 2, 3, 4}, 100, folder_);
  const auto changed = [&](size_t at, char to) {
    std::string bytes = good;
    bytes[at] = to;
    return bytes;
  };
  /// With a hash that fits.
  const auto sealed = [&](size_t at, const std::string& to) {
    std::string bytes = good;
    bytes.replace(at, to.size(), to);
    const size_t tail = bytes.size() - 128;
    return bytes.replace(tail + 24, 64, file::sha256(bytes.substr(0, 128) + bytes.substr(tail, 24)));
  };
  const size_t tail = good.size() - 128;
  const std::string many(8, '\x7f'), negative(8, '\xff');
  const std::vector<Hostile> all = {
      {"", "only 0 bytes", "", "remove"},
      {"x", "only 1 bytes", "", "remove"},
      {good.substr(0, 128), "only 128 bytes", "", "remove"},
      {good.substr(0, 255), "only 255 bytes", "", "remove"},
      {std::string(1000, '\0'), "doesn't begin as a token cache", "", "remove"},
      {std::string(300, 'x'), "doesn't begin as a token cache", "", "remove"},
      {changed(0, 'E'), "doesn't begin as a token cache", "", "remove"},
      {changed(good.size() - 1, 'x'), "doesn't end as a token cache", "", "remove"},
      {good.substr(0, good.size() - 1), "doesn't end as a token cache", "", "remove"},
      {good.substr(0, good.size() - 8), "doesn't end as a token cache", "", "remove"},
      {good + "x", "doesn't end as a token cache", "", "remove"},
      {good.substr(0, 200) + std::string(100, '\0'), "doesn't end as a token cache", "", "remove"},
      {changed(8, 2), "version 2; known is 1", "", "remove"},
      {changed(12, 4), "head or end has changed", "", "remove"},
      {changed(20, 'b'), "head or end has changed", "", "remove"},
      {changed(100, 'b'), "head or end has changed", "", "remove"},
      {changed(tail, 5), "head or end has changed", "", "remove"},
      {changed(tail + 30, 'x'), "head or end has changed", "", "remove"},
      {good.substr(0, 130) + good.substr(128), "which are not those of 4 ids of 2", "", "remove"},
      {good.substr(0, 128) + good.substr(130), "which are not those of 4 ids of 2", "", "remove"},
      {sealed(12, "\x03"), "its ids have 3 bytes", "", "remove"},
      {sealed(12, std::string(1, '\0')), "its ids have 0 bytes", "", "remove"},
      {sealed(12, "\x04"), "which are not those of 4 ids of 4", "", "remove"},
      {sealed(tail, many), "which are not those of", "", "remove"},
      {sealed(tail, negative), "which are not those of -1 ids", "", "remove"},
      {sealed(tail + 8, negative), "which are not those of", "", "remove"},
      {sealed(tail + 16, negative), "which are not those of", "", "remove"},
  };
  set_log_file(folder_.at("log"));
  refuse_all(all, [](const std::string& content) { info_of(content); });
  for (const Hostile& one : all) {
    folder_.write("cache/tokens/" + kKey + ".tokens", one.content);
    const auto tokens = cached_tokens(kKey, 100, "text", [&](TokenCacheWriter& writer) {
      writer.add(Ids{7, 8});
      writer.finish(1, 0);
    });
    EXPECT_EQ(all_of(*tokens), (Ids{7, 8}));
    EXPECT_NE(log().find(one.message), std::string::npos) << one.message;
    EXPECT_EQ(file::read(path()).size(), 128u + 4 + 128);
  }
  folder_.write("cache/tokens/" + kKey + ".tokens", written({1}, 100, folder_, std::string(64, 'b')));
  EXPECT_EQ(open_token_cache(path(), kKey, 100), nullptr);
  EXPECT_NE(log().find("it holds other tokens"), std::string::npos);
}

TEST_F(CorpusTokenCache, OneThatShrinksIsToldBeforeItsTokensAreUsed) {
  const auto tokens = cached_tokens(kKey, 100, "text", [&](TokenCacheWriter& writer) {
    writer.add(Ids(100000, 5));
    writer.finish(1, 0);
  });
  ASSERT_EQ(truncate(path().c_str(), 5000), 0);
  Ids ids(100000);
  tokens->read(0, 100000, ids.data());
  expect_error([&] { tokens->require_whole(); }, Code::data, "shrank", path(), "start again");
}

TEST_F(CorpusTokenCache, IdsOutsideTheVocabularyAreRefused) {
  cached_tokens(kKey, 100, "text", [&](TokenCacheWriter& writer) {
    writer.add(Ids{1, 2, 99});
    writer.finish(1, 0);
  });
  const auto tokens = open_token_cache(path(), kKey, 99);
  Ids ids(3);
  expect_error([&] { tokens->read(0, 3, ids.data()); }, Code::data, "id 99 at place 2", path(), "tokenizer");
}

TEST_F(CorpusTokenCache, OneBuildsAndOthersWait) {
  std::atomic<int> made = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      const auto tokens = cached_tokens(kKey, 100, "text", [&](TokenCacheWriter& writer) {
        ++made;
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        writer.add(Ids{1, 2, 3});
        writer.finish(1, 0);
      });
      EXPECT_EQ(all_of(*tokens), (Ids{1, 2, 3}));
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(made, 1);
}

TEST_F(CorpusTokenCache, ABuilderThatDiesLeavesTheWorkToTheNext) {
  const pid_t child = fork();
  if (child == 0) {
    cached_tokens(kKey, 100, "text", [&](TokenCacheWriter& writer) {
      writer.add(Ids(3000000, 1));
      _exit(7);
    });
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_EQ(WEXITSTATUS(status), 7);
  EXPECT_FALSE(file::exists(path()));
  const auto tokens = cached_tokens(kKey, 100, "text", [&](TokenCacheWriter& writer) {
    writer.add(Ids{4});
    writer.finish(1, 0);
  });
  EXPECT_EQ(all_of(*tokens), (Ids{4}));
}

TEST_F(CorpusTokenCache, ErrorsOfTheTextPassAndLeaveNothing) {
  expect_error(
      [&] {
        cached_tokens(kKey, 100, "text", [&](TokenCacheWriter&) { throw Error(Code::data, "no text", "a:1", "hint"); });
      },
      Code::data, "no text", "a:1", "hint");
  for (const std::string& name : file::list(folder_.at("cache/tokens"))) EXPECT_TRUE(name.ends_with(".lock")) << name;
}

TEST_F(CorpusTokenCache, WithoutAPlaceTokensLieInAFileWithoutAName) {
  folder_.write("plain", "a file");
  setenv("ETUDE_CACHE", folder_.at("plain/below").c_str(), 1);
  for (int turn = 0; turn < 2; ++turn) {
    const auto tokens = cached_tokens(kKey, 100, "text", [&](TokenCacheWriter& writer) {
      writer.add(Ids{1, 2, 3});
      writer.finish(1, 0);
    });
    EXPECT_EQ(all_of(*tokens), (Ids{1, 2, 3}));
    tokens->require_whole();
  }
}

class CorpusContent : public CorpusTokenCache {
 protected:
  /// A file that was changed long ago.
  std::string settled(const std::string& name, const std::string& content) const {
    const std::string made = folder_.write("text/" + name, content);
    const timespec old[2] = {{1000000000, 0}, {1000000000, 0}};
    EXPECT_EQ(utimensat(AT_FDCWD, made.c_str(), old, 0), 0);
    return made;
  }
};

TEST_F(CorpusContent, IsTheHashOfNamesLengthsAndBytes) {
  settled("a.txt",
          "\xef\xbb\xbf"
          "abc");
  settled("b.jsonl", "{\"text\":\"x\"}\n");
  const Content content = content_of(find_texts(folder_.at("text")));
  EXPECT_EQ(content.sha256, file::sha256("a.txt\n3\nabcb.jsonl\n13\n{\"text\":\"x\"}\n"));
  EXPECT_EQ(content.bytes, 16);
  EXPECT_EQ(content.largest, -1);
  EXPECT_EQ(content.stamps.size(), 2u);
  EXPECT_FALSE(file::exists(folder_.at("cache")));  // small texts are read again
}

TEST_F(CorpusContent, TheLargestIdIsFound) {
  settled("a.bin", std::string("\1\0\7\0\3\0", 6));
  settled("b.bin", std::string("\4\0\5\0", 4));
  EXPECT_EQ(content_of(find_texts(folder_.at("text"))).largest, 7);
}

TEST_F(CorpusContent, LargeTextsAreReadOnceUnlessTheyChange) {
  std::string text(9 << 20, 'x');
  const std::string path = settled("a.txt", text);
  const TextSource source = find_texts(folder_.at("text"));
  // What changed a moment ago may change again within the same tick of the clock: ctime is that of now.
  content_of(source);
  EXPECT_TRUE(file::list(folder_.at("cache/sources")).empty());
  std::this_thread::sleep_for(std::chrono::milliseconds(2100));
  const Content first = content_of(source);
  EXPECT_EQ(first.sha256, file::sha256("a.txt\n9437184\n" + text));
  const std::vector<std::string> kept = file::list(folder_.at("cache/sources"));
  ASSERT_EQ(kept.size(), 1u);
  // Whoever believes the entry doesn't read the file: another hash in it is believed.
  const std::string entry = folder_.at("cache/sources/" + kept[0]);
  std::string changed = file::read(entry);
  changed.replace(changed.find(first.sha256), 64, std::string(64, '0'));
  file::write_atomically(entry, changed);
  EXPECT_EQ(content_of(source).sha256, std::string(64, '0'));
  // Damaged entries are of no use, and neither is one of another file.
  for (const std::string& bad : {std::string("{"), std::string("[]"), std::string("{\"v\":1}"), std::string()}) {
    file::write_atomically(entry, bad);
    EXPECT_EQ(content_of(source).sha256, first.sha256) << bad;
  }
  file::write_atomically(entry, changed);
  text[5] = 'y';
  settled("a.txt", text);  // as long and as old as before
  EXPECT_EQ(content_of(source).sha256, file::sha256("a.txt\n9437184\n" + text));
}

TEST_F(CorpusContent, AChangeMeanwhileIsTold) {
  const std::string path = settled("a.txt", "abc");
  const TextSource source = find_texts(path);
  const Content content = content_of(source);
  require_same(source, content);
  folder_.write("text/a.txt", "abd");
  expect_error([&] { require_same(source, content); }, Code::data, "changed while it was read", path, "finish first");
}

}  // namespace
}  // namespace etude::corpus::token_cache_test
