#include "etude/base/log.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <mutex>
#include <system_error>

#include "etude/base/config.h"
#include "etude/base/error.h"
#include "etude/base/text.h"

namespace etude {
namespace {

constexpr double kRedrawSeconds = 0.1;
constexpr const char* kClearLine = "\r\x1b[K";

struct State {
  std::mutex mutex;
  LogSettings settings;
  int file = -1;
  std::string live;  ///< what stands on the terminal's last line
};

State& state() {
  static State* const instance = new State;  // messages may come while the process ends
  return *instance;
}

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string time_text() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

/// Writes what can be written: nobody may be listening any more, and that stops no run.
void write_out(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    text.remove_prefix(static_cast<size_t>(n));
  }
}

int terminal_width() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

enum class Level { note, info, warning, error, progress };
constexpr const char* kLevels[] = {"note", "info", "warning", "error", "progress"};

struct Message {
  Level level;
  std::string text;                              ///< printable
  std::string code = {}, where = {}, hint = {};  ///< of an error
};

std::string coloured(const std::string& text, const char* colour, bool on) {
  return on ? std::string("\x1b[") + colour + "m" + text + "\x1b[0m" : text;
}

std::string plain(const Message& m, bool colour) {
  std::string out;
  if (m.level == Level::warning) out = coloured("warning:", "33", colour) + " ";
  if (m.level == Level::error) out = coloured(m.code + ":", "1;31", colour) + " ";
  out += m.text;
  if (!m.where.empty()) out += " (" + m.where + ")";
  if (!m.hint.empty()) out += "\n" + coloured("hint:", "36", colour) + " " + m.hint;
  return out + "\n";
}

std::string json_line(const Message& m) {
  Config line = Config::table();
  line.set("time", time_text());
  line.set("level", kLevels[static_cast<int>(m.level)]);
  if (!m.code.empty()) line.set("code", m.code);
  line.set("message", m.text);
  if (!m.where.empty()) line.set("where", m.where);
  if (!m.hint.empty()) line.set("hint", m.hint);
  return to_json(line) + "\n";
}

void emit(const Message& m, bool shown) {
  State& s = state();
  const std::scoped_lock lock(s.mutex);
  if (s.file >= 0) write_out(s.file, time_text() + " " + plain(m, false));
  if (!shown) return;
  if (s.settings.json) return write_out(STDERR_FILENO, json_line(m));
  const char* const no_colour = std::getenv("NO_COLOR");
  const bool colour = s.settings.colour && on_terminal() && !(no_colour && *no_colour);
  std::string out = plain(m, colour);
  if (!s.live.empty()) out = kClearLine + out + s.live;  // the live line moves down
  write_out(STDERR_FILENO, out);
}

}  // namespace

void guard_standard_streams() {
  std::signal(SIGPIPE, SIG_IGN);
  for (int fd = 0; fd <= 2; ++fd) {
    if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
    const int null = open("/dev/null", O_RDWR);
    if (null >= 0 && null != fd) {
      dup2(null, fd);
      close(null);
    }
  }
}

void set_log(const LogSettings& settings) {
  guard_standard_streams();
  set_log_file(settings.file);
  const std::scoped_lock lock(state().mutex);
  state().settings = settings;
}

const LogSettings& log_settings() { return state().settings; }

void set_log_file(const std::string& path) {
  State& s = state();
  int file = -1;
  if (!path.empty()) {
    file = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (file < 0) {
      throw Error(Code::io, "can't write '" + path + "': " + std::generic_category().message(errno), path,
                  "choose another place with --out");
    }
  }
  const std::scoped_lock lock(s.mutex);
  if (s.file >= 0) close(s.file);
  s.file = file;
  s.settings.file = path;
}

void note(std::string_view message) {
  emit({Level::note, printable(message)}, log_settings().verbosity == Verbosity::verbose);
}

void inform(std::string_view message) {
  emit({Level::info, printable(message)}, log_settings().verbosity != Verbosity::quiet);
}

void warn(std::string_view message) { emit({Level::warning, printable(message)}, true); }

void report_error(const Error& error) {
  emit({Level::error, printable(error.message()), std::string(code_name(error.code())), printable(error.where()),
        printable(error.hint())},
       true);
}

bool on_terminal() {
  const char* const term = std::getenv("TERM");
  return isatty(STDERR_FILENO) == 1 && term && *term && std::string_view(term) != "dumb";
}

LiveLine::LiveLine(double plain_every_seconds) : every_(plain_every_seconds) {}

LiveLine::~LiveLine() {
  if (dirty_) finish();
}

void LiveLine::show(std::string_view text) {
  const LogSettings& settings = log_settings();
  if (settings.verbosity == Verbosity::quiet) return;
  text_ = printable(text);
  dirty_ = true;
  const double now = seconds_now();
  const bool redraws = !settings.json && on_terminal();
  if (now - last_ < (redraws ? kRedrawSeconds : every_)) return;
  last_ = now;
  if (!redraws) {
    dirty_ = false;
    return write_plain();
  }
  State& s = state();
  const std::scoped_lock lock(s.mutex);
  s.live = fitted(text_.substr(0, text_.find('\n')), terminal_width() - 1);
  write_out(STDERR_FILENO, kClearLine + s.live);
}

void LiveLine::finish(std::string_view text) {
  if (log_settings().verbosity == Verbosity::quiet) return;
  if (!text.empty()) {
    text_ = printable(text);
    dirty_ = true;
  }
  State& s = state();
  {
    const std::scoped_lock lock(s.mutex);
    if (!s.live.empty()) {
      write_out(STDERR_FILENO, kClearLine);
      s.live.clear();
      dirty_ = true;
    }
  }
  if (dirty_ && !text_.empty()) write_plain();
  dirty_ = false;
}

void LiveLine::write_plain() const {
  write_out(STDERR_FILENO, log_settings().json ? json_line({Level::progress, text_}) : text_ + "\n");
}

}  // namespace etude
