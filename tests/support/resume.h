#pragma once
// What must not change when a run is stopped anywhere and gone on with by fresh objects, and the check that it does
// not. Checks return what is wrong, one line each, so that their own tests can see them fail.

#include "etude/base/torch_pch.h"

#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "etude/base/file.h"
#include "etude/base/testing.h"
#include "etude/train/trainer.h"

namespace etude::test {

using Problems = std::vector<std::string>;

inline void append(Problems& into, const Problems& more, const std::string& what) {
  for (const std::string& problem : more) into.push_back(what + ": " + problem);
}

/// All of a fit that must not change: tensors and memories to the bit, numbers, counters, metric lines. Seconds and
/// what hangs on them are left out.
struct Print {
  NamedTensors tensors;
  nlohmann::json host;
  std::string lines;
};

inline std::string without_seconds(std::string line) {
  const size_t begin = line.find("\"seconds\":");
  return begin == std::string::npos ? line : line.erase(begin, line.find(',', begin) - begin);
}

inline Print print(const Fit& fit, const std::string& directory) {
  Print p;
  for (const auto& [name, value] : fit.artifact.tensors) p.tensors.emplace_back(name, value.clone());
  if (const auto checkpoint = Checkpoints(directory).load_latest()) {
    for (const auto& [name, value] : checkpoint->tensors) p.tensors.emplace_back("state/" + name, value);
    for (const auto& [name, segments] : checkpoint->loaded_segments)
      for (size_t i = 0; i < segments.chunks().size(); ++i)
        for (const auto& [column, value] : segments.chunks()[i])
          p.tensors.emplace_back("memory/" + name + "/" + std::to_string(i) + "/" + column, value);
    for (const char* key : {"evaluated_at", "shared", "replicas", "values", "rows"})
      p.host[key] = checkpoint->host.at(key);
  }
  p.host["counters"] = fit.counters.value;
  p.host["counters"][static_cast<size_t>(Unit::seconds)] = 0;
  std::ifstream in(directory + "/metrics.jsonl");
  for (std::string line; std::getline(in, line);) p.lines += without_seconds(line) + "\n";
  return p;
}

/// Equal to the bit, not-a-number included.
inline bool same_bits(const Tensor& a, const Tensor& b) {
  if (a.sizes() != b.sizes() || a.scalar_type() != b.scalar_type()) return false;
  const Tensor x = a.detach().contiguous(), y = b.detach().contiguous();
  return x.nbytes() == 0 || std::memcmp(x.data_ptr(), y.data_ptr(), x.nbytes()) == 0;
}

inline Problems difference(const Print& a, const Print& b) {
  Problems problems;
  for (const auto& change : nlohmann::json::diff(a.host, b.host))
    problems.push_back("state" + change.at("path").get<std::string>() + " differs");
  if (a.tensors.size() != b.tensors.size())
    problems.push_back(std::to_string(a.tensors.size()) + " tensors became " + std::to_string(b.tensors.size()));
  for (size_t i = 0; i < std::min(a.tensors.size(), b.tensors.size()); ++i)
    if (a.tensors[i].first != b.tensors[i].first)
      problems.push_back("tensor " + a.tensors[i].first + " became " + b.tensors[i].first);
    else if (!same_bits(a.tensors[i].second, b.tensors[i].second))
      problems.push_back("tensor " + a.tensors[i].first + " differs");
  if (a.lines != b.lines) problems.push_back("metric lines differ:\n" + a.lines + "became\n" + b.lines);
  return problems;
}

/// Runs the stage straight, then once for each k stopped after k steps and gone on with by fresh objects. Every run
/// has a folder of its own below `folder`; `whole` becomes the straight one.
inline Problems wherever_stopped(const std::function<TrainStage()>& make, const TestFolder& folder,
                                 Fit* whole = nullptr) {
  Problems problems;
  Surroundings straight;
  straight.directory = folder.at("straight");
  const TrainStage stage = make();
  const Fit all = fit(stage, straight);
  const Print expected = print(all, straight.directory);
  const int64_t steps = all.counters.step();
  if (steps < 4) problems.push_back("only " + std::to_string(steps) + " steps: too few to be stopped");
  for (int64_t k = 1; k < steps; ++k) {
    const std::string what = "stopped after step " + std::to_string(k);
    Surroundings stopped;
    stopped.directory = folder.at("stop" + std::to_string(k));
    int64_t done = 0;
    stopped.interrupted = [&] { return ++done == k; };
    {
      const TrainStage first = make();
      if (fit(first, stopped).finished) problems.push_back(what + ": it went on to the end");
    }
    stopped.interrupted = nullptr;
    const TrainStage second = make();
    const Fit rest = fit(second, stopped);
    if (!rest.finished) problems.push_back(what + ": it did not finish");
    append(problems, difference(expected, print(rest, stopped.directory)), what);
    file::remove_all(stopped.directory);
  }
  if (whole) *whole = all;
  return problems;
}

}  // namespace etude::test
