#pragma once
// Runs as processes of their own: started from our own program, heard through a pipe, ended with us.

#include <sys/types.h>

#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace etude::cli {

/// What a run said last.
struct Heard {
  double step = 0, done = 0, of = 0, loss = 0, eta_seconds = 0;
  bool any = false;  ///< false: nothing yet
};

/// One child process. Messages of its standard error go to a file.
class Child {
 public:
  using Variables = std::map<std::string, std::string>;
  /// Called with each line that it writes, during poll().
  using Listener = std::function<void(const nlohmann::json&)>;

  /// Starts `etude ARGUMENTS...`, with variables beside or instead of those of our own environment. Errors: Code::io
  /// when no process or pipe can be had.
  Child(const std::vector<std::string>& arguments, const std::string& errors_file, const Variables& variables = {},
        Listener listener = {});
  ~Child();
  Child(const Child&) = delete;

  /// Takes what it wrote since; returns its exit code (128 + signal if one killed it) once it has ended.
  std::optional<int> poll();
  void interrupt() const;  ///< save and leave
  void end_now() const;    ///< SIGKILL
  const Heard& heard() const { return heard_; }
  int pipe() const { return pipe_; }

 private:
  void read_lines();
  pid_t process_ = -1;
  int pipe_ = -1;
  std::string rest_;  ///< a line whose end hasn't come yet
  Heard heard_;
  Listener listener_;
};

/// Sleeps until one of them says something or ends, or a moment.
void wait_for_any(const std::vector<const Child*>& children);

/// In a child: asks the kernel for an interrupt when the process that started it dies.
void leave_with_parent();

/// The last error in a child's errors file. What stands there if it is none of ours is all message, without a code.
struct Reported {
  std::string code, message, where, hint;
  std::string text() const;
};
Reported reported_error(const std::string& errors_file);

}  // namespace etude::cli
