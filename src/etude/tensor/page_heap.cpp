#include "etude/tensor/page_heap.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>

#include "etude/base/error.h"

namespace etude {
namespace {

constexpr uint32_t kGrowth = 4096;          // pages that are asked of the system at once
constexpr size_t kLeast = size_t{1} << 16;  // pages worth reserving
constexpr uint32_t round_down(uint32_t page, uint32_t to) { return page / to * to; }
constexpr uint32_t round_up(uint32_t page, uint32_t to) { return (page + to - 1) / to * to; }

}  // namespace

void PageRuns::push(PageRun* run) {
  run->previous = nullptr;
  run->next = front_;
  if (front_) front_->previous = run;
  front_ = run;
}

void PageRuns::remove(PageRun* run) {
  (run->previous ? run->previous->next : front_) = run->next;
  if (run->next) run->next->previous = run->previous;
  run->previous = run->next = nullptr;
}

PageHeap::PageHeap(size_t pages) {
  // Page numbers have 32 bits; half of them are 8 TiB.
  for (reserved_ = std::min<size_t>(round_up(static_cast<uint32_t>(std::min(pages, size_t{1} << 31)), kHuge), 1u << 31);
       reserved_ >= kLeast; reserved_ = reserved_ / 2 / kHuge * kHuge) {
    mapped_bytes_ = (reserved_ + kHuge) * kPageBytes;
    // Nothing may be touched yet, so this counts against no limit but that of addresses.
    void* const at = mmap(nullptr, mapped_bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) continue;
    mapping_ = static_cast<char*>(at);
    void* const names = mmap(nullptr, reserved_ * sizeof(PageRun*), PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (names != MAP_FAILED) {
      constexpr size_t kHugeBytes = kHuge * kPageBytes;
      base_ = mapping_ + (kHugeBytes - reinterpret_cast<uintptr_t>(mapping_) % kHugeBytes) % kHugeBytes;
      run_of_ = static_cast<PageRun**>(names);
      backing_.assign(reserved_ / 64, 0);
      return;
    }
    munmap(mapping_, mapped_bytes_);
    mapping_ = nullptr;
  }
  reserved_ = 0;
}

PageHeap::~PageHeap() {
  if (mapping_) munmap(mapping_, mapped_bytes_);
  if (run_of_) munmap(run_of_, reserved_ * sizeof(PageRun*));
}

size_t PageHeap::bin_of(uint32_t pages) {
  if (pages <= kExact) return pages - 1;
  const auto power = static_cast<size_t>(std::bit_width(pages)) - 1;
  return kExact + 8 * (power - 6) + (pages >> (power - 3) & 7);
}

PageRun* PageHeap::make_run(uint32_t first, uint32_t pages) {
  PageRun* run = nullptr;
  if (spare_.empty()) {
    run = &runs_.emplace_back();
  } else {
    run = spare_.back();
    spare_.pop_back();
    *run = PageRun();
  }
  run->first = first;
  run->pages = pages;
  return run;
}

void PageHeap::insert(PageRun* run) {
  const size_t bin = bin_of(run->pages);
  bins_[bin].push(run);
  filled_[bin / 64] |= uint64_t{1} << bin % 64;
  run->free = true;
  keep(run);
}

void PageHeap::unlink(PageRun* run) {
  const size_t bin = bin_of(run->pages);
  bins_[bin].remove(run);
  if (bins_[bin].empty()) filled_[bin / 64] &= ~(uint64_t{1} << bin % 64);
}

/// Its ends are what its neighbours look at.
void PageHeap::keep(PageRun* run) { run_of_[run->first] = run_of_[run->first + run->pages - 1] = run; }

void PageHeap::name_pages(PageRun* run) { std::fill_n(run_of_ + run->first, run->pages, run); }

PageRun* PageHeap::best_fit(uint32_t pages) const {
  // In the bin of `pages` some runs may be too small; each run of a later bin is large enough.
  for (size_t bin = bin_of(pages); bin < kBins; ++bin) {
    const uint64_t rest = filled_[bin / 64] >> bin % 64;
    if (rest == 0) {
      bin |= 63;
      continue;
    }
    bin += static_cast<size_t>(std::countr_zero(rest));
    PageRun* best = nullptr;
    for (PageRun* run = bins_[bin].front(); run && !(best && best->pages == pages); run = run->next)
      if (run->pages >= pages && (!best || run->pages < best->pages)) best = run;
    if (best) return best;
  }
  return nullptr;
}

/// The free run that begins or ends with a page; null if there is none.
PageRun* PageHeap::free_neighbour(size_t page) const {
  if (page >= frontier_) return nullptr;
  PageRun* const run = run_of_[page];
  return run && run->free ? run : nullptr;
}

/// Asks the system for as many pages as a run of `pages` at the frontier lacks, and some more.
bool PageHeap::grow(uint32_t pages) {
  PageRun* const tail = frontier_ > 0 ? free_neighbour(frontier_ - 1) : nullptr;
  const uint32_t missing = round_up(pages - (tail ? tail->pages : 0), kHuge);
  const size_t room = reserved_ - frontier_;
  if (missing > room) return false;
  const auto more = static_cast<uint32_t>(std::min<size_t>(std::max(missing, kGrowth), room));
  char* const at = base_ + size_t{frontier_} * kPageBytes;
  const size_t bytes = size_t{more} * kPageBytes;
  if (mprotect(at, bytes, PROT_READ | PROT_WRITE) != 0) return false;
  huge_ = huge_ && madvise(at, bytes, MADV_HUGEPAGE) == 0;
  PageRun* const run = make_run(frontier_, more);
  frontier_ += more;
  give(run);
  return true;
}

PageRun* PageHeap::take(uint32_t pages, size_t allowed) {
  if (pages == 0 || pages > reserved_) return nullptr;
  PageRun* run = best_fit(pages);
  if (!run) {
    if (!grow(pages)) return nullptr;
    run = best_fit(pages);
  }
  unlink(run);
  run->free = false;
  back(run->first, run->first + pages);
  if (run->pages > pages) {
    PageRun* const rest = make_run(run->first + pages, run->pages - pages);
    run->pages = pages;
    insert(rest);
  }
  keep(run);
  // The pages of `run` are not touched yet: others can still make room for them.
  if (backed_ > allowed) trim(allowed);
  return run;
}

void PageHeap::give(PageRun* run) {
  run->kind = PageRun::kWhole;
  if (PageRun* const before = run->first > 0 ? free_neighbour(run->first - 1) : nullptr) {
    unlink(before);
    run->first = before->first;
    run->pages += before->pages;
    drop_run(before);
  }
  if (PageRun* const after = free_neighbour(size_t{run->first} + run->pages)) {
    unlink(after);
    run->pages += after->pages;
    drop_run(after);
  }
  insert(run);
}

void PageHeap::trim(size_t backed) {
  // Whole huge pages first: splitting one costs time, and the system frees its parts only when it needs them.
  for (const bool whole_only : {true, false})
    for (size_t bin = kBins; bin-- > 0;)
      for (PageRun* run = bins_[bin].front(); run; run = run->next) {
        if (backed_ <= backed) return;
        unback(run, backed, whole_only);
      }
}

/// Gives back memory of the end of a free run: as much as it takes to come down to `backed` pages, in steps of 2 MiB.
void PageHeap::unback(PageRun* run, size_t backed, bool whole_only) {
  uint32_t first = run->first, last = run->first + run->pages;
  if (whole_only) {
    first = round_up(first, kHuge);
    last = round_down(last, kHuge);
  }
  uint32_t begin = last, found = 0;
  while (begin > first && found < backed_ - backed) {
    const uint32_t lower = std::max(first, round_down(begin - 1, kHuge));
    found += count_backed(lower, begin);
    begin = lower;
  }
  if (found == 0 || madvise(base_ + size_t{begin} * kPageBytes, size_t{last - begin} * kPageBytes, MADV_DONTNEED) != 0)
    return;
  set_backed(begin, last, false);
  backed_ -= found;
}

/// Pages first .. last-1 will be touched: they get memory, and with them the whole of a huge page that had none.
void PageHeap::back(uint32_t first, uint32_t last) {
  for (uint32_t huge = round_down(first, kHuge); huge < last; huge += kHuge) {
    const bool whole = huge_ && count_backed(huge, huge + kHuge) == 0;
    const uint32_t from = whole ? huge : std::max(first, huge),
                   to = whole ? huge + kHuge : std::min(last, huge + kHuge);
    backed_ += to - from - count_backed(from, to);
    set_backed(from, to, true);
  }
}

uint32_t PageHeap::count_backed(uint32_t first, uint32_t last) const {
  uint32_t count = 0;
  for (uint32_t page = first; page < last;) {
    const uint32_t bit = page % 64, width = std::min(64 - bit, last - page);
    const uint64_t mask = (width == 64 ? ~uint64_t{0} : (uint64_t{1} << width) - 1) << bit;
    count += static_cast<uint32_t>(std::popcount(backing_[page / 64] & mask));
    page += width;
  }
  return count;
}

void PageHeap::set_backed(uint32_t first, uint32_t last, bool to) {
  for (uint32_t page = first; page < last;) {
    const uint32_t bit = page % 64, width = std::min(64 - bit, last - page);
    const uint64_t mask = (width == 64 ? ~uint64_t{0} : (uint64_t{1} << width) - 1) << bit;
    uint64_t& word = backing_[page / 64];
    word = to ? word | mask : word & ~mask;
    page += width;
  }
}

}  // namespace etude
