#include "etude/tensor/allocator.h"

#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <string>
#include <string_view>

#include "etude/base/error.h"
#include "etude/base/text.h"
#include "etude/base/torch_pch.h"
#include "etude/tensor/page_heap.h"

#include <c10/core/CPUAllocator.h>

namespace etude {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

constexpr size_t kThreadBytes = size_t{2} << 20;  // that a thread keeps in all
constexpr size_t kKindBytes = size_t{256} << 10;  // and of a kind, unless two blocks are more
constexpr size_t kMostBlocks = 64;                // of a kind
constexpr size_t kFreelyHeld = size_t{16} << 20;  // used and kept together need no bound below

constexpr size_t most_kept(size_t kind) {
  return std::clamp<size_t>(kKindBytes / small_block_bytes(kind), 2, kMostBlocks);
}

/// Free blocks of a kind, linked through their first bytes.
struct Blocks {
  void* front = nullptr;
  size_t count = 0;

  void push(void* block) {
    std::memcpy(block, &front, sizeof front);
    front = block;
    ++count;
  }
  void* pop() {
    void* const block = front;
    std::memcpy(&front, block, sizeof front);
    --count;
    return block;
  }
};

/// What a thread keeps. Without constructor or destructor, so that blocks can be freed while a thread ends.
struct OwnBlocks {
  enum class State : char { unused, used, over };
  Blocks of[kBlockKinds];
  size_t bytes;
  size_t releases;  ///< that it has followed
  State state;
};
constinit thread_local OwnBlocks own{};

class CachingAllocator final : public c10::Allocator {
 public:
  CachingAllocator();

  c10::DataPtr allocate(size_t bytes) override;
  c10::DeleterFnPtr raw_deleter() const override { return &free_block; }
  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }
  bool usable() const { return pages_.reserved() > 0; }

  TensorMemory memory();
  void reset_peak() { peak_ = used_.load(); }
  void release();
  void limit(size_t bytes);
  void hand_over(size_t kind, size_t count);
  void hand_over_all();

 private:
  static void free_block(void* block);
  void* small_block(size_t kind);
  void* large_block(size_t bytes);
  void free_small(void* block, size_t kind);
  void free_large(PageRun* run);

  // With lock_ held.
  size_t allowed_pages(size_t more) const;
  void keep_within_limit();
  PageRun* slab_with_room(size_t kind);
  void* cut(PageRun* slab);
  void put_back(void* block);

  void count(size_t bytes);
  [[noreturn]] void exhausted(size_t bytes);

  std::atomic<size_t> used_{0}, peak_{0};
  std::atomic<size_t> releases_{0};  ///< how often all kept memory was asked for
  size_t limit_;
  std::mutex lock_;  ///< of all below
  PageHeap pages_;
  PageRuns slabs_[kBlockKinds];  ///< with blocks that are free
};

/// Never destroyed: tensors in static variables are freed after everything else.
CachingAllocator& allocator() {
  static CachingAllocator* const one = new CachingAllocator;
  return *one;
}

/// Whether anything came from it yet.
std::atomic<bool> in_use{false};

/// Hands over what a thread keeps when it ends; what it frees after that goes straight to all.
struct AtThreadEnd {
  ~AtThreadEnd() {
    allocator().hand_over_all();
    own.state = OwnBlocks::State::over;
  }
};

/// False when this thread is ending.
bool keeps_blocks() {
  if (own.state == OwnBlocks::State::used) return true;
  if (own.state == OwnBlocks::State::over) return false;
  thread_local const AtThreadEnd at_end;
  static_cast<void>(&at_end);
  own.state = OwnBlocks::State::used;
  return true;
}

size_t machine_bytes() {
  return static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

CachingAllocator::CachingAllocator()
    // Twice the machine's memory in addresses: room for runs that are free but too short.
    : limit_(machine_bytes() / 4), pages_(sysconf(_SC_PAGESIZE) == kPageBytes ? 2 * machine_bytes() / kPageBytes : 0) {
  in_use = true;
  // A process that forks while another thread is inside would leave the child a lock that nobody opens.
  pthread_atfork([] { allocator().lock_.lock(); }, [] { allocator().lock_.unlock(); },
                 [] { allocator().lock_.unlock(); });
}

c10::DataPtr CachingAllocator::allocate(size_t bytes) {
  const c10::Device cpu(c10::DeviceType::CPU);
  if (bytes == 0) return {nullptr, nullptr, &free_block, cpu};
  void* const block = bytes <= kLargestSmallBlock ? small_block(block_kind(bytes)) : large_block(bytes);
  if (!block) exhausted(bytes);
  return {block, block, &free_block, cpu};
}

void CachingAllocator::free_block(void* block) {
  if (!block) return;
  CachingAllocator& all = allocator();
  PageRun* const run = all.pages_.find(block);
  if (run->kind == PageRun::kWhole)
    all.free_large(run);
  else
    all.free_small(block, run->kind);
}

void CachingAllocator::count(size_t bytes) {
  const size_t now = used_.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  size_t peak = peak_.load(std::memory_order_relaxed);
  while (now > peak && !peak_.compare_exchange_weak(peak, now, std::memory_order_relaxed)) {
  }
}

void* CachingAllocator::small_block(size_t kind) {
  const size_t bytes = small_block_bytes(kind);
  const bool keeps = keeps_blocks();
  if (Blocks& mine = own.of[kind]; keeps && mine.count > 0) {
    own.bytes -= bytes;
    count(bytes);
    return mine.pop();
  }
  const std::lock_guard lock(lock_);
  PageRun* slab = slab_with_room(kind);
  if (!slab) return nullptr;
  count(bytes);
  void* const block = cut(slab);
  // Half of what the thread may keep comes along, as far as the slab has it at hand.
  for (size_t i = 1; keeps && i < most_kept(kind) / 2 && own.bytes + bytes <= kThreadBytes; ++i) {
    if (slab != slabs_[kind].front()) break;
    own.of[kind].push(cut(slab));
    own.bytes += bytes;
  }
  return block;
}

void* CachingAllocator::large_block(size_t bytes) {
  if (bytes > pages_.reserved() * kPageBytes) return nullptr;
  const size_t whole = block_bytes(bytes);
  const std::lock_guard lock(lock_);
  PageRun* const run = pages_.take(static_cast<uint32_t>(whole / kPageBytes), allowed_pages(whole));
  if (!run) return nullptr;
  count(whole);
  return pages_.start(run);
}

void CachingAllocator::free_small(void* block, size_t kind) {
  const size_t bytes = small_block_bytes(kind);
  used_.fetch_sub(bytes, std::memory_order_relaxed);
  if (!keeps_blocks()) {
    const std::lock_guard lock(lock_);
    put_back(block);
    return;
  }
  own.of[kind].push(block);
  own.bytes += bytes;
  if (own.releases != releases_.load(std::memory_order_relaxed)) {
    hand_over_all();
  } else if (own.of[kind].count > most_kept(kind)) {
    hand_over(kind, own.of[kind].count / 2);
  } else if (own.bytes > kThreadBytes) {
    hand_over(kind, own.of[kind].count);
  }
}

void CachingAllocator::free_large(PageRun* run) {
  used_.fetch_sub(size_t{run->pages} * kPageBytes, std::memory_order_relaxed);
  const std::lock_guard lock(lock_);
  pages_.give(run);
  keep_within_limit();
}

/// Backed pages when `more` bytes come to those that are used.
size_t CachingAllocator::allowed_pages(size_t more) const {
  const size_t used = used_.load(std::memory_order_relaxed) + more;
  const size_t peak = std::max(used, peak_.load(std::memory_order_relaxed));
  const size_t bound = std::max(peak + peak / 8, kFreelyHeld);
  return std::min(bound, used + limit_) / kPageBytes;
}

void CachingAllocator::keep_within_limit() {
  const size_t used = used_.load(std::memory_order_relaxed), held = pages_.backed() * kPageBytes;
  // Somewhat below, so that the next block that is freed does not do it again.
  if (held > used + limit_) pages_.trim((used + limit_ - limit_ / 8) / kPageBytes);
}

PageRun* CachingAllocator::slab_with_room(size_t kind) {
  if (PageRun* const slab = slabs_[kind].front()) return slab;
  const uint32_t pages = slab_pages(kind);
  PageRun* const slab = pages_.take(pages, allowed_pages(pages * kPageBytes));
  if (!slab) return nullptr;
  slab->kind = static_cast<uint32_t>(kind);
  slab->used = slab->cut = 0;
  slab->returned = nullptr;
  pages_.name_pages(slab);
  slabs_[kind].push(slab);
  return slab;
}

/// A block of a slab that has one; a slab that has no more leaves the list.
void* CachingAllocator::cut(PageRun* slab) {
  const size_t bytes = small_block_bytes(slab->kind);
  void* block = slab->returned;
  if (block)
    std::memcpy(&slab->returned, block, sizeof block);
  else
    block = pages_.start(slab) + slab->cut++ * bytes;
  ++slab->used;
  if (!slab->returned && (slab->cut + 1) * bytes > slab->pages * kPageBytes) slabs_[slab->kind].remove(slab);
  return block;
}

/// Back into its slab; a slab of which all blocks are back is free pages again.
void CachingAllocator::put_back(void* block) {
  PageRun* const slab = pages_.find(block);
  const size_t bytes = small_block_bytes(slab->kind);
  const bool had_room = slab->returned || (slab->cut + 1) * bytes <= slab->pages * kPageBytes;
  std::memcpy(block, &slab->returned, sizeof block);
  slab->returned = block;
  --slab->used;
  if (slab->used == 0) {
    if (had_room) slabs_[slab->kind].remove(slab);
    pages_.give(slab);
    keep_within_limit();
  } else if (!had_room) {
    slabs_[slab->kind].push(slab);
  }
}

void CachingAllocator::hand_over(size_t kind, size_t blocks) {
  own.bytes -= blocks * small_block_bytes(kind);
  const std::lock_guard lock(lock_);
  for (size_t i = 0; i < blocks; ++i) put_back(own.of[kind].pop());
}

void CachingAllocator::hand_over_all() {
  own.releases = releases_.load(std::memory_order_relaxed);
  for (size_t kind = 0; kind < kBlockKinds; ++kind)
    if (own.of[kind].count > 0) hand_over(kind, own.of[kind].count);
}

void CachingAllocator::release() {
  releases_.fetch_add(1, std::memory_order_relaxed);
  hand_over_all();
  const std::lock_guard lock(lock_);
  pages_.trim(0);
}

void CachingAllocator::limit(size_t bytes) {
  const std::lock_guard lock(lock_);
  limit_ = bytes;
  keep_within_limit();
}

TensorMemory CachingAllocator::memory() {
  const std::lock_guard lock(lock_);
  const size_t used = used_.load(), held = pages_.backed() * kPageBytes;
  return {.used = used, .peak = peak_.load(), .kept = held > used ? held - used : 0};
}

void CachingAllocator::exhausted(size_t bytes) {
  const TensorMemory now = memory();
  TORCH_CHECK(false, "CachingAllocator: can't allocate memory: you tried to allocate ", bytes, " bytes; ", now.used,
              " bytes are in use and ", now.kept, " bytes are kept for reuse.");
}

/// "512M", "2G", "1000000" or "25%" of the machine's memory.
size_t cache_limit(const std::string& text) {
  std::string_view number = text;
  double unit = 1;
  for (const auto& [suffix, value] :
       {std::pair{"%", static_cast<double>(machine_bytes()) / 100}, {"K", 0x1p10}, {"M", 0x1p20}, {"G", 0x1p30}})
    if (number.ends_with(suffix)) {
      number.remove_suffix(1);
      unit = value;
      break;
    }
  double amount = 0;
  if (!parse_number(number, amount) || !(amount >= 0) || amount * unit > 0x1p62)
    throw Error(Code::config, "'" + text + "' is no amount of memory", "ETUDE_ALLOCATOR_CACHE",
                "bytes as 512M or 2G, or a share of the machine's memory as 25%");
  return static_cast<size_t>(amount * unit);
}

std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  return value ? value : "";
}

}  // namespace

bool install_allocator() {
  const std::string kind = variable("ETUDE_ALLOCATOR"), limit = variable("ETUDE_ALLOCATOR_CACHE");
  if (!kind.empty() && kind != "caching" && kind != "system")
    throw Error(Code::config, "there is no allocator '" + kind + "'", "ETUDE_ALLOCATOR",
                did_you_mean(kind, {"caching", "system"}, "caching (as it is by default) or system"));
  const size_t bytes = limit.empty() ? machine_bytes() / 4 : cache_limit(limit);
  if (kSanitized || kind == "system" || !allocator().usable()) return false;
  allocator().limit(bytes);
  c10::SetCPUAllocator(&allocator());
  return true;
}

c10::Allocator& caching_allocator() { return allocator(); }

TensorMemory tensor_memory() { return in_use ? allocator().memory() : TensorMemory(); }

void reset_tensor_peak() {
  if (in_use) allocator().reset_peak();
}

void release_kept_memory() {
  if (in_use) allocator().release();
}

void limit_kept_memory(size_t bytes) { allocator().limit(bytes); }

}  // namespace etude
