#pragma once
// Messages for people, on standard error. Results go to standard output, metrics to the run's files.

#include <string>
#include <string_view>

namespace etude {

enum class Verbosity { quiet, normal, verbose };

struct LogSettings {
  Verbosity verbosity = Verbosity::normal;
  bool json = false;       ///< one JSON object a line
  bool colour = true;      ///< honoured only on a terminal and without NO_COLOR
  std::string file;        ///< also appended here (a run's log.txt); empty: nowhere
};
void set_log(const LogSettings& settings);
const LogSettings& log_settings();
/// Adds a file to which every message also goes; "" stops that.
void set_log_file(const std::string& path);

void note(std::string_view message);     ///< verbose only
void inform(std::string_view message);
void warn(std::string_view message);
void report_error(const class Error& error);

/// The one live line: on a terminal it is redrawn in place (at most 10 times a second), in a pipe it
/// becomes a plain line at most every `plain_every_seconds`; with --quiet nothing.
class LiveLine {
 public:
  explicit LiveLine(double plain_every_seconds = 10);
  ~LiveLine();
  void show(std::string_view text);
  void finish(std::string_view text = {});  ///< last state on a line of its own

 private:
  double every_, last_ = -1e9;
  bool dirty_ = false;
};

/// True when standard error is a terminal that understands cursor movement.
bool on_terminal();

}  // namespace etude
