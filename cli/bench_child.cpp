#include "cli/bench_child.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <system_error>

#include "cli/commands.h"
#include "etude/base/error.h"
#include "etude/base/file.h"

extern char** environ;

namespace etude::cli {
namespace {

constexpr int kLookMilliseconds = 100;
constexpr size_t kShownErrors = 2000;

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> out;
  for (std::string& word : words) out.push_back(word.data());
  out.push_back(nullptr);
  return out;
}

/// Ours, but for what would treat one side of the comparison in another way than the other.
std::vector<std::string> environment_with(const BenchChild::Variables& variables) {
  std::vector<std::string> all;
  for (char** one = environ; *one; ++one) {
    const std::string text = *one, name = text.substr(0, text.find('='));
    const bool about_threads = name.starts_with("OMP_") || name.starts_with("GOMP_") || name.starts_with("KMP_") ||
                               name.starts_with("MKL_") || name == "LD_PRELOAD";
    if (!about_threads && !variables.count(name)) all.push_back(text);
  }
  for (const auto& [name, value] : variables) all.push_back(name + "=" + value);
  return all;
}

struct Pipe {
  int read = -1, write = -1;
  Pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
      throw Error(Code::io, "no pipe for a process: " + std::generic_category().message(errno), "",
                  "close some programs and try again");
    read = ends[0];
    write = ends[1];
  }
};

}  // namespace

BenchChild::BenchChild(std::string name, const std::vector<std::string>& program, const Variables& variables,
                       std::string errors_file)
    : name_(std::move(name)), errors_file_(std::move(errors_file)) {
  const Pipe in, out;
  to_ = in.write;
  from_ = out.read;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in.read, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out.write, STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, errors_file_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  // A group of its own: Ctrl-C reaches us alone, and what it has started ends with it.
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  posix_spawnattr_setpgroup(&attributes, 0);
  std::vector<std::string> words = program, environment = environment_with(variables);
  const int error = posix_spawnp(&process_, words.front().c_str(), &actions, &attributes, pointers(words).data(),
                                 pointers(environment).data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  close(in.read);
  close(out.write);
  if (error == 0) return;
  close(to_);
  close(from_);
  throw Error(Code::io,
              name_ + ": '" + words.front() + "' can't be started: " + std::generic_category().message(error));
}

BenchChild::~BenchChild() {
  close(to_);
  close(from_);
  kill(-process_, SIGKILL);  // it has nothing to save
  waitpid(process_, nullptr, 0);
}

nlohmann::json BenchChild::ask(const nlohmann::json& request) {
  tell(request);
  return hear();
}

void BenchChild::tell(const nlohmann::json& request) {
  const std::string line = request.dump() + "\n";
  for (size_t sent = 0; sent < line.size();) {
    const ssize_t n = write(to_, line.data() + sent, line.size() - sent);
    if (n < 0 && errno != EINTR) fail();
    sent += n > 0 ? static_cast<size_t>(n) : 0;
  }
}

nlohmann::json BenchChild::hear() {
  while (true) {
    for (size_t end; (end = rest_.find('\n')) != std::string::npos;) {
      nlohmann::json answer = nlohmann::json::parse(rest_.substr(0, end), nullptr, false);
      rest_.erase(0, end + 1);
      if (answer.is_object()) return answer;
    }
    if (interrupted()) throw Error(Code::interrupted, "interrupted: nothing was written");
    pollfd pipe{from_, POLLIN, 0};
    if (::poll(&pipe, 1, kLookMilliseconds) <= 0) continue;
    char buffer[1 << 14];
    const ssize_t n = read(from_, buffer, sizeof buffer);
    if (n == 0 || (n < 0 && errno != EINTR)) fail();
    if (n > 0) rest_.append(buffer, static_cast<size_t>(n));
  }
}

void BenchChild::fail() {
  std::string said = file::exists(errors_file_) ? file::read(errors_file_) : "";
  if (said.size() > kShownErrors) said = "..." + said.substr(said.size() - kShownErrors);
  while (said.ends_with('\n')) said.pop_back();
  throw Error(Code::io, name_ + " ended before it answered" + (said.empty() ? "" : "; it said:\n" + said));
}

}  // namespace etude::cli
