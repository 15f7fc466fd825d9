#include "cli/child.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <system_error>

#include "etude/base/error.h"
#include "etude/base/file.h"

extern char** environ;

namespace etude::cli {
namespace {

constexpr const char* kParent = "ETUDE_PARENT";
constexpr int kLookMilliseconds = 100;

[[noreturn]] void fail(const std::string& what, int error) {
  throw Error(Code::io, what + ": " + std::generic_category().message(error), "",
              "fewer at once: --jobs 1, or a smaller --nproc");
}

/// As the system takes lists of texts.
std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> out;
  for (std::string& word : words) out.push_back(word.data());
  out.push_back(nullptr);
  return out;
}

/// Our own environment with these variables beside or instead.
std::vector<std::string> environment_with(const Child::Variables& variables) {
  std::vector<std::string> all;
  for (char** one = environ; *one; ++one) {
    const std::string text = *one;
    if (!variables.count(text.substr(0, text.find('=')))) all.push_back(text);
  }
  for (const auto& [name, value] : variables) all.push_back(name + "=" + value);
  return all;
}

}  // namespace

Child::Child(const std::vector<std::string>& arguments, const std::string& errors_file, const Variables& variables,
             Listener listener)
    : listener_(std::move(listener)) {
  std::vector<std::string> words = {"etude"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) fail("no pipe for a run", errno);
  pipe_ = ends[0];
  // Waiting threads of one run must not spin on the cores of the others.
  setenv("OMP_WAIT_POLICY", "passive", 0);
  setenv(kParent, std::to_string(getpid()).c_str(), 1);
  std::vector<std::string> environment = environment_with(variables);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, errors_file.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  // A group of its own: Ctrl-C on the terminal reaches us alone, and we pass it on once.
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  posix_spawnattr_setpgroup(&attributes, 0);
  const int error = posix_spawn(&process_, "/proc/self/exe", &actions, &attributes, pointers(words).data(),
                                pointers(environment).data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  close(ends[1]);
  if (error != 0) {
    close(pipe_);
    fail("a run could not be started", error);
  }
}

Child::~Child() {
  if (pipe_ >= 0) close(pipe_);
  if (process_ > 0) {
    interrupt();
    waitpid(process_, nullptr, 0);
  }
}

void Child::interrupt() const {
  if (process_ > 0) kill(process_, SIGINT);
}

void Child::end_now() const {
  if (process_ > 0) kill(process_, SIGKILL);
}

void Child::read_lines() {
  char buffer[4096];
  for (ssize_t n; (n = read(pipe_, buffer, sizeof buffer)) > 0;) rest_.append(buffer, static_cast<size_t>(n));
  size_t begin = 0;
  for (size_t end; (end = rest_.find('\n', begin)) != std::string::npos; begin = end + 1) {
    const auto line = nlohmann::json::parse(rest_.begin() + static_cast<std::ptrdiff_t>(begin),
                                            rest_.begin() + static_cast<std::ptrdiff_t>(end), nullptr, false);
    if (!line.is_object()) continue;
    if (listener_) listener_(line);
    if (line.value("event", "") != "progress") continue;
    const auto number = [&](const char* key) {
      const auto it = line.find(key);
      return it != line.end() && it->is_number() ? it->get<double>() : 0.0;
    };
    heard_ = {number("step"), number("done"), number("of"), number("loss"), number("eta_seconds"), true};
  }
  rest_.erase(0, begin);
}

std::optional<int> Child::poll() {
  int how = 0;
  const bool ended = waitpid(process_, &how, WNOHANG) == process_;
  read_lines();
  if (!ended) return std::nullopt;
  process_ = -1;
  return WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
}

void leave_with_parent() {
  const char* const parent = std::getenv(kParent);
  if (!parent) return;
  prctl(PR_SET_PDEATHSIG, SIGINT);
  // It may have died before the request was made.
  if (std::to_string(getppid()) != parent) raise(SIGINT);
}

void wait_for_any(const std::vector<const Child*>& children) {
  std::vector<pollfd> pipes;
  for (const Child* child : children) pipes.push_back({child->pipe(), POLLIN, 0});
  // A pipe whose writer has just died is ready for ever until its process is collected: don't spin on it.
  const int ready = ::poll(pipes.data(), pipes.size(), kLookMilliseconds);
  if (ready > 0 && std::any_of(pipes.begin(), pipes.end(), [](const pollfd& p) { return (p.revents & POLLHUP) != 0; }))
    ::poll(nullptr, 0, 10);
}

std::string Reported::text() const {
  return (code.empty() ? "" : code + ": ") + message + (where.empty() ? "" : " (" + where + ")") +
         (hint.empty() ? "" : "\nhint: " + hint);
}

Reported reported_error(const std::string& errors_file) {
  const std::string all = file::exists(errors_file) ? file::read(errors_file) : "";
  Reported last;
  std::string plain;
  for (size_t begin = 0; begin < all.size();) {
    const size_t end = std::min(all.find('\n', begin), all.size());
    const std::string line = all.substr(begin, end - begin);
    begin = end + 1;
    const auto message = nlohmann::json::parse(line, nullptr, false);
    if (!message.is_object())
      plain += (plain.empty() ? "" : "\n") + line;
    else if (message.value("level", "") == "error")
      last = {message.value("code", "error"), message.value("message", ""), message.value("where", ""),
              message.value("hint", "")};
  }
  if (last.code.empty()) last.message = plain.empty() ? "it said nothing" : plain;
  return last;
}

}  // namespace etude::cli
