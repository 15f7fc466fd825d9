#include "etude/base/file_ops.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <exception>
#include <mutex>

#include "etude/base/error.h"
#include "etude/base/file.h"
#include "etude/base/powercut.h"

namespace etude::file {
namespace {

using Fault = Injection::Fault;

struct State {
  std::atomic<int64_t> done = 0;
  Injection injection;
  std::mutex mutex;                  ///< over the journal
  std::unique_ptr<Journal> journal;  ///< only while a power cut is armed
};

State& state() {
  static State* const instance = new State;  // outlives every writer that is destroyed at exit
  return *instance;
}

}  // namespace

void ops::die_now() {
  if (Journal* journal = state().journal.get()) {
    try {
      journal->lose();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "the injected power cut failed: %s\n", error.what());
      _exit(static_cast<int>(Code::internal));
    }
  }
  _exit(137);
}

namespace {

/// Counts one operation. True if it is the one to fail, with errno set.
/// Ends the process if this is the one it must die at, after `half`.
template <class Half>
bool fails(const Half& half) {
  State& s = state();
  const int64_t number = ++s.done;
  if (s.injection.at == 0 || number != s.injection.at) return false;
  if (s.injection.fault == Fault::kill || s.injection.fault == Fault::powercut) {
    half();
    ops::die_now();
  }
  const bool full = s.injection.fault == Fault::enospc;
  if (full) half();
  errno = full ? ENOSPC : EIO;
  return true;
}

/// The system call between what the journal notes before and after it. All under one lock, so that a
/// power cut in one thread finds no half-noted operation of another.
template <class Half, class Call>
int counted(const Half& half, const Call& call) {
  State& s = state();
  if (!s.journal) return fails(half) ? -1 : call(nullptr);
  const std::scoped_lock lock(s.mutex);
  return fails(half) ? -1 : call(s.journal.get());
}

template <class Call>
int counted(const Call& call) {
  return counted([] {}, call);
}

int write_whole(int fd, const char* data, size_t size) {
  while (size > 0) {
    const ssize_t n = ::write(fd, data, size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -1;
    if (n == 0) {
      errno = ENOSPC;
      return -1;
    }
    data += n;
    size -= static_cast<size_t>(n);
  }
  return 0;
}

constexpr int kFlags = O_RDWR | O_CREAT | O_CLOEXEC;

/// fsync, but where a death is armed: no death of a process asks the real disk, and tests that try each
/// operation would wait for it.
int really_sync(int fd) {
  const Injection& injection = state().injection;
  const bool death = injection.fault == Fault::kill || injection.fault == Fault::powercut;
  return injection.at > 0 && death ? 0 : fsync(fd);
}

int open_noted(Journal* journal, const std::string& path, int flags) {
  if (!journal) return ::open(path.c_str(), flags, 0666);
  struct stat info {};
  const bool is_new = stat(path.c_str(), &info) != 0;
  const int fd = ::open(path.c_str(), flags & ~O_TRUNC, 0666);
  if (fd < 0) return fd;
  if (is_new) journal->created(path);
  if ((flags & O_TRUNC) == 0) return fd;
  journal->will_truncate(fd, 0);
  if (ftruncate(fd, 0) == 0) return fd;
  const int problem = errno;
  close(fd);
  errno = problem;
  return -1;
}

}  // namespace

namespace ops {

int open_create(const std::string& path) {
  return counted([&](Journal* journal) { return open_noted(journal, path, kFlags | O_TRUNC); });
}

int open_append(const std::string& path) {
  return counted([&](Journal* journal) { return open_noted(journal, path, kFlags | O_APPEND); });
}

int write(int fd, const char* data, size_t size) {
  const auto half = [&] {
    if (state().journal) state().journal->will_append(fd);
    (void)write_whole(fd, data, size / 2);
  };
  return counted(half, [&](Journal* journal) {
    if (journal) journal->will_append(fd);
    return write_whole(fd, data, size);
  });
}

int truncate(int fd, long long size) {
  return counted([&](Journal* journal) {
    if (journal) journal->will_truncate(fd, size);
    return ftruncate(fd, size);
  });
}

int sync(int fd) {
  return counted([&](Journal* journal) {
    const int result = really_sync(fd);
    if (journal && result == 0) journal->synced(fd);
    return result;
  });
}

int sync_directory(const std::string& path) {
  return counted([&](Journal* journal) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return -1;
    int result = really_sync(fd);
    if (result != 0 && errno == EINVAL) result = 0;  // file systems that need no fsync of directories
    const int problem = errno;
    if (journal && result == 0) journal->synced_directory(fd);
    close(fd);
    errno = problem;
    return result;
  });
}

int rename(const std::string& from, const std::string& to) {
  return counted([&](Journal* journal) {
    if (!journal) return ::rename(from.c_str(), to.c_str());
    journal->will_rename(from, to);
    const int result = ::rename(from.c_str(), to.c_str());
    if (result != 0) journal->forget_last();
    return result;
  });
}

namespace {
int remove_noted(const std::string& path, int (*call)(const char*)) {
  return counted([&](Journal* journal) {
    if (!journal) return call(path.c_str());
    journal->will_remove(path);
    const int result = call(path.c_str());
    if (result != 0) journal->forget_last();
    return result;
  });
}
}  // namespace

int unlink(const std::string& path) { return remove_noted(path, ::unlink); }
int rmdir(const std::string& path) { return remove_noted(path, ::rmdir); }

int mkdir(const std::string& path) {
  return counted([&](Journal* journal) {
    const int result = ::mkdir(path.c_str(), 0777);
    if (journal && result == 0) journal->made_directory(path);
    return result;
  });
}

}  // namespace ops

Injection Injection::parse(std::string_view text) {
  const auto refuse = [&](const std::string& why, const std::string& hint) -> Error {
    return {Code::usage, "'" + std::string(text) + "' injects no fault: " + why, "--inject", hint};
  };
  constexpr const char* kHint = "write io:N:kill, io:N:powercut, io:N:enospc or io:N:eio, with N from 1";
  const size_t first = text.find(':'), second = text.rfind(':');
  if (first == std::string_view::npos || second == first || text.substr(0, first) != "io") {
    throw refuse("it is not of the form io:N:fault", kHint);
  }
  Injection out;
  const std::string_view number = text.substr(first + 1, second - first - 1);
  const auto [stop, problem] = std::from_chars(number.data(), number.data() + number.size(), out.at);
  if (problem != std::errc() || stop != number.data() + number.size() || out.at < 1) {
    throw refuse("'" + std::string(number) + "' is no number of an operation", kHint);
  }
  const std::string word(text.substr(second + 1));
  const std::vector<std::string> words = {"kill", "powercut", "enospc", "eio"};
  for (size_t i = 0; i < words.size(); ++i) {
    if (word != words[i]) continue;
    out.fault = static_cast<Fault>(i);
    return out;
  }
  throw refuse("unknown fault '" + word + "'", did_you_mean(word, words, kHint));
}

void inject(const Injection& injection) {
  State& s = state();
  const std::scoped_lock lock(s.mutex);
  s.injection = injection;
  s.journal.reset();
  if (injection.at > 0 && injection.fault == Fault::powercut) s.journal = std::make_unique<Journal>();
  s.done = 0;
}

int64_t operations() { return state().done; }

}  // namespace etude::file
