#include "cli/machine.h"

#include <algorithm>
#include <fstream>
#include <limits>

#include "etude/base/text.h"

namespace etude::cli {
namespace {

/// A line of /proc/cpuinfo or /proc/meminfo: what stands behind the colon.
std::string proc_line(const char* path, const std::string& key) {
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);)
    if (line.starts_with(key))
      if (const size_t colon = line.find(':'); colon != std::string::npos)
        return std::string(trim(line.substr(colon + 1)));
  return "";
}

double memory(const std::string& key) {
  const std::string line = proc_line("/proc/meminfo", key);
  double kilobytes = 0;
  parse_number(line.substr(0, line.find(' ')), kilobytes);
  return kilobytes * 1024;
}

/// A number of the control group; infinity where there is none.
double group(const std::string& name) {
  std::ifstream in("/sys/fs/cgroup/" + name);
  std::string text;
  double bytes = 0;
  return std::getline(in, text) && parse_number(text, bytes) ? bytes : std::numeric_limits<double>::infinity();
}

}  // namespace

double total_memory() { return std::min(memory("MemTotal"), group("memory.max")); }

double free_memory() {
  const double limit = group("memory.max"), used = group("memory.current");
  const double within_group = limit < std::numeric_limits<double>::infinity() ? limit - used : limit;
  return std::max(0.0, std::min(memory("MemAvailable"), within_group));
}

std::string best_instruction_set() {
  const std::string flags = " " + proc_line("/proc/cpuinfo", "flags") + " ";
  for (const auto& [flag, name] : {std::pair{"amx_bf16", "AVX512 with AMX bfloat16"},
                                   {"avx512_bf16", "AVX512 with bfloat16"},
                                   {"avx512f", "AVX512"},
                                   {"avx2", "AVX2"}})
    if (flags.find(std::string(" ") + flag + " ") != std::string::npos) return name;
  return "none beyond the default";
}

}  // namespace etude::cli
