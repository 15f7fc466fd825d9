#include "etude/base/mapped_file.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <mutex>

#include "etude/base/error.h"
#include "etude/base/file_ops.h"

namespace etude::file {
namespace {

/// A mapping as the handler of SIGBUS sees it. `begin` is 0 in a slot that is free, 1 in one that is being filled.
struct Slot {
  std::atomic<uintptr_t> begin = 0, end = 0;  ///< whole pages
  std::atomic<bool> lost = false;
};
static_assert(std::atomic<uintptr_t>::is_always_lock_free && std::atomic<bool>::is_always_lock_free,
              "a signal handler may wait for nobody");

constexpr size_t kMostMappings = 4096;
std::array<Slot, kMostMappings> slots;
uintptr_t page_size = 0;
struct sigaction previous;

/// Puts zeros in the place of the missing part, from the page of `address` on. False if no mapping of ours is there.
bool replace_missing(uintptr_t address) {
  for (Slot& slot : slots) {
    const uintptr_t begin = slot.begin, end = slot.end;
    if (begin <= 1 || address < begin || address >= end) continue;
    slot.lost = true;  // before anybody can read a zero
    const uintptr_t page = address & ~(page_size - 1);
    void* const zeros = mmap(reinterpret_cast<void*>(page), end - page, PROT_READ,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    return zeros != MAP_FAILED;
  }
  return false;
}

/// What the signal would have done without us.
void pass_on(int number, siginfo_t* info, void* context) {
  if ((previous.sa_flags & SA_SIGINFO) != 0) return previous.sa_sigaction(number, info, context);
  const bool sent = info->si_code <= 0;  // by kill(2), not by an instruction
  if (previous.sa_handler == SIG_IGN && sent) return;
  if (previous.sa_handler != SIG_IGN && previous.sa_handler != SIG_DFL) return previous.sa_handler(number);
  sigaction(number, &previous, nullptr);
  if (sent) raise(number);  // an instruction fails again by itself
}

void on_bus_error(int number, siginfo_t* info, void* context) {
  const int problem = errno;
  const bool ours = info->si_code > 0 && replace_missing(reinterpret_cast<uintptr_t>(info->si_addr));
  if (!ours) pass_on(number, info, context);
  errno = problem;
}

void handle_bus_errors() {
  static std::once_flag once;
  std::call_once(once, [] {
    page_size = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
    struct sigaction action {};
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, nullptr, &previous);
    sigaction(SIGBUS, &action, nullptr);
  });
}

Slot* claim(uintptr_t begin, uintptr_t end) {
  for (Slot& slot : slots) {
    uintptr_t unused = 0;
    if (!slot.begin.compare_exchange_strong(unused, 1)) continue;
    slot.lost = false;
    slot.end = end;
    slot.begin = begin;
    return &slot;
  }
  return nullptr;
}

}  // namespace

struct Mapped::Region {
  explicit Region(const std::string& name) : path(name), fd(ops::open_regular(name)) {}
  ~Region() {
    if (slot) slot->begin = 0;
    if (data) munmap(data, size);
    close(fd);
  }
  Region(const Region&) = delete;

  std::string path;
  int fd;  ///< stays open, to ask how long the file is now
  void* data = nullptr;
  size_t size = 0;
  Slot* slot = nullptr;
};

Mapped::Mapped(const std::string& path, Access access) : region_(std::make_unique<Region>(path)) {
  handle_bus_errors();
  Region& region = *region_;
  struct stat info {};
  if (fstat(region.fd, &info) != 0) throw ops::failure("look at", path, errno);
  if (info.st_size == 0) return;
  const auto size = static_cast<size_t>(info.st_size);
  void* const data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, region.fd, 0);
  if (data == MAP_FAILED) {
    const int problem = errno;
    if (problem != ENOMEM) throw ops::failure("map", path, problem);
    throw Error(Code::io, "there is no room to map the " + std::to_string(size) + " bytes of '" + path + "'", path,
                "allow the process more addresses: see ulimit -v");
  }
  region.data = data;
  region.size = size;
  const auto begin = reinterpret_cast<uintptr_t>(data);
  region.slot = claim(begin, begin + (size + page_size - 1) / page_size * page_size);
  if (!region.slot) {
    throw Error(Code::io, "more than " + std::to_string(kMostMappings) + " files are mapped at once", path,
                "use fewer and larger files");
  }
  madvise(data, size, access == Access::sequential ? MADV_SEQUENTIAL : MADV_RANDOM);
}

Mapped::~Mapped() = default;

std::string_view Mapped::bytes() const { return {static_cast<const char*>(region_->data), region_->size}; }

const std::string& Mapped::path() const { return region_->path; }

void Mapped::require_whole() const {
  const Region& region = *region_;
  struct stat info {};
  if (fstat(region.fd, &info) != 0) throw ops::failure("look at", region.path, errno);
  // The rest of the last page reads as zeros without a signal.
  const bool shorter = static_cast<size_t>(info.st_size) < region.size;
  if (!shorter && !(region.slot && region.slot->lost)) return;
  throw Error(Code::io,
              shorter ? "the file shrank from " + std::to_string(region.size) + " to " + std::to_string(info.st_size) +
                            " bytes while it was in use"
                      : "a part of the file could not be read, or was gone for a while",
              region.path, "let nobody change files that a run reads; look at the disk, and start again");
}

void Mapped::will_need(size_t begin, size_t size) const {
  const Region& region = *region_;
  if (begin >= region.size) return;
  const size_t page = begin / page_size * page_size;
  const size_t end = begin + std::min(size, region.size - begin);
  madvise(static_cast<char*>(region.data) + page, end - page, MADV_WILLNEED);
}

}  // namespace etude::file
