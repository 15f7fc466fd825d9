// The allocator under LibTorch's tensors next to glibc's and tcmalloc: what a training step and four prefetching
// threads allocated and freed, recorded once and replayed through each, every page touched; and the training step
// itself.
//
//   ninja -C build/release bench && build/release/bench_allocator [ROUNDS]
//
// Each measurement is a process of its own, and the allocators take turns. tcmalloc is Debian's
// libtcmalloc-minimal4, preloaded under LibTorch's own allocator; TCMALLOC=path names another.

#include "etude/base/torch_pch.h"

#include <c10/core/CPUAllocator.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "etude/base/log.h"
#include "etude/nn/decoder.h"
#include "etude/optim/optimizer.h"
#include "etude/tensor/allocator.h"

namespace etude {
namespace {

constexpr int kPrefetchers = 4;
constexpr int64_t kBatches = 12;  // of each of them
constexpr int64_t kSteps = 3;     // of training in the trace
constexpr int64_t kAhead = 2000;  // events that a thread may be ahead of the slowest
constexpr double kSeconds = 0.1;  // of a measurement at least

/// Block `id` of so many bytes is allocated, or, with 0 bytes, freed.
struct Event {
  int32_t thread, id;
  int64_t bytes;
};
using Trace = std::vector<Event>;

/// LibTorch's own allocator, with a list of what it was asked for.
class Recorder final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    c10::DataPtr block = c10::GetDefaultCPUAllocator()->allocate(bytes);
    if (bytes == 0) return block;
    const std::lock_guard lock(mutex_);
    const auto id = static_cast<int32_t>(ids_++);
    blocks_[block.get()] = id;
    trace_.push_back({thread(), id, static_cast<int64_t>(bytes)});
    void* const data = block.release_context();
    return {data, data, &release, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }

  /// The events since it was made or last asked, blocks that are still out freed at the end.
  Trace take() {
    const std::lock_guard lock(mutex_);
    std::vector<bool> out(static_cast<size_t>(ids_), false);
    for (const Event& event : trace_) out[static_cast<size_t>(event.id)] = event.bytes > 0;
    for (size_t id = 0; id < out.size(); ++id)
      if (out[id]) trace_.push_back({0, static_cast<int32_t>(id), 0});
    blocks_.clear();
    ids_ = 0;
    return std::exchange(trace_, {});
  }
  void start() { take(); }
  static Recorder& instance() {
    static Recorder* const one = new Recorder;
    return *one;
  }

 private:
  static int32_t thread() {
    static std::atomic<int32_t> count{0};
    thread_local const int32_t mine = count++;
    return mine;
  }
  static void release(void* data) {
    if (!data) return;
    Recorder& all = instance();
    {
      const std::lock_guard lock(all.mutex_);
      if (const auto known = all.blocks_.find(data); known != all.blocks_.end()) {
        all.trace_.push_back({thread(), known->second, 0});
        all.blocks_.erase(known);
      }
    }
    c10::GetDefaultCPUAllocator()->raw_deallocate(data);
  }

  std::mutex mutex_;
  std::unordered_map<void*, int32_t> blocks_;
  Trace trace_;
  int64_t ids_ = 0;
};

/// A decoder of width 64 with AdamW: B = 16 rows of T = 64 tokens out of V = 256.
class Training {
 public:
  Training() {
    DecoderOptions options;  // dim = 64, layers = 2, length = 64
    options.vocab = 256;
    net_ = make_decoder(options);
    net_->initialise(1);
    Parameters parameters;
    for (const auto& p : net_->named_parameters()) parameters.push_back({p.key(), p.value(), net_->tags(p.key())});
    Part adamw;
    adamw.config.set("kind", "adamw");
    optimizer_ = make_optimizer(adamw, parameters);
    ids_BT_ = torch::randint(256, {16, 65}, at::kLong);
  }

  void step() {
    Ctx ctx;
    ctx.train = true;
    const Tensor logits = net_->logits(ids_BT_.slice(1, 0, 64).contiguous(), {}, {}, ctx);
    const Tensor loss = at::cross_entropy_loss(logits.reshape({-1, 256}), ids_BT_.slice(1, 1).reshape({-1}));
    for (const Parameter& p : optimizer_->parameters()) p.value.mutable_grad().reset();
    loss.backward();
    std::vector<Tensor> gradients;
    for (const Parameter& p : optimizer_->parameters()) gradients.push_back(p.value.grad());
    const torch::NoGradGuard no_grad;
    counters_[Unit::steps] += 1;
    optimizer_->step(Position{counters_, Count{1000, Unit::steps}}, gradients);
  }

 private:
  std::shared_ptr<Decoder> net_;
  std::unique_ptr<Optimizer> optimizer_;
  Tensor ids_BT_;
  Counters counters_;
};

/// Images as a loader makes them - read, cropped, turned, scaled, stacked - two batches ahead of who uses them.
void prefetch() {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Tensor> ready;
  std::vector<std::thread> threads;
  for (int number = 0; number < kPrefetchers; ++number)
    threads.emplace_back([&, number] {
      const torch::NoGradGuard no_grad;
      for (int64_t i = 0; i < kBatches; ++i) {
        std::vector<Tensor> images;
        for (int64_t item = 0; item < 16; ++item) {
          const Tensor read = torch::full({3, 72, 72}, number, at::kByte);
          Tensor image_CHW = read.slice(1, item % 8, 64 + item % 8).slice(2, i % 8, 64 + i % 8).to(at::kFloat);
          if (item % 2 == 0) image_CHW = image_CHW.flip({2});
          images.push_back((image_CHW / 255 - 0.5) / 0.25);
        }
        const Tensor image_BCHW = torch::stack(images);
        images.clear();
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return ready.size() < 2 * kPrefetchers; });
        ready.push_back(image_BCHW);
        changed.notify_all();
      }
    });
  for (int64_t i = 0; i < kPrefetchers * kBatches; ++i) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return !ready.empty(); });
    const Tensor image_BCHW = ready.front();
    ready.pop_front();
    changed.notify_all();
    lock.unlock();
    image_BCHW.mean();
  }
  for (std::thread& thread : threads) thread.join();
}

Trace record_training() {
  Training training;
  training.step();
  training.step();
  Recorder::instance().start();
  for (int64_t i = 0; i < kSteps; ++i) training.step();
  return Recorder::instance().take();
}

Trace record_prefetch() {
  prefetch();
  Recorder::instance().start();
  prefetch();
  return Recorder::instance().take();
}

/// A trace over and over again, in as many threads as it was recorded in.
class Replay {
 public:
  explicit Replay(const Trace& trace) : events_(static_cast<int64_t>(trace.size())) {
    std::map<int32_t, size_t> threads;
    for (const Event& event : trace) threads.try_emplace(event.thread, threads.size());
    of_.resize(threads.size());
    at_ = std::vector<Place>(threads.size());
    int32_t last = 0;
    for (int64_t i = 0; i < events_; ++i) {
      const Event& event = trace[static_cast<size_t>(i)];
      of_[threads.at(event.thread)].push_back({i, event.id, event.bytes});
      last = std::max(last, event.id);
      allocations_ += event.bytes > 0;
    }
    blocks_ = std::vector<std::atomic<void*>>(static_cast<size_t>(last) + 1);
  }

  /// Processor's seconds for each allocation and what frees it.
  double measure() {
    run(3);
    int64_t rounds = 5;
    for (;; rounds *= 4) {
      const double before = processor_seconds();
      run(rounds);
      const double took = processor_seconds() - before;
      if (took > kSeconds) return took / static_cast<double>(rounds * allocations_);
    }
  }

 private:
  struct Own {
    int64_t place;
    int32_t id;
    int64_t bytes;
  };
  /// The event that a thread is at, counted over all threads and rounds.
  struct alignas(64) Place {
    std::atomic<int64_t> next{0};
  };

  static double processor_seconds() {
    timespec t{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
  }

  void run(int64_t rounds) {
    std::vector<std::thread> threads;
    for (size_t i = 1; i < of_.size(); ++i) threads.emplace_back([this, rounds, i] { run(rounds, i); });
    run(rounds, 0);
    for (std::thread& thread : threads) thread.join();
    for (Place& at : at_) at.next = 0;
  }

  void run(int64_t rounds, size_t thread) {
    c10::Allocator& allocator = *c10::GetCPUAllocator();
    const c10::DeleterFnPtr release = allocator.raw_deleter();
    int64_t count = 0;
    for (int64_t round = 0; round < rounds; ++round)
      for (const Own& event : of_[thread]) {
        const int64_t place = round * events_ + event.place;
        at_[thread].next.store(place, std::memory_order_relaxed);
        if (++count % 64 == 0) wait_for_others(place);
        std::atomic<void*>& block = blocks_[static_cast<size_t>(event.id)];
        if (event.bytes > 0) {
          char* const data = static_cast<char*>(allocator.raw_allocate(static_cast<size_t>(event.bytes)));
          for (int64_t i = 0; i < event.bytes; i += 4096) static_cast<volatile char*>(data)[i] = 1;
          while (block.load(std::memory_order_acquire)) pause();  // of the round before, not freed yet
          block.store(data, std::memory_order_release);
        } else {
          void* data = nullptr;
          while (!(data = block.load(std::memory_order_acquire))) pause();
          block.store(nullptr, std::memory_order_release);
          release(data);
        }
      }
    at_[thread].next = std::numeric_limits<int64_t>::max();
  }

  void wait_for_others(int64_t place) {
    for (const Place& other : at_)
      while (place - kAhead > other.next.load(std::memory_order_relaxed)) pause();
  }

  /// Sleeps: waiting must not count as the processor's time.
  static void pause() { std::this_thread::sleep_for(std::chrono::microseconds(50)); }

  std::vector<std::vector<Own>> of_;
  std::vector<Place> at_;
  std::vector<std::atomic<void*>> blocks_;
  int64_t events_, allocations_ = 0;
};

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<int64_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

/// Processor's seconds of a training step in one thread.
double measure_training() {
  Training training;
  std::vector<double> seconds;
  for (int i = 0; i < 60; ++i) {
    timespec before{}, after{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
    training.step();
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
    if (i < 10) continue;
    seconds.push_back(static_cast<double>(after.tv_sec - before.tv_sec) +
                      1e-9 * static_cast<double>(after.tv_nsec - before.tv_nsec));
  }
  return median(seconds);
}

void store(const Trace& trace, const std::string& path) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(trace.data()), static_cast<std::streamsize>(trace.size() * sizeof(Event)));
}

Trace load(const std::string& path) {
  Trace trace(std::filesystem::file_size(path) / sizeof(Event));
  std::ifstream(path, std::ios::binary)
      .read(reinterpret_cast<char*>(trace.data()), static_cast<std::streamsize>(trace.size() * sizeof(Event)));
  return trace;
}

/// One measurement, in this process; its result is what it prints.
int measure(const std::string& what) {
  install_allocator();
  const double seconds = what == "training" ? measure_training() : Replay(load(what)).measure();
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  std::printf("%.6g %ld\n", seconds, usage.ru_maxrss);
  return 0;
}

struct Allocator {
  const char* name;
  std::string environment;
};

struct Measured {
  double seconds = 0, megabytes = 0;
};

Measured in_process(const Allocator& allocator, const std::string& what) {
  const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
  FILE* const out = popen((allocator.environment + " '" + self + "' --measure '" + what + "'").c_str(), "r");
  Measured measured;
  long kilobytes = 0;
  if (!out || std::fscanf(out, "%lg %ld", &measured.seconds, &kilobytes) != 2)
    throw Error(Code::io, std::string("nothing was measured with ") + allocator.name, what);
  pclose(out);
  measured.megabytes = static_cast<double>(kilobytes) / 1e3;
  return measured;
}

/// A line for each allocator: median time, and the ratio to ours, median and range over rounds.
void compare(const char* title, const std::string& what, const std::vector<Allocator>& allocators, int rounds,
             double unit, const char* unit_name) {
  std::vector<std::vector<double>> seconds(allocators.size()), ratios(allocators.size());
  std::vector<double> memory(allocators.size());
  for (int round = 0; round < rounds; ++round)
    for (size_t i = 0; i < allocators.size(); ++i) {
      const Measured m = in_process(allocators[i], what);
      seconds[i].push_back(m.seconds);
      ratios[i].push_back(m.seconds / seconds[0].back());
      memory[i] = m.megabytes;
    }
  std::printf("%s\n", title);
  for (size_t i = 0; i < allocators.size(); ++i) {
    const auto [least, most] = std::minmax_element(ratios[i].begin(), ratios[i].end());
    std::printf("  %-9s %9.2f %s   %5.2f of ours (%.2f .. %.2f)   peak RSS %.0f MB\n", allocators[i].name,
                median(seconds[i]) / unit, unit_name, median(ratios[i]), *least, *most, memory[i]);
  }
}

int run(int rounds) {
  const char* const other = std::getenv("TCMALLOC");
  const std::string tcmalloc = other ? other : "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4";
  std::vector<Allocator> allocators = {{"ours", ""}, {"glibc", "ETUDE_ALLOCATOR=system"}};
  if (std::filesystem::exists(tcmalloc))
    allocators.push_back({"tcmalloc", "ETUDE_ALLOCATOR=system LD_PRELOAD='" + tcmalloc + "'"});
  else
    std::printf("no tcmalloc at %s\n", tcmalloc.c_str());
  std::string folder = (std::filesystem::temp_directory_path() / "etude-bench-XXXXXX").string();
  if (!mkdtemp(folder.data())) throw Error(Code::io, "no temporary folder can be made", folder);
  c10::SetCPUAllocator(&Recorder::instance());
  store(record_training(), folder + "/step");
  store(record_prefetch(), folder + "/prefetch");
  compare("training steps of a decoder d=64, replayed: processor's time of an allocation", folder + "/step", allocators,
          rounds, 1e-9, "ns");
  compare("four prefetching threads, replayed: processor's time of an allocation", folder + "/prefetch", allocators,
          rounds, 1e-9, "ns");
  compare("the training step itself, one thread", "training", allocators, rounds, 1e-3, "ms");
  std::filesystem::remove_all(folder);
  return 0;
}

}  // namespace
}  // namespace etude

int main(int count, char** words) {
  at::set_num_threads(1);
  try {
    if (count > 2 && std::string(words[1]) == "--measure") return etude::measure(words[2]);
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    return etude::run(count > 1 ? std::atoi(words[1]) : 5);
  } catch (const etude::Error& error) {
    etude::report_error(error);
    return static_cast<int>(error.code());
  }
}
