#pragma once
// Memory from the system by pages of 4 KiB: one reserved range of addresses, cut into runs of pages that are in use or
// free. Free neighbours join at once, and a request takes the smallest free run that holds it (best fit).
//
// A page is backed once it was handed out and until its memory goes back to the system; the range stays reserved.
// Where the system grants huge pages, the first touch of 2 MiB backs all of it. Free runs may be backed in part.
//
// Not safe between threads: the owner locks.

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "etude/tensor/block_sizes.h"

namespace etude {

/// Neighbouring pages that are free, one block, or a slab of small blocks.
struct PageRun {
  uint32_t first = 0, pages = 0;
  bool free = true;
  PageRun *previous = nullptr, *next = nullptr;  ///< in the list that it stands in: its owner's while it is in use

  static constexpr uint32_t kWhole = ~uint32_t{0};
  uint32_t kind = kWhole;      ///< of the blocks of a slab (block_sizes.h)
  uint32_t used = 0, cut = 0;  ///< blocks of a slab that are out, and that ever were
  void* returned = nullptr;    ///< blocks that came back, linked through their first bytes
};

/// A list of runs, linked through them.
class PageRuns {
 public:
  void push(PageRun* run);
  void remove(PageRun* run);
  PageRun* front() const { return front_; }
  bool empty() const { return front_ == nullptr; }

 private:
  PageRun* front_ = nullptr;
};

class PageHeap {
 public:
  /// Reserves addresses for at least `pages` pages, or for as many as the process may have (RLIMIT_AS): see
  /// reserved(). Takes no memory yet.
  explicit PageHeap(size_t pages);
  ~PageHeap();
  PageHeap(const PageHeap&) = delete;
  PageHeap& operator=(const PageHeap&) = delete;

  /// A run of that many pages, aligned to a page; null when addresses or memory are exhausted. If its pages need memory
  /// beyond `allowed` backed pages in all, free pages elsewhere give up theirs, as far as there are any.
  PageRun* take(uint32_t pages, size_t allowed);
  void give(PageRun* run);
  /// Gives the memory of free pages back to the system until at most `backed` pages have some, or only pages in use do.
  void trim(size_t backed);

  char* start(const PageRun* run) const { return base_ + size_t{run->first} * kPageBytes; }
  /// The run in use that holds an address: any address of a slab after name_pages(), else the first page's.
  PageRun* find(const void* address) const { return run_of_[page_of(address)]; }
  bool owns(const void* address) const { return address >= base_ && address < base_ + reserved_ * kPageBytes; }
  /// Lets find() know all pages of a run.
  void name_pages(PageRun* run);

  size_t backed() const { return backed_; }
  size_t reserved() const { return reserved_; }

 private:
  static constexpr uint32_t kHuge = 512;  ///< pages of a huge page
  static constexpr size_t kExact = 64, kBins = kExact + 8 * 26;

  static size_t bin_of(uint32_t pages);
  size_t page_of(const void* address) const {
    return static_cast<size_t>(static_cast<const char*>(address) - base_) / kPageBytes;
  }

  PageRun* make_run(uint32_t first, uint32_t pages);
  void drop_run(PageRun* run) { spare_.push_back(run); }
  void insert(PageRun* run);
  void unlink(PageRun* run);
  PageRun* best_fit(uint32_t pages) const;
  bool grow(uint32_t pages);
  PageRun* free_neighbour(size_t page) const;
  void keep(PageRun* run);

  uint32_t count_backed(uint32_t first, uint32_t last) const;
  void set_backed(uint32_t first, uint32_t last, bool to);
  void back(uint32_t first, uint32_t last);
  void unback(PageRun* run, size_t backed, bool whole_only);

  char* mapping_ = nullptr;
  size_t mapped_bytes_ = 0;
  char* base_ = nullptr;   ///< aligned to a huge page
  size_t reserved_ = 0;    ///< pages
  uint32_t frontier_ = 0;  ///< pages from here on were never asked of the system
  bool huge_ = true;       ///< the system takes the wish for huge pages
  size_t backed_ = 0;
  PageRun** run_of_ = nullptr;  ///< of the first and last page of each run, and of all pages of a slab
  std::vector<uint64_t> backing_;
  std::array<PageRuns, kBins> bins_;
  std::array<uint64_t, (kBins + 63) / 64> filled_{};  ///< bins that are not empty
  std::deque<PageRun> runs_;
  std::vector<PageRun*> spare_;
};

}  // namespace etude
