// Injected faults: deaths at every operation, power cuts against a model of what is durable, full disks.

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <random>

#include "etude/base/error.h"
#include "etude/base/file.h"
#include "etude/base/file_ops.h"

namespace etude::powercut_test {
namespace {

namespace fs = std::filesystem;
using file::Injection;
using Fault = Injection::Fault;
using Mode = file::Writer::Mode;
using Tree = std::map<std::string, std::string>;  ///< path -> content; directories end in '/'

class Faults : public ::testing::Test {
 protected:
  void SetUp() override { reset(); }
  void TearDown() override { fs::remove_all(dir_); }
  void reset() const {
    fs::remove_all(dir_);
    fs::create_directories(dir_);
  }
  std::string at(const std::string& name) const { return dir_ + "/" + name; }
  void put(const std::string& name, const std::string& text) const {
    fs::create_directories(fs::path(at(name)).parent_path());
    std::ofstream(at(name), std::ios::binary) << text;
  }
  Tree tree() const {
    Tree out;
    for (const auto& entry : fs::recursive_directory_iterator(dir_)) {
      const std::string name = fs::relative(entry.path(), dir_);
      if (entry.is_directory()) {
        out[name + "/"];
      } else {
        out[name] = file::read(entry.path());
      }
    }
    return out;
  }
  /// Runs `work` in a child process with the fault; returns its exit status.
  static int run(const Injection& injection, const std::function<void()>& work) {
    const pid_t child = fork();
    if (child == 0) {
      file::inject(injection);
      try {
        work();
      } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        _exit(1);
      }
      _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
  }
  /// What a power cut right after `work` leaves.
  Tree after_cut(const std::function<void()>& work) const {
    const int status = run({INT64_MAX, Fault::powercut}, [&] {
      work();
      file::ops::die_now();
    });
    EXPECT_EQ(status, 137);
    return tree();
  }
  void write(const std::string& name, const std::string& text, bool sync, Mode mode = Mode::create) const {
    file::Writer writer(at(name), mode);
    writer.write(text);
    if (sync) writer.sync();
  }
  /// In memory where there is such a place: real disks flush on some of what is done here.
  static std::string root() { return access("/dev/shm", W_OK) == 0 ? "/dev/shm/" : testing::TempDir(); }
  std::string dir_ = root() + "etude faults " + std::to_string(getpid());
};

TEST(Injection, Parses) {
  const Injection i = Injection::parse("io:17:powercut");
  EXPECT_EQ(i.at, 17);
  EXPECT_EQ(i.fault, Fault::powercut);
  EXPECT_EQ(Injection::parse("io:1:kill").fault, Fault::kill);
  EXPECT_EQ(Injection::parse("io:1:enospc").fault, Fault::enospc);
  EXPECT_EQ(Injection::parse("io:1:eio").fault, Fault::eio);
  for (const char* bad : {"", "io", "io:3", "io:0:kill", "io:-1:kill", "io:x:kill", "io:3:kil", "net:3:kill",
                          "io::kill", "io:3:", "io:3.5:kill", "io:99999999999999999999:kill"}) {
    try {
      Injection::parse(bad);
      ADD_FAILURE() << bad;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::usage);
      EXPECT_NE(error.message().find(bad), std::string::npos);
      EXPECT_FALSE(error.hint().empty());
    }
  }
}

TEST_F(Faults, OperationsAreCounted) {
  file::inject({});
  file::write_atomically(at("f"), "x");  // open, write, fsync, rename, fsync of the directory
  EXPECT_EQ(file::operations(), 5);
  file::make_directories(at("a/b"));  // twice mkdir and fsync of the parent
  EXPECT_EQ(file::operations(), 9);
  file::remove_all(at("a"));
  EXPECT_EQ(file::operations(), 11);
  {
    file::Writer writer(at("f"), Mode::append);
    writer.truncate(0);
  }
  EXPECT_EQ(file::operations(), 13);
  (void)file::read(at("f"));
  (void)file::list(dir_);
  const file::Lock lock(at("lock"));
  EXPECT_EQ(file::operations(), 13);
  file::inject({});
  EXPECT_EQ(file::operations(), 0);
}

TEST_F(Faults, KillStrikesBeforeTheNthOperation) {
  const auto work = [&] {
    file::Writer writer(at("log"), Mode::create);
    for (const char* piece : {"aaaa", "bbbb", "cccc"}) writer.write(piece);
  };
  EXPECT_EQ(run({1, Fault::kill}, work), 137);
  EXPECT_TRUE(tree().empty());
  EXPECT_EQ(run({2, Fault::kill}, work), 137);
  EXPECT_EQ(tree(), (Tree{{"log", "aa"}}));  // half of the write that was under way
  EXPECT_EQ(run({4, Fault::kill}, work), 137);
  EXPECT_EQ(tree(), (Tree{{"log", "aaaabbbbcc"}}));
  EXPECT_EQ(run({5, Fault::kill}, work), 0);
  EXPECT_EQ(tree(), (Tree{{"log", "aaaabbbbcccc"}}));
}

TEST_F(Faults, AtomicWriteIsOldOrNewAtEveryDeath) {
  for (const Fault fault : {Fault::kill, Fault::powercut}) {
    for (int64_t n = 1; n <= 6; ++n) {
      reset();
      put("f", "old");
      const int status = run({n, fault}, [&] { file::write_atomically(at("f"), "new and longer"); });
      EXPECT_EQ(status, n <= 5 ? 137 : 0) << n;
      const bool renamed = fault == Fault::kill ? n >= 5 : n >= 6;
      EXPECT_EQ(file::read(at("f")), renamed ? "new and longer" : "old") << n;
      if (fault == Fault::powercut) {
        EXPECT_EQ(tree().size(), 1u) << "what was written aside is gone";
      }
    }
  }
}

TEST_F(Faults, AtomicWriteSurvivesErrors) {
  for (const Fault fault : {Fault::enospc, Fault::eio}) {
    for (int64_t n = 1; n <= 5; ++n) {
      reset();
      put("f", "old");
      const int status = run({n, fault}, [&] {
        try {
          file::write_atomically(at("f"), "new");
          _exit(2);
        } catch (const Error& error) {
          const char* const hint = fault == Fault::enospc ? "free some space" : "dmesg";
          if (error.code() != Code::io || error.hint().find(hint) == std::string::npos) _exit(3);
          if (error.message().find(at("f")) == std::string::npos) _exit(4);
        }
        if (file::read(at("f")) != (n == 5 ? "new" : "old")) _exit(5);
        if (file::list(dir_).size() != 1) _exit(6);
        file::write_atomically(at("f"), "later");  // later operations work
      });
      EXPECT_EQ(status, 0) << n;
      EXPECT_EQ(tree(), (Tree{{"f", "later"}}));
    }
  }
}

TEST_F(Faults, FullDiskTakesHalfAWrite) {
  const int status = run({3, Fault::enospc}, [&] {
    file::Writer writer(at("f"), Mode::create);
    writer.write("aaaa");
    try {
      writer.write("bbbb");
      _exit(2);
    } catch (const Error& error) {
      if (error.message() != "can't write '" + at("f") + "': No space left on device") _exit(3);
    }
    if (writer.position() != 4 || file::size(at("f")) != 6) _exit(4);
    writer.truncate(4);  // how a log goes on after it
    writer.write("cccc");
  });
  EXPECT_EQ(status, 0);
  EXPECT_EQ(tree(), (Tree{{"f", "aaaacccc"}}));
}

TEST_F(Faults, CutTakesBytesThatWereNotSynced) {
  EXPECT_EQ(after_cut([&] {
              write("f", "lost", false);
              file::sync_directory(dir_);
            }),
            (Tree{{"f", ""}}));
  reset();
  EXPECT_EQ(after_cut([&] {
              write("f", "kept", true);
              file::sync_directory(dir_);
              write("f", " lost", false, Mode::append);
            }),
            (Tree{{"f", "kept"}}));
}

TEST_F(Faults, CutTakesEntriesThatWereNotSynced) {
  EXPECT_EQ(after_cut([&] { write("f", "synced, yet in no directory", true); }), Tree{});
  EXPECT_EQ(after_cut([&] {
              write("f", "kept", true);
              file::sync_directory(dir_);
              write("g", "lost", true);
            }),
            (Tree{{"f", "kept"}}));
}

TEST_F(Faults, CutBringsBackWhatWasReplacedOrRemoved) {
  put("a", "A");
  put("b", "B");
  put("d/e/f", "F");
  const Tree before = tree();
  EXPECT_EQ(after_cut([&] { (void)file::ops::rename(at("a"), at("b")); }), before);
  EXPECT_EQ(after_cut([&] { file::Writer(at("a"), Mode::create).write("other"); }), before);
  EXPECT_EQ(after_cut([&] { file::Writer(at("a"), Mode::append).truncate(0); }), before);
  EXPECT_EQ(after_cut([&] { file::remove_all(at("a")); }), before);
  EXPECT_EQ(after_cut([&] { file::remove_all(at("d")); }), before);
  EXPECT_EQ(after_cut([&] {
              file::remove_all(at("d/e/f"));
              file::sync_directory(at("d/e"));
            }),
            (Tree{{"a", "A"}, {"b", "B"}, {"d/", ""}, {"d/e/", ""}}));
}

TEST_F(Faults, CutUndoesARenameWithoutItsDirectory) {
  put("a", "A");
  put("b", "B");
  EXPECT_EQ(run({2, Fault::powercut}, [&] { file::rename_durably(at("a"), at("b")); }), 137);
  EXPECT_EQ(tree(), (Tree{{"a", "A"}, {"b", "B"}}));
  put("d/x", "");
  // Between two directories, both must be durable.
  EXPECT_EQ(run({3, Fault::powercut}, [&] { file::rename_durably(at("a"), at("d/x")); }), 137);
  EXPECT_EQ(tree(), (Tree{{"a", "A"}, {"b", "B"}, {"d/", ""}, {"d/x", ""}}));
  EXPECT_EQ(after_cut([&] { file::rename_durably(at("a"), at("d/x")); }), (Tree{{"b", "B"}, {"d/", ""}, {"d/x", "A"}}));
}

TEST_F(Faults, CutFindsAMissingFsyncInACheckpoint) {
  // The checkpoint's way: a folder aside, its files, its fsync, the rename. Each step left out shows.
  const auto save = [&](bool sync_file, bool sync_folder, bool sync_parent) {
    file::make_directories(at("tmp"));
    write("tmp/weights", "bytes", sync_file);
    if (sync_folder) file::sync_directory(at("tmp"));
    if (sync_parent) {
      file::rename_durably(at("tmp"), at("step-1"));
    } else {
      (void)file::ops::rename(at("tmp"), at("step-1"));
    }
  };
  EXPECT_EQ(after_cut([&] { save(true, true, true); }), (Tree{{"step-1/", ""}, {"step-1/weights", "bytes"}}));
  reset();
  EXPECT_EQ(after_cut([&] { save(false, true, true); }), (Tree{{"step-1/", ""}, {"step-1/weights", ""}}));
  reset();
  EXPECT_EQ(after_cut([&] { save(true, false, true); }), (Tree{{"step-1/", ""}}));
  reset();
  EXPECT_EQ(after_cut([&] { save(true, true, false); }), (Tree{{"tmp/", ""}, {"tmp/weights", "bytes"}}));
}

TEST_F(Faults, CutForgetsWhatFailed) {
  put("a", "A");
  put("d/f", "F");
  const Tree before = tree();
  EXPECT_EQ(after_cut([&] {
              if (file::ops::rename(at("absent"), at("a")) == 0) _exit(1);
              if (file::ops::unlink(at("absent")) == 0 || file::ops::rmdir(at("d")) == 0) _exit(2);
              if (file::ops::mkdir(at("d")) == 0) _exit(3);
            }),
            before);
}

TEST_F(Faults, CutTakesADirectoryThatItsParentDoesNotKnow) {
  EXPECT_EQ(run({2, Fault::powercut}, [&] { file::make_directories(at("d")); }), 137);
  EXPECT_EQ(tree(), Tree{});
  EXPECT_EQ(after_cut([&] { file::make_directories(at("d/e")); }), (Tree{{"d/", ""}, {"d/e/", ""}}));
}

/// One directory as a file system sees it: names lead to files, and each side has a durable twin.
struct Model {
  struct Inode {
    std::string now, durable;
  };
  using Names = std::map<std::string, std::shared_ptr<Inode>>;
  Names now, durable;

  Tree after_cut() const {
    Tree out;
    for (const auto& [name, inode] : durable) out[name] = inode->durable;
    return out;
  }
  Tree before_cut() const {
    Tree out;
    for (const auto& [name, inode] : now) out[name] = inode->now;
    return out;
  }
};

/// Random operations, done to the model and to the disk alike.
class Walk {
 public:
  Walk(uint32_t seed, std::string dir) : random_(seed), dir_(std::move(dir)) {
    for (const char* name : {"a", "b"}) {
      std::ofstream(path(name)) << "before-" << name;
      model_.now[name] =
          std::make_shared<Model::Inode>(Model::Inode{std::string("before-") + name, std::string("before-") + name});
    }
    model_.durable = model_.now;
  }

  /// On the model alone, or on both.
  void go(int steps, bool disk) {
    for (int i = 0; i < steps; ++i) step(disk);
  }
  const Model& model() const { return model_; }

 private:
  std::string path(const std::string& name) const { return dir_ + "/" + name; }
  int pick(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }
  std::string name() { return std::string(1, static_cast<char>('a' + pick(4))); }

  void step(bool disk) {
    const std::string from = name(), to = name();
    const std::string text = "t" + std::to_string(pick(1000));
    const int change = pick(4), sync = pick(3);
    switch (pick(6)) {
      case 0:
      case 1:
        modify(from, change, text, sync == 0, disk);
        break;
      case 2:
        if (!model_.now.count(from) || from == to) break;
        if (disk) (void)file::ops::rename(path(from), path(to));
        model_.now[to] = model_.now[from];
        model_.now.erase(from);
        break;
      case 3:
        if (disk) file::remove_all(path(from));
        model_.now.erase(from);
        break;
      case 4:
        if (!model_.now.count(from)) break;
        if (disk) file::Writer(path(from), Mode::append).sync();
        model_.now[from]->durable = model_.now[from]->now;
        break;
      default:
        if (disk) file::sync_directory(dir_);
        model_.durable = model_.now;
    }
  }

  /// Opens one file, created or appended to, changes it and may sync it.
  void modify(const std::string& name, int change, const std::string& text, bool sync, bool disk) {
    auto& inode = model_.now[name];
    if (!inode) inode = std::make_shared<Model::Inode>();
    const bool create = change == 0;
    if (create) inode->now.clear();
    const size_t cut = inode->now.size() / 2;
    if (change == 1) inode->now.resize(cut);
    inode->now += text;
    if (sync) inode->durable = inode->now;
    if (!disk) return;
    file::Writer writer(path(name), create ? Mode::create : Mode::append);
    if (change == 1) writer.truncate(static_cast<int64_t>(cut));
    writer.write(text);
    if (sync) writer.sync();
  }

  std::mt19937 random_;
  std::string dir_;
  Model model_;
};

TEST_F(Faults, CutAgreesWithAModelOfTheDisk) {
  int lost = 0;
  for (uint32_t seed = 0; seed < 300; ++seed) {
    const int steps = 5 + static_cast<int>(seed % 40);
    reset();
    Walk expected(seed, dir_);
    expected.go(steps, false);
    reset();
    Walk real(seed, dir_);
    ASSERT_EQ(after_cut([&] {
                real.go(steps, true);
                if (tree() != real.model().before_cut()) _exit(1);
              }),
              expected.model().after_cut())
        << "seed " << seed;
    lost += expected.model().after_cut() != expected.model().before_cut();
  }
  EXPECT_GT(lost, 150);  // or the test tests nothing
}

}  // namespace
}  // namespace etude::powercut_test
