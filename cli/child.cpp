#include "cli/child.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <system_error>

#include "etude/base/error.h"
#include "etude/base/file.h"

extern char** environ;

namespace etude::cli {
namespace {

constexpr const char* kParent = "ETUDE_PARENT";

[[noreturn]] void fail(const std::string& what, int error) {
  throw Error(Code::io, what + ": " + std::generic_category().message(error), "", "fewer runs at once: --jobs 1");
}

}  // namespace

Child::Child(const std::vector<std::string>& arguments, const std::string& errors_file) {
  std::vector<std::string> words = {"etude"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) fail("no pipe for a run", errno);
  pipe_ = ends[0];
  // Waiting threads of one run must not spin on the cores of the others.
  setenv("OMP_WAIT_POLICY", "passive", 0);
  setenv(kParent, std::to_string(getpid()).c_str(), 1);
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
  const int error = posix_spawn(&process_, "/proc/self/exe", &actions, &attributes, argv.data(), environ);
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

void Child::read_lines() {
  char buffer[4096];
  for (ssize_t n; (n = read(pipe_, buffer, sizeof buffer)) > 0;) rest_.append(buffer, static_cast<size_t>(n));
  size_t begin = 0;
  for (size_t end; (end = rest_.find('\n', begin)) != std::string::npos; begin = end + 1) {
    const auto line = nlohmann::json::parse(rest_.begin() + static_cast<std::ptrdiff_t>(begin),
                                            rest_.begin() + static_cast<std::ptrdiff_t>(end), nullptr, false);
    if (!line.is_object() || line.value("event", "") != "progress") continue;
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

std::string reported_error(const std::string& errors_file) {
  const std::string all = file::exists(errors_file) ? file::read(errors_file) : "";
  std::string text;
  for (size_t begin = 0; begin < all.size();) {
    const size_t end = std::min(all.find('\n', begin), all.size());
    const std::string line = all.substr(begin, end - begin);
    begin = end + 1;
    const auto message = nlohmann::json::parse(line, nullptr, false);
    if (!message.is_object()) {
      text += (text.empty() ? "" : "\n") + line;
      continue;
    }
    if (message.value("level", "") != "error") continue;
    text = message.value("code", "error") + ": " + message.value("message", "");
    if (const auto where = message.value("where", ""); !where.empty()) text += " (" + where + ")";
    if (const auto hint = message.value("hint", ""); !hint.empty()) text += "\nhint: " + hint;
  }
  return text.empty() ? "it said nothing" : text;
}

}  // namespace etude::cli
