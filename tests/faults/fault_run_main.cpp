// Trains the small recipe of tests/faults/faults.h in a process of its own and prints a hash of everything that must
// not differ: fault_run TEXT OUT [STEPS]; with STEPS it is interrupted after so many.

#include <iostream>

#include "etude/base/error.h"
#include "etude/base/log.h"
#include "etude/train/run.h"
#include "tests/faults/faults.h"
#include "tests/support/resume.h"

namespace etude::faults {
namespace {

void print(const std::string& name, const std::string& content) {
  std::cout << name << ' ' << file::sha256(content) << '\n';
}

void print_all(const std::string& directory) {
  const Snapshot last = *Checkpoints(directory).load_latest();
  for (const auto& [name, value] : last.tensors) print(name, to_safetensors({{name, value}}));
  nlohmann::json host = last.host;
  host["counters"][static_cast<size_t>(Unit::seconds)] = 0;
  for (nlohmann::json& line : host["lines"]) line["counters"][static_cast<size_t>(Unit::seconds)] = 0;
  for (const char* other : {"cost", "metrics_bytes", "recipe"}) host.erase(other);
  for (const auto& [key, value] : host.items()) print(key, sealed::to_text(value));
  std::ifstream metrics(directory + "/metrics.jsonl");
  int number = 0;
  for (std::string line; std::getline(metrics, line);) {
    print("metrics line " + std::to_string(++number), test::without_seconds(line));
  }
  for (const char* name : {"model.safetensors", "rows/valid.jsonl"}) print(name, file::read(directory + "/" + name));
}

int main_of(const std::vector<std::string>& arguments) {
  guard_standard_streams();
  const Registry registry = full_registry();
  const Recipe recipe = small_recipe(arguments.at(1), registry);
  RunSettings settings;
  settings.out = arguments.at(2);
  if (arguments.size() > 3) {
    settings.interrupted = [left = std::stoi(arguments[3])]() mutable { return --left == 0; };
  }
  const Outcome outcome = run_recipe(recipe, registry, settings);
  if (!outcome.finished) return static_cast<int>(Code::interrupted);
  print_all(outcome.directory);
  return 0;
}

}  // namespace
}  // namespace etude::faults

int main(int count, char** arguments) {
  try {
    return etude::faults::main_of({arguments, arguments + count});
  } catch (const etude::Error& error) {
    etude::report_error(error);
    return error.exit_code();
  }
}
