#include <sys/statvfs.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "cli/commands.h"
#include "cli/machine.h"
#include "etude/base/file.h"
#include "etude/base/text.h"
#include "etude/base/torch_pch.h"
#include "etude/comm/environment.h"
#include "etude/data/sets.h"

namespace etude::cli {
namespace {

struct DataSet {
  DataCard card;
  std::string problem;  ///< "" if its bytes have the hash of its card
};

struct Findings {
  int cores = available_cores(), machine_cores = static_cast<int>(std::thread::hardware_concurrency());
  double total = total_memory(), free = free_memory(), disk = 0;
  std::string in_use = at::get_cpu_capability(), best = best_instruction_set(), locale, runs;
  std::vector<std::string> libraries;  ///< that LibTorch was built with
  std::vector<DataSet> data;
  std::vector<Interface> interfaces = etude::interfaces();
  std::optional<Joining> place;  ///< among ranks, as the environment says
  std::string wrong_place;       ///< or what is wrong with that
  std::vector<std::string> advice;
};

/// The lines of LibTorch's own description that name libraries.
std::vector<std::string> libraries() {
  std::vector<std::string> names;
  std::istringstream all(at::show_config());
  for (std::string line; std::getline(all, line);) {
    const bool wanted = line.find("Math Kernel Library") != std::string::npos ||
                        line.find("MKL-DNN") != std::string::npos || line.find("OpenMP") != std::string::npos ||
                        line.find("LAPACK is") != std::string::npos;
    if (!wanted) continue;
    const size_t begin = line.find_first_not_of(" -");
    line = line.substr(begin, line.find(" (", begin) - begin);
    line = line.substr(0, line.find(" for Intel"));
    if (const size_t at = line.find("MKL-DNN"); at != std::string::npos) line.replace(at, 7, "oneDNN (MKL-DNN)");
    names.push_back(line);
  }
  return names;
}

std::string first_set(std::initializer_list<const char*> names) {
  for (const char* name : names)
    if (const char* value = std::getenv(name); value && *value) return std::string(name) + "=" + value;
  return "none";
}

std::string ranks_text(const Findings& f) {
  if (!f.wrong_place.empty()) return "the environment is wrong, see below";
  if (!f.place) return "the environment says one process; --nproc N starts more";
  return "this is " + std::to_string(f.place->rank) + " of " + std::to_string(f.place->size) + " (" + f.place->starter +
         "), they meet at " + f.place->host + ":" + std::to_string(f.place->port) + ", wait " +
         plain_number(f.place->deadline) + " s";
}

std::string interfaces_text(const Findings& f) {
  std::string text;
  for (const Interface& one : f.interfaces) text += (text.empty() ? "" : ", ") + one.name + " " + one.address;
  return text.empty() ? "none" : text;
}

/// Whether runs can be kept here.
std::string runs_here() {
  const bool there = file::exists("runs");
  if (there && !file::is_directory("runs")) return "./runs is a file";
  if (access(there ? "runs" : ".", W_OK | X_OK) != 0)
    return there ? "./runs can't be written" : "nothing can be written here";
  return there ? "./runs can be written" : "./runs can be made";
}

void add_advice(Findings& f) {
  const auto advise = [&](const std::string& text) { f.advice.push_back(text); };
  if (f.best.starts_with("AVX") && !f.best.starts_with(f.in_use))
    advise("LibTorch uses " + f.in_use + " where the processor has " + f.best +
           (std::getenv("ATEN_CPU_CAPABILITY") ? ": unset ATEN_CPU_CAPABILITY"
                                               : ": a build for this processor would be faster (ETUDE_TORCH)"));
  if (f.free < double{2ull << 30}) advise("less than 2 GiB of memory are free: compare with --jobs 1");
  if (f.disk < double{1ull << 30}) advise("less than 1 GiB is free on this disk: keep runs elsewhere with --out");
  if (!f.runs.ends_with("can be written") && !f.runs.ends_with("can be made"))
    advise(f.runs + ": go to another folder, or keep runs elsewhere with --out");
  if (const char* threads = std::getenv("OMP_NUM_THREADS"))
    advise("OMP_NUM_THREADS=" + std::string(threads) + " has no say: a recipe's `threads` decides");
  if (f.cores < 2) advise("one core: the runs of a comparison follow each other");
  if (f.cores < f.machine_cores)
    advise("this process may use " + std::to_string(f.cores) + " of " + std::to_string(f.machine_cores) +
           " cores (taskset, a container): comparisons take longer");
  if (!f.wrong_place.empty()) advise(f.wrong_place);
  for (const DataSet& set : f.data)
    if (!set.problem.empty()) advise(set.problem + ": this program is damaged, build it again");
}

Findings examine() {
  Findings f;
  struct statvfs here {};
  if (statvfs(".", &here) == 0) f.disk = static_cast<double>(here.f_bavail) * static_cast<double>(here.f_frsize);
  f.locale = first_set({"LC_ALL", "LC_NUMERIC", "LANG"});
  f.runs = runs_here();
  f.libraries = libraries();
  for (const DataCard& card : data_sets()) {
    DataSet set{card, ""};
    try {
      builtin_text(card.name);
    } catch (const Error& error) {
      set.problem = error.message();
    }
    f.data.push_back(std::move(set));
  }
  try {
    f.place = joining_from_environment();
  } catch (const Error& error) {
    f.wrong_place = error.message() + ": " + error.hint();
  }
  add_advice(f);
  return f;
}

void tell_json(const Findings& f) {
  nlohmann::json sets = nlohmann::json::array();
  for (const DataSet& set : f.data)
    sets.push_back({{"name", set.card.name},
                    {"bytes", set.card.bytes},
                    {"licence", set.card.licence},
                    {"origin", set.card.origin},
                    {"sha256", set.card.sha256},
                    {"verified", set.problem.empty()}});
  nlohmann::json interfaces = nlohmann::json::array(), place;
  for (const Interface& one : f.interfaces) interfaces.push_back({{"name", one.name}, {"address", one.address}});
  if (f.place)
    place = {{"rank", f.place->rank},        {"size", f.place->size}, {"starter", f.place->starter},
             {"host", f.place->host},        {"port", f.place->port}, {"interface", f.place->interface},
             {"deadline", f.place->deadline}};
  std::cout << nlohmann::json{{"etude", kVersion},
                              {"commit", source_commit()},
                              {"libtorch", TORCH_VERSION},
                              {"libraries", f.libraries},
                              {"libtorch_config", at::show_config()},
                              {"processor", processor_name()},
                              {"isa", f.in_use},
                              {"best_isa", f.best},
                              {"cores", f.cores},
                              {"machine_cores", f.machine_cores},
                              {"threads", at::get_num_threads()},
                              {"memory_bytes", f.total},
                              {"memory_free_bytes", f.free},
                              {"disk_free_bytes", f.disk},
                              {"runs", f.runs},
                              {"locale", f.locale},
                              {"interfaces", interfaces},
                              {"ranks", place},
                              {"data_sets", sets},
                              {"advice", f.advice}}
                   .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)
            << '\n';
}

void tell_text(const Findings& f) {
  std::cout << "Etude         " << kVersion << ", commit " << source_commit().substr(0, 12) << "\nmethods       ";
  std::string built;
  for (const Paper& paper : catalogue())
    if (paper.built) built += (built.empty() ? "" : ", ") + paper.slug;
  std::cout << built << "\nLibTorch      " << TORCH_VERSION << ", built with\n";
  for (const std::string& library : f.libraries) std::cout << "                " << library << '\n';
  std::cout << "processor     " << processor_name() << "\ninstructions  " << f.in_use
            << " in use; the best here: " << f.best << "\ncores         " << f.cores << " of " << f.machine_cores
            << "; a recipe's `threads` says how many a run uses\nmemory        " << human_bytes(f.total) << ", "
            << human_bytes(f.free) << " free\ndisk here     " << human_bytes(f.disk) << " free; " << f.runs
            << "\nlocale        " << f.locale << "; numbers are written with a point in all of them\nranks         "
            << ranks_text(f) << "\ninterfaces    " << interfaces_text(f) << "\ndata sets\n";
  for (const DataSet& set : f.data)
    std::cout << "  builtin:" << set.card.name << ", " << human_bytes(static_cast<double>(set.card.bytes)) << ", "
              << set.card.licence << ", sha256 " << set.card.sha256.substr(0, 16)
              << (set.problem.empty() ? " verified" : " WRONG") << '\n';
  std::cout << (f.advice.empty() ? "\nnothing to do\n" : "\nto do\n");
  for (const std::string& advice : f.advice) std::cout << "  " << wrapped(advice, 4) << '\n';
}

}  // namespace

void add_doctor(CLI::App& app, Session& session) {
  app.add_subcommand("doctor", "what this machine and build offer, and what to do about it")
      ->footer(
          "examples:\n"
          "  etude doctor\n"
          "  etude --json doctor\n"
          "The output of the second belongs into a bug report.")
      ->callback([&session] {
        const Findings findings = examine();
        if (session.json)
          tell_json(findings);
        else
          tell_text(findings);
      });
}

}  // namespace etude::cli
