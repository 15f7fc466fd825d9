#include "etude/tensor/paths.h"

#include <atomic>
#include <mutex>

namespace etude {
namespace {

std::atomic<bool> watched{false};
std::mutex guard;
std::map<std::string, std::map<std::string, int64_t>>& counts() {
  static std::map<std::string, std::map<std::string, int64_t>> all;
  return all;
}

}  // namespace

void took_path(const char* op, const char* path) {
  if (!watched.load(std::memory_order_relaxed)) return;
  const std::lock_guard lock(guard);
  ++counts()[op][path];
}

void watch_paths(bool on) {
  const std::lock_guard lock(guard);
  if (on) counts().clear();
  watched = on;
}

std::map<std::string, std::map<std::string, int64_t>> paths_taken() {
  const std::lock_guard lock(guard);
  return counts();
}

}  // namespace etude
