#include "etude/base/file.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "etude/base/error.h"

namespace etude::file_test {
namespace {

namespace fs = std::filesystem;
using Mode = file::Writer::Mode;

class File : public ::testing::Test {
 protected:
  void SetUp() override { fs::create_directories(dir_); }
  void TearDown() override { fs::remove_all(dir_); }
  std::string at(const std::string& name) const { return dir_ + "/" + name; }
  std::string put(const std::string& name, const std::string& text) const {
    std::ofstream(at(name), std::ios::binary) << text;
    return at(name);
  }
  std::string dir_ = testing::TempDir() + "etude file \u00fc " + std::to_string(getpid());
};

template <class F>
Error caught(const F& f) {
  try {
    f();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return {Code::internal, ""};
}

/// Runs f in a child process without privileges; returns its exit status.
template <class F>
int in_child(const F& f) {
  const pid_t child = fork();
  if (child == 0) {
    if (geteuid() == 0 && seteuid(65534) != 0) _exit(99);
    _exit(f());
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

TEST_F(File, WritesAndReadsBytes) {
  const std::string bytes("a\0b\r\n\xFF", 6);
  file::Writer writer(at("f"), Mode::create);
  writer.write(bytes);
  writer.write("");
  writer.write(bytes);
  EXPECT_EQ(writer.position(), 12);
  writer.sync();
  EXPECT_EQ(file::read(at("f")), bytes + bytes);
  EXPECT_EQ(file::size(at("f")), 12);
  EXPECT_EQ(writer.path(), at("f"));
}

TEST_F(File, CreateEmptiesAndAppendGoesOn) {
  put("f", "old");
  {
    file::Writer writer(at("f"), Mode::append);
    EXPECT_EQ(writer.position(), 3);
    writer.write("new");
    EXPECT_EQ(file::read(at("f")), "oldnew");
    writer.truncate(4);
    EXPECT_EQ(writer.position(), 4);
    writer.write("!");
    EXPECT_EQ(file::read(at("f")), "oldn!");
  }
  file::Writer writer(at("f"), Mode::create);
  EXPECT_EQ(file::read(at("f")), "");
  writer.write("abc");
  writer.truncate(1);
  writer.write("z");
  EXPECT_EQ(file::read(at("f")), "az");
}

TEST_F(File, ReadsLargeFiles) {
  std::string big;
  for (int i = 0; big.size() < 1000000; ++i) big += std::to_string(i) + ",";
  EXPECT_EQ(file::read(put("big", big)), big);
}

TEST_F(File, Looks) {
  put("f", "x");
  fs::create_symlink("nowhere", at("dangling"));
  EXPECT_TRUE(file::exists(at("f")));
  EXPECT_TRUE(file::exists(dir_));
  EXPECT_FALSE(file::exists(at("g")));
  EXPECT_FALSE(file::exists(at("f/below")));
  EXPECT_FALSE(file::exists(at("dangling")));
  EXPECT_TRUE(file::is_directory(dir_));
  EXPECT_FALSE(file::is_directory(at("f")));
  EXPECT_FALSE(file::is_directory(at("g")));
}

TEST_F(File, ListsSorted) {
  for (const char* name : {"b", "a", ".hidden", "B"}) put(name, "");
  EXPECT_EQ(file::list(dir_), (std::vector<std::string>{".hidden", "B", "a", "b"}));
  EXPECT_TRUE(file::list(at("absent")).empty());
  EXPECT_EQ(caught([&] { file::list(at("a")); }).code(), Code::io);
}

TEST_F(File, MakesDirectories) {
  file::make_directories(at("x/y//z/"));
  EXPECT_TRUE(file::is_directory(at("x/y/z")));
  file::make_directories(at("x/y"));
  put("f", "");
  const Error error = caught([&] { file::make_directories(at("f/g")); });
  EXPECT_EQ(error.code(), Code::io);
  EXPECT_EQ(error.hint(), "a part of the path is a file, not a directory");
}

TEST_F(File, RemovesTreesButNotWhatLinksPointTo) {
  fs::create_directories(at("tree/deep"));
  put("tree/deep/f", "1");
  put("kept", "2");
  fs::create_symlink(at("kept"), at("tree/link"));
  fs::create_directory_symlink(dir_, at("tree/loop"));
  file::remove_all(at("tree"));
  EXPECT_FALSE(fs::exists(at("tree")));
  EXPECT_EQ(file::read(at("kept")), "2");
  file::remove_all(at("tree"));
  file::remove_all(at("kept"));
  EXPECT_FALSE(fs::exists(at("kept")));
}

TEST_F(File, Renames) {
  put("a", "1");
  put("b", "2");
  file::rename_durably(at("a"), at("b"));
  EXPECT_EQ(file::read(at("b")), "1");
  EXPECT_FALSE(file::exists(at("a")));
  const Error error = caught([&] { file::rename_durably(at("a"), at("c")); });
  EXPECT_NE(error.message().find("can't rename '" + at("a") + "'"), std::string::npos) << error.what();
  const Error nowhere = caught([&] { file::rename_durably(at("b"), at("no/c")); });
  EXPECT_EQ(nowhere.hint(), "the directory '" + at("no") + "' does not exist");
}

TEST_F(File, WritesAtomically) {
  file::write_atomically(at("f"), "one");
  file::write_atomically(at("f"), "two");
  EXPECT_EQ(file::read(at("f")), "two");
  EXPECT_EQ(file::list(dir_), std::vector<std::string>{"f"});
  const std::string before = fs::current_path();
  fs::current_path(dir_);
  file::write_atomically("bare", "three");
  fs::current_path(before);
  EXPECT_EQ(file::read(at("bare")), "three");
}

TEST_F(File, FailedAtomicWriteLeavesNothing) {
  fs::create_directories(at("d/occupied"));
  EXPECT_EQ(caught([&] { file::write_atomically(at("d"), "x"); }).code(), Code::io);
  EXPECT_EQ(file::list(dir_), std::vector<std::string>{"d"});
}

TEST_F(File, ErrorsHavePathReasonAndHint) {
  const Error missing = caught([&] { file::Writer(at("no/such/f"), Mode::create); });
  EXPECT_EQ(missing.code(), Code::io);
  EXPECT_EQ(missing.message(), "can't write '" + at("no/such/f") + "': No such file or directory");
  EXPECT_EQ(missing.where(), at("no/such/f"));
  EXPECT_EQ(missing.hint(), "the directory '" + at("no") + "' does not exist");

  put("circle-target", "");
  fs::create_symlink("circle", at("circle"));
  fs::create_directories(at("d"));
  ASSERT_EQ(mkfifo(at("fifo").c_str(), 0600), 0);
  struct Case {
    std::string path, hint;
  };
  for (const auto& [path, hint] :
       {Case{at("absent"), "check the spelling"}, Case{at("d"), "it is a directory"}, Case{at("fifo"), "not a pipe"},
        Case{"/dev/zero", "not a pipe, socket or device"}, Case{at("circle"), "in a circle"},
        Case{at(std::string(300, 'x')), "255 bytes"}, Case{at("circle-target/f"), "is a file, not a directory"}}) {
    const Error error = caught([&, p = path] { file::read(p); });
    EXPECT_EQ(error.code(), Code::io);
    EXPECT_EQ(error.where(), path);
    EXPECT_NE(error.hint().find(hint), std::string::npos) << error.what();
    EXPECT_THROW(file::sha256_file(path), Error);
  }
}

TEST_F(File, FullDisk) {
  file::Writer writer("/dev/full", Mode::create);
  const Error error = caught([&] { writer.write("x"); });
  EXPECT_EQ(error.message(), "can't write '/dev/full': No space left on device");
  EXPECT_NE(error.hint().find("free some space"), std::string::npos);
}

TEST_F(File, ForbiddenDirectory) {
  fs::create_directories(at("locked"));
  put("locked/secret", "x");
  fs::permissions(at("locked"),
                  fs::perms::owner_read | fs::perms::owner_exec | fs::perms::others_read | fs::perms::others_exec);
  fs::permissions(at("locked/secret"), fs::perms::none);
  const auto forbidden = [&](const auto& f) {
    return in_child([&] {
      try {
        f();
      } catch (const Error& error) {
        return error.code() == Code::io && error.hint().find("permissions") != std::string::npos ? 0 : 2;
      }
      return 1;
    });
  };
  EXPECT_EQ(forbidden([&] { file::Writer(at("locked/f"), Mode::create); }), 0);
  EXPECT_EQ(forbidden([&] { file::write_atomically(at("locked/f"), ""); }), 0);
  EXPECT_EQ(forbidden([&] { file::make_directories(at("locked/d/e")); }), 0);
  EXPECT_EQ(forbidden([&] { file::remove_all(at("locked/secret")); }), 0);
  EXPECT_EQ(forbidden([&] { file::Lock(at("locked/lock")); }), 0);
  EXPECT_EQ(forbidden([&] { file::read(at("locked/secret")); }), 0);
  fs::permissions(at("locked"), fs::perms::none);
  EXPECT_EQ(forbidden([&] { (void)file::exists(at("locked/f")); }), 0);
  EXPECT_EQ(forbidden([&] { file::list(at("locked")); }), 0);
  fs::permissions(at("locked"), fs::perms::owner_all);
}

TEST_F(File, TemporaryNamesAreKnown) {
  EXPECT_FALSE(file::is_temporary("f"));
  EXPECT_FALSE(file::is_temporary(".hidden"));
  const pid_t child = fork();
  if (child == 0) {
    file::inject({2, file::Injection::Fault::kill});  // within the write
    file::write_atomically(at("f"), "content");
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_EQ(WEXITSTATUS(status), 137);
  const std::vector<std::string> left = file::list(dir_);
  ASSERT_EQ(left.size(), 1u);
  EXPECT_TRUE(file::is_temporary(left[0])) << left[0];
}

TEST_F(File, LockNamesItsHolder) {
  const file::Lock lock(at("lock"));
  const Error error = caught([&] { file::Lock again(at("lock")); });
  EXPECT_EQ(error.code(), Code::checkpoint);
  EXPECT_NE(error.message().find("in use by process " + std::to_string(getpid()) + " on "), std::string::npos)
      << error.what();
  EXPECT_FALSE(error.hint().empty());
}

TEST_F(File, LockIsFreeAfterItsHolder) {
  { const file::Lock lock(at("lock")); }
  { const file::Lock lock(at("lock")); }
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    const file::Lock lock(at("lock"));
    (void)!write(ready[1], "x", 1);
    pause();
    _exit(0);
  }
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  const Error error = caught([&] { file::Lock second(at("lock")); });
  EXPECT_NE(error.message().find("process " + std::to_string(child)), std::string::npos) << error.what();
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_NO_THROW(file::Lock(at("lock")));
  close(ready[0]);
  close(ready[1]);
}

TEST_F(File, Sha256MatchesThePublishedVectors) {
  // FIPS 180-2, appendix B, and the empty message.
  EXPECT_EQ(file::sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(file::sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  file::Sha256 hash;
  for (int i = 0; i < 1000; ++i) hash.add(std::string(1000, 'a'));
  const std::string million = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";
  EXPECT_EQ(hash.hex(), million);
  EXPECT_EQ(file::sha256_file(put("million", std::string(1000000, 'a'))), million);
}

}  // namespace
}  // namespace etude::file_test
