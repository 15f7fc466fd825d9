#include "etude/tensor/allocator.h"

#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <mutex>
#include <thread>

#include "etude/base/rng.h"
#include "etude/base/testing.h"
#include "etude/base/torch_pch.h"
#include "etude/tensor/block_sizes.h"

namespace etude {
namespace {

constexpr size_t kMegabyte = size_t{1} << 20;
constexpr size_t kOwnBytes = 2 * kMegabyte;  // that each thread may keep for itself

c10::DataPtr block_of(size_t bytes) { return caching_allocator().allocate(bytes); }

void touch_pages(const c10::DataPtr& block, size_t bytes) {
  for (size_t i = 0; i < bytes; i += kPageBytes) static_cast<volatile char*>(block.get())[i] = 1;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kShadowed = true;  // sanitizers keep memory of their own for each byte that was touched
#else
constexpr bool kShadowed = false;
#endif

/// Bytes of the process that are in memory.
size_t resident_bytes() {
  size_t all = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> all >> resident;
  return resident * kPageBytes;
}

/// A variable of the environment, for as long as this lives.
class EnvironmentVariable {
 public:
  EnvironmentVariable(const char* name, const char* value) : name_(name) { setenv(name, value, 1); }
  ~EnvironmentVariable() { unsetenv(name_); }

 private:
  const char* name_;
};

/// The allocator under LibTorch's tensors, for as long as this lives.
class InstalledAllocator {
 public:
  InstalledAllocator() : installed_(install_allocator()) {}
  ~InstalledAllocator() { c10::SetCPUAllocator(c10::GetDefaultCPUAllocator()); }
  bool is() const { return installed_; }

 private:
  bool installed_;
};

TEST(BlockSizes, TheSmallestThatHolds) {
  size_t kind = 0;
  for (size_t bytes = 1; bytes <= kLargestSmallBlock; ++bytes) {
    if (bytes > small_block_bytes(kind)) ++kind;
    ASSERT_EQ(block_kind(bytes), kind) << bytes;
    ASSERT_EQ(block_bytes(bytes), small_block_bytes(kind));
    ASSERT_LE(8 * block_bytes(bytes), 9 * std::max(bytes, 8 * kBlockAlignment));
  }
  EXPECT_EQ(kind + 1, kBlockKinds);
  EXPECT_EQ(small_block_bytes(kind), kLargestSmallBlock);
  EXPECT_EQ(block_bytes(0), 0u);
  EXPECT_EQ(block_bytes(kLargestSmallBlock + 1), kLargestSmallBlock + kPageBytes);
  EXPECT_EQ(block_bytes(kMegabyte), kMegabyte);
}

TEST(BlockSizes, SlabsWasteLittle) {
  for (size_t kind = 0; kind < kBlockKinds; ++kind) {
    const size_t slab = slab_pages(kind) * kPageBytes, bytes = small_block_bytes(kind);
    EXPECT_EQ(bytes % kBlockAlignment, 0u);
    EXPECT_GE(slab, bytes);
    EXPECT_LE(slab % bytes, slab / 16) << bytes;
  }
}

TEST(Allocator, NothingIsANullPointer) {
  const TensorMemory before = tensor_memory();
  const c10::DataPtr nothing = block_of(0);
  EXPECT_EQ(nothing.get(), nullptr);
  EXPECT_EQ(nothing.device(), at::Device(at::kCPU));
  EXPECT_EQ(tensor_memory().used, before.used);
}

TEST(Allocator, BlocksAreAligned) {
  std::vector<c10::DataPtr> blocks;
  for (size_t bytes = 1; bytes < 3 * kMegabyte; bytes += 1 + bytes / 3)
    for (int i = 0; i < 3; ++i) {
      blocks.push_back(block_of(bytes));
      EXPECT_EQ(reinterpret_cast<uintptr_t>(blocks.back().get()) % kBlockAlignment, 0u) << bytes;
      EXPECT_TRUE(caching_allocator().is_simple_data_ptr(blocks.back()));
    }
}

TEST(Allocator, RawBlocksAndCopies) {
  c10::Allocator& allocator = caching_allocator();
  const size_t before = tensor_memory().used;
  char* const raw = static_cast<char*>(allocator.raw_allocate(1000));
  for (int i = 0; i < 1000; ++i) raw[i] = static_cast<char>(i);
  {
    const c10::DataPtr copy = allocator.clone(raw, 1000);
    EXPECT_NE(copy.get(), raw);
    EXPECT_EQ(std::memcmp(copy.get(), raw, 1000), 0);
    EXPECT_EQ(tensor_memory().used, before + 2 * block_bytes(1000));
  }
  allocator.raw_deallocate(raw);
  EXPECT_EQ(tensor_memory().used, before);
}

TEST(Allocator, CountsToTheByte) {
  const size_t base = tensor_memory().used;
  reset_tensor_peak();
  EXPECT_EQ(tensor_memory().peak, base);
  c10::DataPtr a = block_of(64), b = block_of(65), c = block_of(5 * kMegabyte + 1);
  EXPECT_EQ(tensor_memory().used, base + 64 + 128 + 5 * kMegabyte + kPageBytes);
  block_of(64).clear();  // a peak by one small block, which is free again
  c.clear();
  EXPECT_EQ(tensor_memory().used, base + 192);
  EXPECT_EQ(tensor_memory().peak, base + 256 + 5 * kMegabyte + kPageBytes);
  c10::DataPtr d = block_of(1000), e = block_of(300000);
  EXPECT_EQ(tensor_memory().used, base + 192 + 1024 + 74 * kPageBytes);
  EXPECT_EQ(tensor_memory().peak, base + 256 + 5 * kMegabyte + kPageBytes);
  reset_tensor_peak();
  EXPECT_EQ(tensor_memory().peak, base + 192 + 1024 + 74 * kPageBytes);
  a.clear();
  b.clear();
  d.clear();
  e.clear();
  EXPECT_EQ(tensor_memory().used, base);
  EXPECT_EQ(tensor_memory().peak, base + 192 + 1024 + 74 * kPageBytes);
}

TEST(Allocator, KeepsBlocksForTheNext) {
  for (const size_t bytes : {size_t{100}, size_t{40000}, 3 * kMegabyte}) {
    void* const first = block_of(bytes).get();  // freed at once
    EXPECT_EQ(block_of(bytes).get(), first) << bytes;
  }
}

TEST(Allocator, AnyThreadMayFree) {
  const size_t base = tensor_memory().used;
  for (int round = 0; round < 20; ++round) {
    std::vector<c10::DataPtr> blocks;
    std::thread([&] {
      for (size_t bytes = 1; bytes < 2 * kMegabyte; bytes += 1 + bytes / 5) {
        blocks.push_back(block_of(bytes));
        std::memset(blocks.back().get(), static_cast<int>(blocks.size()), bytes);
      }
    }).join();
    size_t number = 0;
    for (size_t bytes = 1; bytes < 2 * kMegabyte; bytes += 1 + bytes / 5) {
      const auto* const at = static_cast<const unsigned char*>(blocks[number++].get());
      ASSERT_TRUE(
          std::all_of(at, at + bytes, [&](unsigned char c) { return c == static_cast<unsigned char>(number); }));
    }
    std::thread([&] { blocks.clear(); }).join();
    EXPECT_EQ(tensor_memory().used, base);
  }
}

/// What a thread frees after it has handed over what it kept.
TEST(Allocator, ThreadsMayFreeWhileTheyEnd) {
  const size_t base = tensor_memory().used;
  std::thread([] {
    thread_local std::vector<c10::DataPtr> last;  // older than what the allocator does at a thread's end
    last.reserve(100);
    for (size_t i = 1; i < 100; ++i) last.push_back(block_of(i * 500));
  }).join();
  EXPECT_EQ(tensor_memory().used, base);
  release_kept_memory();
  EXPECT_LT(tensor_memory().kept, 4 * kMegabyte);
}

/// Blocks wander between threads; each is filled with a value of its own, which must still be there when it is freed.
TEST(Allocator, ManyThreadsAtOnce) {
  struct Slot {
    std::mutex lock;
    c10::DataPtr block;
    size_t bytes = 0;
    unsigned char value = 0;
  };
  const auto at = [](const Slot& slot, size_t i) { return static_cast<unsigned char*>(slot.block.get()) + i; };
  const auto edges = [](size_t bytes, const auto& each) {
    for (size_t i = 0; i < bytes; i += 512) each(i);
    each(bytes - 1);
  };
  const size_t base = tensor_memory().used;
  std::vector<Slot> slots(97);
  std::atomic<int> damaged{0};
  std::vector<std::thread> threads;
  for (int64_t number = 0; number < 8; ++number)
    threads.emplace_back([&, number] {
      Rng rng(Key{.seed = 5, .purpose = Purpose::test, .item = number});
      for (int i = 0; i < 4000; ++i) {
        Slot& slot = slots[static_cast<size_t>(rng.below(97))];
        const std::lock_guard lock(slot.lock);
        if (slot.block) {
          edges(slot.bytes, [&](size_t byte) { damaged += *at(slot, byte) != slot.value; });
          slot.block.clear();
        }
        if (rng.bernoulli(0.3)) continue;
        slot.bytes = static_cast<size_t>(1 + rng.below(int64_t{1} << (6 + rng.below(16))));
        slot.value = static_cast<unsigned char>(rng.below(256));
        slot.block = block_of(slot.bytes);
        edges(slot.bytes, [&](size_t byte) { *at(slot, byte) = slot.value; });
        if (i % 1000 == 999) release_kept_memory();
      }
    });
  for (std::thread& thread : threads) thread.join();
  slots.clear();
  EXPECT_EQ(damaged, 0);
  EXPECT_EQ(tensor_memory().used, base);
}

TEST(Allocator, GivesMemoryBackWhenAsked) {
  constexpr size_t kBytes = 96 * kMegabyte;
  release_kept_memory();
  const size_t before = resident_bytes();
  c10::DataPtr large = block_of(kBytes);
  std::vector<c10::DataPtr> small;
  for (size_t i = 0; i < 2000; ++i) small.push_back(block_of(16000));
  touch_pages(large, kBytes);
  for (const c10::DataPtr& block : small) touch_pages(block, 16000);
  large.clear();
  small.clear();
  EXPECT_GE(tensor_memory().kept, kBytes);
  EXPECT_GT(resident_bytes(), before + kBytes);
  release_kept_memory();
  EXPECT_LT(tensor_memory().kept, 4 * kMegabyte);
  EXPECT_TRUE(kShadowed || resident_bytes() < before + 8 * kMegabyte) << resident_bytes() << " after " << before;
}

TEST(Allocator, KeepsNoMoreThanItsLimit) {
  release_kept_memory();
  limit_kept_memory(8 * kMegabyte);
  std::vector<c10::DataPtr> blocks;
  for (size_t i = 0; i < 64; ++i) blocks.push_back(block_of((i % 3 + 1) * kMegabyte / 2));
  size_t most = 0;
  while (!blocks.empty()) {
    blocks.erase(blocks.begin() + static_cast<int64_t>(blocks.size() / 2));
    most = std::max(most, tensor_memory().kept);
  }
  EXPECT_LE(most, 8 * kMegabyte);
  EXPECT_GT(most, 4 * kMegabyte);
  limit_kept_memory(size_t{1} << 40);
}

/// Blocks that fit into no hole take the holes' memory, though not their place.
TEST(Allocator, HolesGiveUpTheirMemory) {
  release_kept_memory();
  reset_tensor_peak();
  const size_t base = tensor_memory().used;
  std::vector<c10::DataPtr> blocks, walls, larger;
  for (int i = 0; i < 64; ++i) {
    blocks.push_back(block_of(kMegabyte));
    walls.push_back(block_of(kMegabyte / 2));
  }
  blocks.clear();
  size_t most = 0;
  for (int i = 0; i < 30; ++i) {
    larger.push_back(block_of(2 * kMegabyte));
    touch_pages(larger.back(), 2 * kMegabyte);
    const TensorMemory now = tensor_memory();
    most = std::max(most, now.used + now.kept);
  }
  EXPECT_EQ(tensor_memory().peak, base + 96 * kMegabyte);
  EXPECT_LE(most, (base + 96 * kMegabyte) / 8 * 9);
}

/// A decoder's training at another batch, length and width in each step, drifting up and down: what forward makes,
/// backward frees in reverse, with gradients and temporaries in between.
TEST(Allocator, HoldsLittleMoreThanThePeakOfChangingShapes) {
  release_kept_memory();
  reset_tensor_peak();
  const size_t base = tensor_memory().used, resident = resident_bytes();
  size_t used = 0, peak = 0, most_held = 0;
  struct Kept {
    c10::DataPtr block;
    size_t bytes;
  };
  const auto make = [&](std::vector<Kept>& into, size_t bytes, bool touched) {
    into.push_back({block_of(bytes), bytes});
    used += bytes;
    peak = std::max(peak, used);
    if (touched) touch_pages(into.back().block, bytes);
  };
  const auto drop = [&](std::vector<Kept>& from, size_t count) {
    for (; count > 0; --count) {
      used -= from.back().bytes;
      from.pop_back();
    }
  };
  for (int64_t step = 0; step < 10000; ++step) {
    Rng rng(Key{.seed = 11, .purpose = Purpose::test, .step = step});
    const bool touched = step % 50 == 0;
    const double swing = 0.5 + 0.4 * std::sin(static_cast<double>(step) / 300);
    const auto rows = static_cast<size_t>(1 + rng.below(static_cast<int64_t>(1 + 6000 * swing)));
    const size_t width = 64 + 64 * static_cast<size_t>(rng.below(4)), layers = 2 + static_cast<size_t>(rng.below(4));
    std::vector<Kept> parameters, activations, gradients;
    for (size_t i = 0; i < layers; ++i) make(parameters, 12 * width * width * 4, touched);
    for (size_t i = 0; i < layers; ++i) {
      for (const size_t times : {1, 3, 1, 4, 4, 1}) make(activations, times * rows * width * 4, touched);
      make(activations, rows * 4, touched);
      std::vector<Kept> scratch;
      make(scratch, static_cast<size_t>(1 + rng.below(static_cast<int64_t>(2 * rows * width * 4))), touched);
      drop(scratch, 1);
    }
    for (size_t i = 0; i < layers; ++i) {
      make(gradients, 12 * width * width * 4, touched);
      std::vector<Kept> scratch;
      for (const size_t times : {4, 4, 1}) make(scratch, times * rows * width * 4, touched);
      drop(activations, 7);
      drop(scratch, 3);
    }
    drop(gradients, layers);
    drop(parameters, layers);
    const TensorMemory now = tensor_memory();
    ASSERT_EQ(now.used, base);
    most_held = std::max(most_held, now.used + now.kept - base);
  }
  EXPECT_GT(peak, 100 * kMegabyte);
  EXPECT_LE(static_cast<double>(most_held), 1.2 * static_cast<double>(peak)) << most_held << " of " << peak;
  EXPECT_TRUE(kShadowed || resident_bytes() < resident + peak / 5 * 6) << resident_bytes() << " after " << resident;
}

TEST(Allocator, SaysWhatCouldNotBeHad) {
  const TensorMemory before = tensor_memory();
  for (const size_t bytes : {size_t{1} << 50, ~size_t{0} - 100}) {
    try {
      block_of(bytes);
      ADD_FAILURE() << "there is no such memory";
    } catch (const c10::Error& error) {
      const std::string text = error.what_without_backtrace();
      EXPECT_NE(text.find("can't allocate memory: you tried to allocate " + std::to_string(bytes) + " bytes"),
                std::string::npos)
          << text;
    }
  }
  EXPECT_EQ(tensor_memory().used, before.used);
  EXPECT_EQ(tensor_memory().peak, before.peak);
}

TEST(Allocator, ForksWhileOthersAllocate) {
  std::atomic<bool> done{false};
  std::thread busy([&] {
    while (!done) block_of(3 * kMegabyte), block_of(300);
  });
  for (int i = 0; i < 30; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(20);
      const size_t before = tensor_memory().used;
      { const c10::DataPtr a = block_of(3 * kMegabyte), b = block_of(70000); }
      _exit(tensor_memory().used == before ? 0 : 1);
    }
    int how = 0;
    ASSERT_EQ(waitpid(child, &how, 0), child);
    ASSERT_TRUE(WIFEXITED(how) && WEXITSTATUS(how) == 0) << how;
  }
  done = true;
  busy.join();
}

TEST(InstalledAllocator, TensorsComeFromIt) {
  const InstalledAllocator allocator;
  if (!allocator.is()) GTEST_SKIP() << "not in a program with a sanitizer";
  EXPECT_EQ(c10::GetCPUAllocator(), &caching_allocator());
  const size_t base = tensor_memory().used;
  {
    at::Tensor a = at::empty({1000, 1000});
    EXPECT_EQ(tensor_memory().used, base + block_bytes(4000000));
    EXPECT_EQ(a.storage().allocator(), &caching_allocator());
    const at::Tensor view = a.slice(0, 1, 5), copy = a.clone();
    EXPECT_EQ(tensor_memory().used, base + 2 * block_bytes(4000000));
    a.resize_({3000, 1000});
    EXPECT_EQ(tensor_memory().used, base + block_bytes(4000000) + block_bytes(12000000));
  }
  EXPECT_EQ(tensor_memory().used, base);
}

TEST(InstalledAllocator, ServesBackwardInManyThreads) {
  const InstalledAllocator allocator;
  if (!allocator.is()) GTEST_SKIP() << "not in a program with a sanitizer";
  const size_t base = tensor_memory().used;
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int number = 0; number < 4; ++number)
    threads.emplace_back([&, number] {
      for (int i = 0; i < 30; ++i) {
        const at::Tensor x = at::full({64 + number, 300 + i}, 0.5).requires_grad_();
        (x * x + x.exp()).sum().backward();
        wrong += !at::allclose(x.grad(), 2 * x.detach() + x.detach().exp());
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(tensor_memory().used, base);
}

TEST(InstalledAllocator, ObeysTheEnvironment) {
  {
    const EnvironmentVariable system("ETUDE_ALLOCATOR", "system");
    EXPECT_FALSE(install_allocator());
    EXPECT_EQ(c10::GetCPUAllocator(), c10::GetDefaultCPUAllocator());
  }
  {
    const EnvironmentVariable wrong("ETUDE_ALLOCATOR", "sistem");
    expect_error(install_allocator, Code::config, "there is no allocator 'sistem'", "ETUDE_ALLOCATOR", "'system'");
  }
  for (const char* text : {"much", "-1", "5T", "1e300", "%", "nan"}) {
    const EnvironmentVariable wrong("ETUDE_ALLOCATOR_CACHE", text);
    expect_error(install_allocator, Code::config, std::string("'") + text + "' is no amount of memory",
                 "ETUDE_ALLOCATOR_CACHE", "25%");
  }
  const EnvironmentVariable limit("ETUDE_ALLOCATOR_CACHE", "8M");
  const InstalledAllocator allocator;
  if (!allocator.is()) GTEST_SKIP() << "not in a program with a sanitizer";
  { const c10::DataPtr a = block_of(50 * kMegabyte); }
  EXPECT_LE(tensor_memory().kept, 8 * kMegabyte + kOwnBytes);
  limit_kept_memory(size_t{1} << 40);
}

}  // namespace
}  // namespace etude
