// Mapped files, with files that really shrink under their readers.

#include "etude/base/mapped_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <numeric>
#include <thread>

#include "etude/base/testing.h"

namespace etude::mapped_file_test {
namespace {

using file::Mapped;

std::string counted_bytes(size_t size) {
  std::string text(size, '\0');
  for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + i % 23);
  return text;
}

uint64_t sum(std::string_view bytes) {
  return std::accumulate(bytes.begin(), bytes.end(), uint64_t{0},
                         [](uint64_t total, char c) { return total + static_cast<unsigned char>(c); });
}

TEST(MappedFile, GivesTheBytesOfTheFile) {
  const TestFolder folder;
  for (const size_t size : {size_t{0}, size_t{1}, size_t{4095}, size_t{4096}, size_t{4097}, size_t{1000000}}) {
    const std::string content = counted_bytes(size), path = folder.write("bytes", content);
    for (const auto access : {Mapped::Access::random, Mapped::Access::sequential}) {
      const Mapped mapped(path, access);
      mapped.will_need(0, size);
      mapped.will_need(size, 1);
      mapped.will_need(size / 2, SIZE_MAX);
      EXPECT_EQ(mapped.bytes(), content);
      EXPECT_EQ(mapped.size(), size);
      EXPECT_EQ(mapped.path(), path);
      mapped.require_whole();
    }
  }
}

TEST(MappedFile, RefusesWhatIsNoRegularFile) {
  const TestFolder folder;
  expect_error([&] { Mapped(folder.at("none")); }, Code::io, "No such file", "none", "check the spelling");
  expect_error([&] { Mapped(folder.path()); }, Code::io, "Is a directory", folder.path(), "directory");
  const std::string fifo = folder.at("fifo");
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  expect_error([&] { Mapped mapped(fifo); }, Code::io, "no regular file", "fifo", "not a pipe");
}

TEST(MappedFile, AShrunkPartReadsAsZerosAndIsTold) {
  const TestFolder folder;
  const size_t size = 40 * 4096 + 10;
  for (const off_t left : {off_t{0}, off_t{1}, off_t{4096}, off_t{5000}, off_t{size - 1}}) {
    const std::string content = counted_bytes(size), path = folder.write("shrinks", content);
    const Mapped mapped(path), other(folder.write("stays", content));
    ASSERT_EQ(truncate(path.c_str(), left), 0);
    const std::string found(mapped.bytes());
    EXPECT_EQ(found, content.substr(0, static_cast<size_t>(left)) + std::string(size - static_cast<size_t>(left), '\0'))
        << left;
    expect_error([&] { mapped.require_whole(); }, Code::io,
                 "shrank from " + std::to_string(size) + " to " + std::to_string(left), "shrinks", "start again");
    EXPECT_EQ(other.bytes(), content);
    other.require_whole();
  }
}

TEST(MappedFile, APartThatCameBackAsZerosIsToldToo) {
  const TestFolder folder;
  const std::string path = folder.write("back", counted_bytes(8 * 4096));
  const Mapped mapped(path);
  ASSERT_EQ(truncate(path.c_str(), 0), 0);
  EXPECT_EQ(mapped.bytes()[5 * 4096], '\0');
  ASSERT_EQ(truncate(path.c_str(), 8 * 4096), 0);
  expect_error([&] { mapped.require_whole(); }, Code::io, "gone for a while", "back", "disk");
}

TEST(MappedFile, SurvivesTruncationByAnotherThread) {
  const TestFolder folder;
  const size_t size = size_t{8} << 20;
  const std::string content = counted_bytes(size);
  const uint64_t whole = sum(content);
  for (const off_t left : {off_t{0}, off_t{3} << 20}) {
    const std::string path = folder.write("shrinks", content);
    const Mapped mapped(path);
    std::atomic<bool> reading = false;
    std::atomic<int> told = 0;
    std::vector<std::thread> readers;
    for (int r = 0; r < 3; ++r) {
      readers.emplace_back([&] {
        for (;;) {
          const uint64_t found = sum(mapped.bytes());
          reading = true;
          try {
            mapped.require_whole();
          } catch (const Error&) {
            ++told;
            return;
          }
          // Whoever was told that all was there has read the file.
          if (found != whole) return;
        }
      });
    }
    while (!reading) std::this_thread::yield();
    ASSERT_EQ(truncate(path.c_str(), left), 0);
    for (std::thread& reader : readers) reader.join();
    EXPECT_EQ(told, 3);
  }
}

TEST(MappedFile, ManyAreOpenedAndClosed) {
  const TestFolder folder;
  const std::string path = folder.write("again", counted_bytes(5000));
  for (int i = 0; i < 5000; ++i) ASSERT_EQ(Mapped(path).bytes()[4999], 'a' + 4999 % 23);
}

TEST(MappedFile, TellsWhenThereAreTooMany) {
  const TestFolder folder;
  struct rlimit before {};
  getrlimit(RLIMIT_NOFILE, &before);
  if (before.rlim_max < 4200) GTEST_SKIP() << "this user may not open so many files";
  const struct rlimit many = {std::max<rlim_t>(before.rlim_cur, 4200), before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &many), 0);
  const std::string path = folder.write("many", "x");
  std::vector<std::unique_ptr<Mapped>> all;
  expect_error(
      [&] {
        for (int i = 0; i < 4097; ++i) all.push_back(std::make_unique<Mapped>(path));
      },
      Code::io, "4096 files", "many", "fewer");
  EXPECT_GT(all.size(), 4000u);
  all.clear();
  EXPECT_EQ(Mapped(path).bytes(), "x");
  setrlimit(RLIMIT_NOFILE, &before);
}

/// Reads a page of a foreign mapping that is no longer in its file.
void touch_foreign(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR);
  const auto* page = static_cast<const volatile char*>(mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, fd, 0));
  if (ftruncate(fd, 0) != 0) _exit(1);
  (void)page[0];
}

TEST(MappedFileDeathTest, OtherBusErrorsStillKill) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const TestFolder folder;
  const std::string path = folder.write("mine", "text"), foreign = folder.write("foreign", "text");
  const auto die = [&](const auto& how) {
    signal(SIGBUS, SIG_DFL);
    const Mapped mapped(path);
    how();
    _exit(0);
  };
  EXPECT_EXIT(die([&] { touch_foreign(foreign); }), ::testing::KilledBySignal(SIGBUS), "");
  EXPECT_EXIT(die([&] { raise(SIGBUS); }), ::testing::KilledBySignal(SIGBUS), "");
}

TEST(MappedFileDeathTest, AnEarlierHandlerIsAsked) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const TestFolder folder;
  const std::string path = folder.write("mine", "text"), foreign = folder.write("foreign", "text");
  const auto die = [&](bool information) {
    struct sigaction action {};
    if (information) {
      action.sa_flags = SA_SIGINFO;
      action.sa_sigaction = [](int, siginfo_t* info, void*) { _exit(info->si_addr ? 42 : 1); };
    } else {
      action.sa_handler = [](int) { _exit(43); };
    }
    sigaction(SIGBUS, &action, nullptr);
    const Mapped mapped(path);
    touch_foreign(foreign);
    _exit(0);
  };
  EXPECT_EXIT(die(true), ::testing::ExitedWithCode(42), "");
  EXPECT_EXIT(die(false), ::testing::ExitedWithCode(43), "");
}

}  // namespace
}  // namespace etude::mapped_file_test
