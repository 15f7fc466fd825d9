#include "etude/tensor/processor.h"

#include <ATen/cpu/Utils.h>
#include <cpuid.h>
#include <hwy/targets.h>

#include <array>
#include <atomic>
#include <cstdlib>

#include "etude/base/error.h"

namespace etude {
namespace {

constexpr std::array<std::string_view, 5> kNames{"aten", "avx2", "avx512", "avx512_bf16", "amx"};
/// What oneDNN calls them in ONEDNN_MAX_CPU_ISA.
constexpr std::array<const char*, 5> kOneDnnNames{"DEFAULT", "AVX2", "AVX512_CORE", "AVX512_CORE_BF16",
                                                  "AVX512_CORE_AMX"};

std::atomic<int> forced{-1};

/// CPUID leaf 7: tiles with bfloat16 products (Intel's manual, volume 2A, table 3-8), and the system lets us use them.
bool has_amx() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  constexpr unsigned kBfloat16 = 1U << 22, kTiles = 1U << 24;
  return (d & kBfloat16) && (d & kTiles) && at::cpu::init_amx();
}

Isa detect() {
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return Isa::aten;
  for (const bool wide : {__builtin_cpu_supports("avx512f") != 0, __builtin_cpu_supports("avx512bw") != 0,
                          __builtin_cpu_supports("avx512vl") != 0, __builtin_cpu_supports("avx512dq") != 0})
    if (!wide) return Isa::avx2;
  if (!__builtin_cpu_supports("avx512bf16")) return Isa::avx512;
  return has_amx() ? Isa::amx : Isa::avx512_bf16;
}

/// Highway's kernels follow: without AVX-512 they take AVX2, and for `aten` none of them is called.
void limit_highway(Isa isa) {
  if (isa < Isa::avx512) hwy::DisableTargets(HWY_AVX3 | HWY_AVX3_DL);
}

}  // namespace

std::string_view isa_name(Isa isa) { return kNames[static_cast<size_t>(isa)]; }

Isa detected_isa() {
  static const Isa found = detect();
  return found;
}

Isa isa() {
  const int chosen = forced.load(std::memory_order_relaxed);
  return chosen < 0 ? detected_isa() : static_cast<Isa>(chosen);
}

void force_isa(Isa isa) {
  if (isa > detected_isa())
    throw Error(
        Code::config,
        "this processor has no " + std::string(isa_name(isa)) + ", at best " + std::string(isa_name(detected_isa())),
        "ETUDE_ISA", "leave it unset, or name less");
  hwy::DisableTargets(0);
  limit_highway(isa);
  forced = static_cast<int>(isa);
}

void obey_isa_switch() {
  const char* const wish = std::getenv("ETUDE_ISA");
  if (!wish || !*wish) return;
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] != wish) continue;
    force_isa(static_cast<Isa>(i));
    if (i > 0) ::setenv("ONEDNN_MAX_CPU_ISA", kOneDnnNames[i], /*overwrite=*/1);
    return;
  }
  throw Error(Code::config, "unknown instructions '" + std::string(wish) + "'", "ETUDE_ISA",
              did_you_mean(wish, {kNames.begin(), kNames.end()}));
}

std::vector<Isa> available_isas() {
  std::vector<Isa> all;
  for (size_t i = 0; i < kNames.size(); ++i)
    if (static_cast<Isa>(i) <= detected_isa()) all.push_back(static_cast<Isa>(i));
  return all;
}

}  // namespace etude
