#include <sys/statvfs.h>

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "etude/base/torch_pch.h"
#include "etude/data/sets.h"

namespace etude::cli {
namespace {

/// A line of /proc/cpuinfo or /proc/meminfo: what stands behind the colon.
std::string proc_line(const char* path, const std::string& key) {
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);)
    if (line.starts_with(key))
      if (const size_t colon = line.find(':'); colon != std::string::npos)
        return line.substr(std::min(line.size(), colon + 2));
  return "";
}

double memory(const std::string& key) { return std::atof(proc_line("/proc/meminfo", key).c_str()) * 1024; }

/// The best instruction set for products that the processor has, in LibTorch's words where it has some.
std::string best_isa() {
  const std::string flags = " " + proc_line("/proc/cpuinfo", "flags") + " ";
  for (const auto& [flag, name] : {std::pair{"amx_bf16", "AVX512 with AMX bfloat16"},
                                   {"avx512_bf16", "AVX512 with bfloat16"},
                                   {"avx512f", "AVX512"},
                                   {"avx2", "AVX2"}})
    if (flags.find(std::string(" ") + flag + " ") != std::string::npos) return name;
  return "none beyond the default";
}

struct Findings {
  int cores = available_cores();
  double total = memory("MemTotal"), free = memory("MemAvailable"), disk = 0;
  std::string in_use = at::get_cpu_capability(), best = best_isa();
  std::vector<std::string> advice;
};

Findings examine() {
  Findings f;
  struct statvfs here {};
  if (statvfs(".", &here) == 0) f.disk = static_cast<double>(here.f_bavail) * static_cast<double>(here.f_frsize);
  if (f.best.starts_with("AVX") && !f.best.starts_with(f.in_use))
    f.advice.push_back("this LibTorch uses " + f.in_use + " where the processor has " + f.best +
                       (std::getenv("ATEN_CPU_CAPABILITY")
                            ? ": unset ATEN_CPU_CAPABILITY"
                            : ": a build for this processor would be faster (ETUDE_TORCH)"));
  if (f.free < double{2ull << 30}) f.advice.push_back("less than 2 GiB of memory are free: compare with --jobs 1");
  if (f.disk < double{1ull << 30})
    f.advice.push_back("less than 1 GiB is free on this disk: keep runs elsewhere with --out");
  if (const char* threads = std::getenv("OMP_NUM_THREADS"))
    f.advice.push_back("OMP_NUM_THREADS=" + std::string(threads) + " has no say: a recipe's `threads` decides");
  if (f.cores < 2) f.advice.push_back("one core: runs of a comparison follow each other");
  return f;
}

void tell_json(const Findings& f) {
  nlohmann::json sets = nlohmann::json::array();
  for (const DataCard& card : data_sets())
    sets.push_back({{"name", card.name}, {"bytes", card.bytes}, {"licence", card.licence}});
  std::cout << nlohmann::json{{"etude", kVersion},
                              {"commit", source_commit()},
                              {"libtorch", TORCH_VERSION},
                              {"libtorch_config", at::show_config()},
                              {"processor", processor_name()},
                              {"isa", f.in_use},
                              {"best_isa", f.best},
                              {"cores", f.cores},
                              {"threads", at::get_num_threads()},
                              {"memory_bytes", f.total},
                              {"memory_free_bytes", f.free},
                              {"disk_free_bytes", f.disk},
                              {"data_sets", sets},
                              {"advice", f.advice}}
                   .dump()
            << '\n';
}

void tell_text(const Findings& f) {
  std::cout << "Etude         " << kVersion << ", commit " << source_commit().substr(0, 12) << "\nLibTorch      "
            << TORCH_VERSION << "\nprocessor     " << processor_name() << "\ninstructions  " << f.in_use
            << " in use; the best here: " << f.best << "\ncores         " << f.cores << "\nmemory        "
            << human_bytes(f.total) << ", " << human_bytes(f.free) << " free\ndisk here     " << human_bytes(f.disk)
            << " free\nmethods       ";
  for (const Paper& paper : catalogue())
    if (paper.built) std::cout << paper.slug << ' ';
  std::cout << "\ndata sets\n";
  for (const DataCard& card : data_sets())
    std::cout << "  builtin:" << padded(card.name, 12) << ' ' << human_bytes(static_cast<double>(card.bytes)) << ", "
              << card.licence << '\n';
  std::cout << "\nLibTorch was built with\n" << at::show_config();
  std::cout << (f.advice.empty() ? "\nnothing to do\n" : "\nto do\n");
  for (const std::string& advice : f.advice) std::cout << "  " << advice << '\n';
}

}  // namespace

void add_doctor(CLI::App& app, Session& session) {
  app.add_subcommand("doctor", "what this machine and build offer, and what to do about it")
      ->footer("examples:\n  etude doctor\n  etude --json doctor\nIts output belongs into a bug report.")
      ->callback([&session] {
        const Findings findings = examine();
        if (session.json)
          tell_json(findings);
        else
          tell_text(findings);
      });
}

}  // namespace etude::cli
