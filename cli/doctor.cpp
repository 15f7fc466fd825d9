#include <sys/sysinfo.h>

#include <fstream>
#include <iostream>

#include "cli/commands.h"
#include "etude/base/assets.h"
#include "etude/base/torch_pch.h"

namespace etude::cli {
namespace {

/// The best instruction set for products that the processor has.
std::string best_isa() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    if (line.rfind("flags", 0) != 0) continue;
    for (const auto& [flag, name] : {std::pair{"amx_bf16", "AMX (bfloat16)"}, {"avx512_bf16", "AVX-512 with bfloat16"}, {"avx512f", "AVX-512"}, {"avx2", "AVX2"}})
      if (line.find(std::string(" ") + flag) != std::string::npos) return name;
  }
  return "unknown";
}

}  // namespace

void add_doctor(CLI::App& app, Session&) {
  app.add_subcommand("doctor", "what this machine and build offer, and what to do about it")->footer("examples:\n  etude doctor")->callback([] {
    struct sysinfo memory {};
    sysinfo(&memory);
    const int cores = available_cores();
    std::cout << "LibTorch      " << TORCH_VERSION << "\nprocessor     " << processor_name() << "\ninstructions  " << at::get_cpu_capability() << " in use; best here: " << best_isa() << "\ncores         " << cores << "\nmemory        "
              << human_bytes(static_cast<double>(memory.totalram) * memory.mem_unit) << ", " << human_bytes(static_cast<double>(memory.freeram + memory.bufferram) * memory.mem_unit) << " free\nmethods       ";
    for (const Paper& paper : catalogue())
      if (paper.built) std::cout << paper.slug << ' ';
    std::cout << "\ndata sets     ";
    for (std::string_view path : assets("data/"))
      if (path.ends_with(".txt")) std::cout << "builtin:" << path.substr(5, path.size() - 9) << " (" << human_bytes(static_cast<double>(asset(path)->size())) << ") ";
    std::cout << "\n";
    if (memory.totalram * memory.mem_unit < (uint64_t{2} << 30)) std::cout << "to do: less than 2 GiB of memory; compare with --jobs 1\n";
    if (!std::getenv("OMP_WAIT_POLICY") && cores < 4) std::cout << "to do: set OMP_WAIT_POLICY=passive when other programs use these cores\n";
    std::cout << "build: " << at::show_config().substr(0, at::show_config().find('\n')) << '\n';
  });
}

}  // namespace etude::cli
