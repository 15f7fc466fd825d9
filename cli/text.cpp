#include <sys/ioctl.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>

#include "cli/commands.h"
#include "etude/base/text.h"

namespace etude::cli {
namespace {

std::string with_unit(double x, double step, const char* const* units, int n) {
  int unit = 0;
  while (std::abs(x) >= step && unit + 1 < n) {
    x /= step;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, std::abs(x) < 10 && unit > 0 ? "%.1f%s" : "%.0f%s", x, units[unit]);
  return text;
}

}  // namespace

std::string human_time(double seconds) {
  char text[48];
  if (seconds < 59.5) {
    std::snprintf(text, sizeof text, seconds < 10 ? "%.1f s" : "%.0f s", seconds);
  } else if (const double whole = std::round(seconds); whole < 3600) {
    std::snprintf(text, sizeof text, "%.0f min %.0f s", std::floor(whole / 60), std::fmod(whole, 60));
  } else {
    const double minutes = std::round(seconds / 60);
    std::snprintf(text, sizeof text, "%.0f h %.0f min", std::floor(minutes / 60), std::fmod(minutes, 60));
  }
  return text;
}

std::string human_bytes(double bytes) {
  static const char* const units[] = {" B", " KiB", " MiB", " GiB", " TiB"};
  return with_unit(bytes, 1024, units, 5);
}

std::string human_count(double count) {
  static const char* const units[] = {"", "k", "M", "G", "T", "P"};
  return with_unit(count, 1000, units, 6);
}

std::string padded(const std::string& text, int width) {
  const int missing = width - columns(text);
  return missing > 0 ? text + std::string(static_cast<size_t>(missing), ' ') : text;
}

std::string wrapped(const std::string& text, int indent, int width) {
  std::string out;
  int column = indent;
  for (size_t begin = text.find_first_not_of(" \n"); begin != std::string::npos;) {
    const size_t end = std::min(text.find_first_of(" \n", begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    const int length = columns(word);
    if (!out.empty() && column + 1 + length > width) {
      out += "\n" + std::string(static_cast<size_t>(indent), ' ');
      column = indent;
    } else if (!out.empty()) {
      out += ' ';
      ++column;
    }
    out += word;
    column += length;
    begin = text.find_first_not_of(" \n", end);
  }
  return out;
}

int output_width() {
  winsize size{};
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

}  // namespace etude::cli
