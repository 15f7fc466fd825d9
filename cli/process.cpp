#include "cli/process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <map>
#include <optional>
#include <system_error>

#include "etude/base/error.h"

extern char** environ;

namespace etude::cli {
namespace {

constexpr int kLookMilliseconds = 100;
constexpr size_t kMostOutput = size_t{512} << 20;

/// Both ends of a pipe; closed with it.
struct Pipe {
  int ends[2] = {-1, -1};
  Pipe() {
    if (pipe2(ends, O_CLOEXEC) != 0)
      throw Error(Code::io, "no pipe for a program: " + std::generic_category().message(errno), "",
                  "close some programs and try again");
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
  }
  ~Pipe() {
    close(0);
    close(1);
  }
  Pipe(const Pipe&) = delete;
  void close(int end) {
    if (ends[end] >= 0) ::close(ends[end]);
    ends[end] = -1;
  }
  /// Takes what is there; closed once the writers have closed theirs.
  void take(std::string& into) {
    char buffer[1 << 16];
    ssize_t n = -1;
    while (ends[0] >= 0 && (n = read(ends[0], buffer, sizeof buffer)) > 0) into.append(buffer, static_cast<size_t>(n));
    if (n == 0) close(0);
  }
};

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> out;
  for (std::string& word : words) out.push_back(word.data());
  out.push_back(nullptr);
  return out;
}

std::vector<std::string> english_environment() {
  std::vector<std::string> all;
  for (char** one = environ; *one; ++one)
    if (const std::string text = *one; !text.starts_with("LC_") && !text.starts_with("LANG")) all.push_back(text);
  all.emplace_back("LC_ALL=C.UTF-8");
  all.emplace_back("DEBIAN_FRONTEND=noninteractive");
  return all;
}

/// A process that is ended and collected if it is still there at the end.
class Process {
 public:
  Process(std::vector<std::string> words, const std::string& folder, const Pipe& out, const Pipe& errors,
          const std::string& missing) {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    if (!folder.empty()) posix_spawn_file_actions_addchdir_np(&actions, folder.c_str());
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, out.ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, errors.ends[1], STDERR_FILENO);
    // A group of its own: Ctrl-C on the terminal reaches us alone, and we end it in order.
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setpgroup(&attributes, 0);
    std::vector<std::string> environment = english_environment();
    const int error = posix_spawnp(&id_, words.front().c_str(), &actions, &attributes, pointers(words).data(),
                                   pointers(environment).data());
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (error == 0) return;
    id_ = -1;
    throw Error(Code::io, "'" + words.front() + "' can't be started: " + std::generic_category().message(error), "PATH",
                error == ENOENT ? missing : "its permissions may forbid it, or memory is short");
  }
  ~Process() {
    if (id_ <= 0) return;
    kill(-id_, SIGTERM);
    for (int i = 0; i < 50; ++i) {
      if (waitpid(id_, nullptr, WNOHANG) == id_) return;
      ::poll(nullptr, 0, kLookMilliseconds);
    }
    kill(-id_, SIGKILL);
    waitpid(id_, nullptr, 0);
  }
  Process(const Process&) = delete;

  /// Its exit code once it has ended.
  std::optional<int> code() {
    int how = 0;
    if (waitpid(id_, &how, WNOHANG) != id_) return std::nullopt;
    id_ = -1;
    return WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
  }

 private:
  pid_t id_ = -1;
};

}  // namespace

Ended run_program(const std::vector<std::string>& words, const std::string& folder,
                  const std::function<void()>& meanwhile, const std::string& missing) {
  Pipe out, errors;
  Process process(words, folder, out, errors, missing);
  out.close(1);
  errors.close(1);
  Ended ended;
  while (true) {
    const std::optional<int> code = process.code();
    out.take(ended.out);
    errors.take(ended.errors);
    if (ended.out.size() + ended.errors.size() > kMostOutput)
      throw Error(Code::io, "'" + words.front() + "' writes without end", "", "run it by hand to see what it says");
    if (code) {
      ended.code = *code;
      return ended;
    }
    meanwhile();
    pollfd pipes[] = {{out.ends[0], POLLIN, 0}, {errors.ends[0], POLLIN, 0}};
    // Closed ones (-1) are passed over; with both closed this is a plain sleep.
    ::poll(pipes, 2, kLookMilliseconds);
  }
}

}  // namespace etude::cli
