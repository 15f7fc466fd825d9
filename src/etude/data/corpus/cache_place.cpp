#include "etude/data/corpus/cache_place.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "etude/base/error.h"
#include "etude/base/file.h"
#include "etude/base/log.h"
#include "etude/data/sets.h"

namespace etude::corpus {
namespace {

void warn_once(const std::string& why, const std::string& cost) {
  static std::atomic<bool> warned = false;
  if (!warned.exchange(true)) warn(why + ": " + cost + "; ETUDE_CACHE names another folder");
}

}  // namespace

std::string cache_folder(const std::string& part, const std::string& cost) {
  const std::string cache = cache_directory();
  if (cache.empty()) {
    warn_once("there is no home to keep things in", cost);
    return "";
  }
  const std::string folder = cache + "/" + part;
  try {
    file::make_directories(folder);
  } catch (const Error& error) {
    warn_once(error.message(), cost);
    return "";
  }
  if (access(folder.c_str(), W_OK | X_OK) == 0) return folder;
  warn_once("nothing can be written into '" + folder + "'", cost);
  return "";
}

struct BuildLock::Held {
  explicit Held(const std::string& path) : lock(path) {}
  file::Lock lock;
};

BuildLock::BuildLock(const std::string& path, const std::string& about) {
  using std::chrono::milliseconds;
  for (auto pause = milliseconds(10);; pause = std::min(2 * pause, milliseconds(500))) {
    try {
      held_ = std::make_unique<Held>(path);
      return;
    } catch (const Error& error) {
      if (error.code() != Code::checkpoint) {
        note("'" + path + "' can't be locked: " + error.message());
        return;
      }
      // The kernel frees the lock of a process that dies, so this ends.
      if (pause == milliseconds(10)) inform("waiting for another process with " + about + ": " + error.message());
    }
    std::this_thread::sleep_for(pause);
  }
}

BuildLock::~BuildLock() = default;

}  // namespace etude::corpus
