#include "cli/bench_rounds.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <ctime>
#include <filesystem>
#include <memory>
#include <thread>

#include "cli/process.h"
#include "etude/base/error.h"
#include "etude/base/file.h"
#include "etude/base/log.h"
#include "etude/base/text.h"
#include "etude/train/run.h"

namespace etude::cli {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kWarmUpSteps = 3, kMostSteps = 200, kCurveSteps = 50;
constexpr double kCurveTolerance = 1e-3;
constexpr const char* kSetUp = "make bench-peers sets one up in .deps/bench; --python names another";

/// A way in which people run PyTorch.
struct Mode {
  std::string name;
  bool compile, tcmalloc;
};

std::vector<Mode> modes(bool tuned) {
  std::vector<Mode> all = {{std::string(report::kAsInstalled), false, false}};
  if (!tuned) return all;
  all.push_back({"compile", true, false});
  if (tcmalloc_library().empty()) return all;
  all.push_back({"eager, tcmalloc", false, true});
  all.push_back({"compile, tcmalloc", true, true});
  return all;
}

BenchChild::Variables threads_of(const BenchSettings& settings) {
  return {{"OMP_NUM_THREADS", std::to_string(settings.threads)}};
}

std::unique_ptr<BenchChild> start_peer(const Mode& mode, const std::string& errors, const BenchSettings& settings) {
  BenchChild::Variables variables = threads_of(settings);
  variables["PYTHONDONTWRITEBYTECODE"] = "1";
  if (mode.tcmalloc) variables["LD_PRELOAD"] = tcmalloc_library();
  return std::make_unique<BenchChild>("PyTorch, " + mode.name,
                                      std::vector<std::string>{settings.python, peer_program()}, variables, errors);
}

/// One side of a row with what it has told.
struct Party {
  std::unique_ptr<BenchChild> child;
  report::BenchSide side;
  double idle_bytes = 0;
  int64_t parameters = 0;

  void begin(const nlohmann::json& task) {
    const nlohmann::json ready = child->ask(task);
    parameters = ready.at("parameters").get<int64_t>();
    idle_bytes = ready.at("idle_bytes").get<double>();
  }
  nlohmann::json steps(int64_t count) { return child->ask({{"steps", count}}); }
  void measure(int64_t count) {
    const nlohmann::json took = steps(count);
    side.seconds.push_back(took.at("seconds").get<double>() / static_cast<double>(count));
    side.bytes = std::max(side.bytes, took.at("peak_bytes").get<double>() - idle_bytes);
  }
};

void require_equal_size(const Party& ours, const Party& peer) {
  if (ours.parameters == peer.parameters) return;
  throw Error(Code::config,
              "the nets differ: " + std::to_string(ours.parameters) + " parameters here, " +
                  std::to_string(peer.parameters) + " in " + peer.child->name(),
              "etude bench", "speeds of different nets are no comparison: bench/peers/*.py must have the same layers");
}

/// The largest relative difference of the losses of the same steps from the same weights.
double compare_curves(Party& ours, Party& peer) {
  const auto a = ours.steps(kCurveSteps).at("losses").get<std::vector<double>>();
  const auto b = peer.steps(kCurveSteps).at("losses").get<std::vector<double>>();
  ETUDE_CHECK(a.size() == b.size() && !a.empty(), "both sides tell the loss of each step");
  double most = 0;
  for (size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(a[i] - b[i]) / std::abs(b[i]));
  inform("  losses of " + std::to_string(kCurveSteps) + " steps: " + rounded_number(b.front()) + " -> " +
         rounded_number(b.back()) + " on both sides, apart by at most " + rounded_number(most));
  return most;
}

/// Measures the roof once more and keeps the best.
void raise_roof(BenchChild& child, const StepShape& shape, report::BenchRow& row, int64_t threads) {
  nlohmann::json shapes = {{1024, 1024, 1024}, {2048, 2048, 2048}};
  for (const auto& own : product_shapes(shape)) shapes.push_back(own);
  const nlohmann::json found =
      child.ask({{"roof", {{"format", row.format}, {"shapes", shapes}}}, {"threads", threads}});
  if (const double flops = found.at("flops"); flops > row.roof) {
    row.roof = flops;
    row.roof_product = found.at("product");
  }
}

std::string today() {
  const std::time_t now = std::time(nullptr);
  char text[16];
  std::tm utc{};
  std::strftime(text, sizeof text, "%Y-%m-%d", gmtime_r(&now, &utc));
  return text;
}

}  // namespace

std::string peer_program() {
  const std::string wanted = "bench/peers/peer.py";
  std::error_code none;
  for (const fs::path& begin : {fs::read_symlink("/proc/self/exe", none).parent_path(), fs::current_path()})
    for (fs::path at = begin; !at.empty(); at = at.parent_path()) {
      if (file::exists((at / wanted).string())) return (at / wanted).string();
      if (at == at.root_path()) break;
    }
  throw Error(Code::usage, "the peers' programs are not here", wanted, "run etude bench in a checkout of Etude");
}

std::string torch_version(const std::string& python) {
  const Ended ended = run_program(
      {python, "-c", "import torch; print(torch.__version__)"}, "", [] {},
      "there is no Python of that name: " + std::string(kSetUp));
  if (ended.code == 0) return std::string(trim(ended.out));
  throw Error(Code::usage, "'" + python + "' has no PyTorch that can be loaded", "--python", kSetUp);
}

std::string tcmalloc_library() {
  for (const char* folder : {"/usr/lib/x86_64-linux-gnu/", "/usr/lib64/", "/usr/lib/"})
    for (const char* name : {"libtcmalloc_minimal.so.4", "libtcmalloc.so.4"})
      if (file::exists(std::string(folder) + name)) return std::string(folder) + name;
  return "";
}

ScratchFolder::ScratchFolder() : path_((fs::temp_directory_path() / "etude-bench-XXXXXX").string()) {
  if (!mkdtemp(path_.data())) throw Error(Code::io, "no temporary folder can be made", path_, "set TMPDIR to another");
}

ScratchFolder::~ScratchFolder() {
  std::error_code none;
  fs::remove_all(path_, none);
}

std::unique_ptr<BenchChild> start_our_side(const std::string& folder, const BenchSettings& settings) {
  return std::make_unique<BenchChild>("etude", std::vector<std::string>{"/proc/self/exe", "bench-side"},
                                      threads_of(settings), folder + "/etude.errors");
}

report::BenchRow measure_step(const StepShape& shape, const std::string& format, const BenchSettings& settings) {
  const ScratchFolder scratch;
  nlohmann::json task = write_task(shape, scratch.path(), settings.threads);
  task["format"] = format;
  Party ours{start_our_side(scratch.path(), settings), {.name = "etude"}};
  ours.begin(task);
  std::vector<Party> peers;
  for (const Mode& mode : modes(settings.tuned)) {
    const std::string errors = scratch.path() + "/peer-" + std::to_string(peers.size()) + ".errors";
    peers.push_back({start_peer(mode, errors, settings), {.name = mode.name}});
    task["compile"] = mode.compile;
    peers.back().begin(task);
    require_equal_size(ours, peers.back());
  }
  report::BenchRow row{.name = shape.name,
                       .format = format,
                       .shape = shape.text(),
                       .date = today(),
                       .commit = source_commit(),
                       .parameters = ours.parameters,
                       .tokens = shape.tokens(),
                       .flops = required_flops(shape),
                       .curves = std::nan("")};
  inform(shape.name + " " + format + ": " + std::to_string(row.parameters) + " parameters on each side");
  if (settings.curves) row.curves = compare_curves(ours, peers.front());
  if (format == "fp32" && row.curves > kCurveTolerance)
    throw Error(Code::numeric,
                "the losses of the same steps are apart by " + rounded_number(row.curves) + ", more than " +
                    rounded_number(kCurveTolerance),
                "etude bench --curves", "the two sides do not train the same net in the same way");

  double slowest = ours.steps(kWarmUpSteps).at("seconds").get<double>();
  for (Party& peer : peers) {
    peer.steps(kWarmUpSteps);  // compiles
    slowest = std::max(slowest, peer.steps(kWarmUpSteps).at("seconds").get<double>());
  }
  const auto count =
      std::clamp<int64_t>(std::llround(settings.seconds * static_cast<double>(kWarmUpSteps) / slowest), 1, kMostSteps);
  const auto roof = start_our_side(scratch.path(), settings);
  for (int64_t round = 0; round < settings.rounds; ++round) {
    row.quiet = std::min(row.quiet, free_share(settings.threads, 0.1));
    ours.measure(count);
    for (Party& peer : peers) peer.measure(count);
    raise_roof(*roof, shape, row, settings.threads);
  }
  row.ours = ours.side;
  for (const Party& peer : peers) row.peers.push_back(peer.side);
  return row;
}

nlohmann::json explain_step(const StepShape& shape, const std::string& format, const BenchSettings& settings) {
  const ScratchFolder scratch;
  nlohmann::json task = write_task(shape, scratch.path(), settings.threads);
  task["format"] = format;
  const auto ours = start_our_side(scratch.path(), settings);
  ours->ask(task);
  return ours->ask({{"explain", true}}).at("paths");
}

double free_share(int64_t threads, double seconds) {
  std::atomic<int64_t> nanoseconds = 0;
  const auto begun = std::chrono::steady_clock::now();
  const auto wall = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count(); };
  std::vector<std::thread> all;
  for (int64_t i = 0; i < threads; ++i)
    all.emplace_back([&] {
      while (wall() < seconds) {
      }
      timespec own{};
      clock_gettime(CLOCK_THREAD_CPUTIME_ID, &own);
      nanoseconds += own.tv_sec * 1'000'000'000 + own.tv_nsec;
    });
  for (std::thread& thread : all) thread.join();
  return std::min(1.0, 1e-9 * static_cast<double>(nanoseconds) / (static_cast<double>(threads) * wall()));
}

void keep_to_cores(int64_t cores) {
  cpu_set_t allowed, kept;
  CPU_ZERO(&kept);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  for (int core = 0; core < CPU_SETSIZE && CPU_COUNT(&kept) < cores; ++core)
    if (CPU_ISSET(core, &allowed)) CPU_SET(core, &kept);
  sched_setaffinity(0, sizeof kept, &kept);
}

}  // namespace etude::cli
