#pragma once
// Runs as processes of their own: started from our own program, heard through a pipe, ended with us.

#include <sys/types.h>

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
  /// Starts `etude ARGUMENTS...`. Errors: Code::io when no process or pipe can be had.
  Child(const std::vector<std::string>& arguments, const std::string& errors_file);
  ~Child();
  Child(const Child&) = delete;

  /// Takes what it wrote since; returns its exit code (128 + signal if one killed it) once it has ended.
  std::optional<int> poll();
  void interrupt() const;  ///< save and leave
  const Heard& heard() const { return heard_; }
  int pipe() const { return pipe_; }

 private:
  void read_lines();
  pid_t process_ = -1;
  int pipe_ = -1;
  std::string rest_;  ///< a line whose end hasn't come yet
  Heard heard_;
};

/// In a child: asks the kernel for an interrupt when the process that started it dies.
void leave_with_parent();

/// The error that a child reported in its errors file, as text: message, place, hint; what stands there if it is
/// none of ours.
std::string reported_error(const std::string& errors_file);

}  // namespace etude::cli
