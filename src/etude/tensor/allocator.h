#pragma once
// The allocator under LibTorch's CPU tensors: blocks that are freed stay at hand for the next that fit, because a step
// that gets fresh memory from the system each time spends its time on page faults.
//
// Up to 256 KiB there are 80 sizes of blocks (block_sizes.h), cut from slabs, and each thread keeps some of its own;
// larger blocks are runs of pages, huge where the system grants that, from best-fit lists (page_heap.h). A block may be
// freed by any thread. All blocks are aligned to 64 bytes.
//
// Kept memory is bounded: used and kept together stay below 9/8 of the peak of what was used (or 16 MiB, for the
// smallest), kept memory alone below a limit; beyond that it goes back to the system.
//
//   ETUDE_ALLOCATOR         "caching", or "system": LibTorch's own, for comparison
//   ETUDE_ALLOCATOR_CACHE   the limit of kept memory: bytes ("512M", "2G") or a share of the machine's ("25%", as it is
//                           by default)

#include <c10/core/Allocator.h>

#include <cstddef>

namespace etude {

/// Bytes of blocks as the allocator rounds them: block_bytes() of what was asked for.
struct TensorMemory {
  size_t used = 0;  ///< by blocks that are out
  size_t peak = 0;  ///< the most of `used` since the start or the last reset_tensor_peak()
  size_t kept = 0;  ///< backed by memory, but in no block that is out
};

/// Puts the allocator under LibTorch's CPU tensors; called before the first of them. False where it stays LibTorch's
/// own: by ETUDE_ALLOCATOR=system, in programs with an address or thread sanitizer (which must see each allocation),
/// and where no range of addresses can be had.
/// Errors: Code::config for a value of the two variables that means nothing.
bool install_allocator();

/// The allocator itself, installed or not. Allocations throw c10::Error, as LibTorch's own, where memory or addresses
/// are exhausted.
c10::Allocator& caching_allocator();

/// Exact; all zero while nothing came from the allocator.
TensorMemory tensor_memory();
/// The peak is what is used now. Exact if no other thread allocates meanwhile.
void reset_tensor_peak();
/// Gives kept memory back to the system: all of it but what other threads keep for themselves, up to 2 MiB each, which
/// they hand over at the next block that they free.
void release_kept_memory();
/// The limit of kept memory from here on.
void limit_kept_memory(size_t bytes);

}  // namespace etude
