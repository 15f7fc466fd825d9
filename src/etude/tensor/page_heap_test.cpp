#include "etude/tensor/page_heap.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <map>

#include "etude/base/rng.h"
#include "etude/base/testing.h"

namespace etude {
namespace {

constexpr size_t kAnyNumber = ~size_t{0};

TEST(PageHeap, TakesTheSmallestRunThatHolds) {
  PageHeap heap(1 << 16);
  std::vector<PageRun*> holes, walls;
  for (const uint32_t pages : {700, 100, 90, 300, 95}) {
    holes.push_back(heap.take(pages, kAnyNumber));
    walls.push_back(heap.take(1, kAnyNumber));
  }
  std::vector<char*> at;
  for (PageRun* run : holes) at.push_back(heap.start(run));
  for (PageRun* run : holes) heap.give(run);
  EXPECT_EQ(heap.start(heap.take(89, kAnyNumber)), at[2]);
  EXPECT_EQ(heap.start(heap.take(90, kAnyNumber)), at[4]);
  EXPECT_EQ(heap.start(heap.take(90, kAnyNumber)), at[1]);
  EXPECT_EQ(heap.start(heap.take(301, kAnyNumber)), at[0]);
  EXPECT_EQ(heap.start(heap.take(300, kAnyNumber)), at[3]);
}

TEST(PageHeap, NeighboursJoin) {
  PageHeap heap(1 << 16);
  PageRun* const low = heap.take(600, kAnyNumber);
  PageRun* const middle = heap.take(500, kAnyNumber);
  PageRun* const high = heap.take(400, kAnyNumber);
  heap.take(1, kAnyNumber);
  char* const begin = heap.start(low);
  heap.give(low);
  heap.give(high);
  heap.give(middle);
  EXPECT_EQ(heap.start(heap.take(1500, kAnyNumber)), begin);
}

TEST(PageHeap, FindsRuns) {
  PageHeap heap(1 << 16);
  heap.take(3, kAnyNumber);
  PageRun* const run = heap.take(700, kAnyNumber);
  EXPECT_EQ(heap.find(heap.start(run)), run);
  heap.name_pages(run);
  for (size_t page : {0u, 1u, 350u, 699u}) EXPECT_EQ(heap.find(heap.start(run) + page * kPageBytes + 17), run);
  EXPECT_TRUE(heap.owns(heap.start(run)));
  EXPECT_FALSE(heap.owns(&heap));
}

TEST(PageHeap, BacksWhatIsOutAndGivesUpWhatIsFree) {
  PageHeap heap(1 << 16);
  EXPECT_EQ(heap.backed(), 0u);
  PageRun* const kept = heap.take(1, kAnyNumber);
  PageRun* const large = heap.take(5000, kAnyNumber);
  EXPECT_GE(heap.backed(), 5001u);
  EXPECT_LE(heap.backed(), 5001u + 512);  // the last huge page may be backed in part only
  heap.give(large);
  EXPECT_GE(heap.backed(), 5001u);
  heap.trim(3000);
  EXPECT_LE(heap.backed(), 3000u);
  EXPECT_GT(heap.backed(), 3000u - 512);  // no more than asked for, in steps of a huge page
  heap.trim(0);
  EXPECT_EQ(heap.backed(), 1u);
  heap.give(kept);
  heap.trim(0);
  EXPECT_EQ(heap.backed(), 0u);
}

TEST(PageHeap, MemoryThatWasGivenUpIsZeroAgain) {
  PageHeap heap(1 << 16);
  PageRun* run = heap.take(1024, kAnyNumber);
  heap.start(run)[5 * kPageBytes] = 7;
  heap.give(run);
  heap.trim(0);
  run = heap.take(1024, kAnyNumber);
  EXPECT_EQ(heap.start(run)[5 * kPageBytes], 0);
}

TEST(PageHeap, FreePagesMakeRoomForNewOnes) {
  PageHeap heap(1 << 16);
  std::vector<PageRun*> some, walls;
  for (int i = 0; i < 8; ++i) {
    some.push_back(heap.take(1024, kAnyNumber));
    walls.push_back(heap.take(512, kAnyNumber));
  }
  const size_t before = heap.backed();
  for (PageRun* run : some) heap.give(run);
  PageRun* const larger = heap.take(4096, before);  // fits into no hole, but four of them give up their memory
  ASSERT_NE(larger, nullptr);
  EXPECT_LE(heap.backed(), before);
  EXPECT_GE(heap.backed(), 8u * 512 + 4096);
}

TEST(PageHeap, AddressesEnd) {
  PageHeap heap(1 << 16);
  ASSERT_EQ(heap.reserved(), size_t{1} << 16);
  EXPECT_EQ(heap.take((1 << 16) + 1, kAnyNumber), nullptr);
  PageRun* const all = heap.take(1 << 16, kAnyNumber);
  ASSERT_NE(all, nullptr);
  EXPECT_EQ(heap.take(1, kAnyNumber), nullptr);
  heap.give(all);
  EXPECT_NE(heap.take(1, kAnyNumber), nullptr);
}

TEST(PageHeap, ReservesLessWhereAddressesAreFew) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_AS, &before), 0);
  const rlimit tight{size_t{64} << 30, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_AS, &tight), 0);
  PageHeap heap(size_t{1} << 30);  // 4 TiB
  setrlimit(RLIMIT_AS, &before);
  if (heap.reserved() == 0) GTEST_SKIP() << "the process has taken all of its 64 GiB of addresses";
  EXPECT_LT(heap.reserved(), size_t{1} << 24);
  PageRun* const run = heap.take(100, kAnyNumber);
  ASSERT_NE(run, nullptr);
  heap.start(run)[0] = 1;
}

/// Against a map of what is out: no run overlaps another, and all that is out is backed.
TEST(PageHeap, NeverHandsOutAPageTwice) {
  for (const uint64_t seed : {1, 2, 3}) {
    Rng rng(Key{.seed = seed, .purpose = Purpose::test});
    PageHeap heap(1 << 18);
    std::map<uint32_t, PageRun*> out;
    size_t pages_out = 0;
    for (int i = 0; i < 20000; ++i) {
      const bool growing = i / 2000 % 2 == 0;
      if (out.empty() || rng.bernoulli(growing ? 0.6 : 0.4)) {
        const auto pages = static_cast<uint32_t>(1 + rng.below(int64_t{1} << rng.below(11)));
        const size_t allowed = pages_out + pages + 2000;
        PageRun* const run = heap.take(pages, allowed);
        ASSERT_NE(run, nullptr);
        ASSERT_EQ(run->pages, pages);
        const auto after = out.lower_bound(run->first);
        ASSERT_TRUE(after == out.end() || run->first + pages <= after->first);
        ASSERT_TRUE(after == out.begin() || std::prev(after)->first + std::prev(after)->second->pages <= run->first);
        ASSERT_EQ(heap.find(heap.start(run)), run);
        out[run->first] = run;
        pages_out += pages;
        ASSERT_LE(heap.backed(), allowed);
      } else {
        const auto one = std::next(out.begin(), rng.below(static_cast<int64_t>(out.size())));
        pages_out -= one->second->pages;
        heap.give(one->second);
        out.erase(one);
        if (rng.bernoulli(0.01)) heap.trim(pages_out + 100);
      }
      ASSERT_GE(heap.backed(), pages_out);
    }
    for (const auto& [first, run] : out) heap.give(run);
    heap.trim(0);
    EXPECT_EQ(heap.backed(), 0u);
    EXPECT_NE(heap.take(static_cast<uint32_t>(heap.reserved()), kAnyNumber), nullptr) << "not all came together again";
  }
}

}  // namespace
}  // namespace etude
