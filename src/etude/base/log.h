#pragma once
// Messages for people, on standard error. Results go to standard output, metrics to the run's files.
// Nobody may be listening (a closed pipe, a closed stream, a full log): that never stops a run. Control
// characters and bytes that are not UTF-8 are shown as '?'. All functions may be called by any thread;
// settings are changed only while no other thread writes.

#include <string>
#include <string_view>

namespace etude {

enum class Verbosity { quiet, normal, verbose };

/// To be called first in main(); set_log() does it too. Ignores SIGPIPE, so that writing to a closed pipe
/// is an error like others, and puts /dev/null in place of standard streams that are closed, so that no
/// file of a run gets their number.
void guard_standard_streams();

struct LogSettings {
  Verbosity verbosity = Verbosity::normal;
  bool json = false;   ///< one JSON object a line: time, level, message, for errors code, where, hint
  bool colour = true;  ///< honoured only on a terminal and without NO_COLOR
  std::string file{};  ///< also appended here (a run's log.txt); empty: nowhere
};
/// Errors: Code::io if the file can't be opened.
void set_log(const LogSettings& settings);
const LogSettings& log_settings();
/// Names the file to which every message also goes, notes too; "" stops that. Errors: Code::io.
void set_log_file(const std::string& path);

void note(std::string_view message);    ///< shown when verbose
void inform(std::string_view message);  ///< shown unless quiet
void warn(std::string_view message);    ///< always shown, as errors are
void report_error(const class Error& error);

/// The one live line: on a terminal it is redrawn in place (at most 10 times a second), in a pipe it
/// becomes a plain line at most every `plain_every_seconds` (with --json a JSON object); with --quiet
/// nothing. It is cut to the terminal's width; other messages move it down. One at a time.
class LiveLine {
 public:
  explicit LiveLine(double plain_every_seconds = 10);
  ~LiveLine();
  LiveLine(const LiveLine&) = delete;
  void show(std::string_view text);
  void finish(std::string_view text = {});  ///< last state on a line of its own

 private:
  void write_plain() const;
  double every_, last_ = -1e9;
  bool dirty_ = false;  ///< the last text isn't on a line of its own yet
  std::string text_;
};

/// True when standard error is a terminal that understands cursor movement.
bool on_terminal();

}  // namespace etude
