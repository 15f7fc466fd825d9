#pragma once
// What the fault tests share: states that are a function of their step, and a small run of NoLoCo on a text.

#include "etude/base/torch_pch.h"

#include <fstream>
#include <string>

#include "etude/base/file.h"
#include "etude/tensor/safetensors.h"
#include "etude/train/checkpoint.h"
#include "etude/train/recipe.h"
#include "etude/train/registry.h"
#include "etude/train/sealed.h"

namespace etude::faults {

/// While a death is armed, be it never to come, no fsync waits for the real disk: these tests look at files only.
inline void never_sync() { file::inject({int64_t{1} << 60, file::Injection::Fault::kill}); }

/// All bits of a snapshot, saved or loaded.
inline std::string bits(const Snapshot& of) {
  std::string all = std::to_string(of.step) + to_safetensors(of.tensors) + sealed::to_text(of.host);
  const auto add = [&](const std::string& name, const Segments& rows) {
    for (const Segments::Chunk& chunk : rows.chunks()) all += name + to_safetensors({chunk.begin(), chunk.end()});
  };
  for (const auto& [name, rows] : of.segments) add(name, *rows);
  for (const auto& [name, rows] : of.loaded_segments) add(name, rows);
  return file::sha256(all);
}

/// The state of a made-up run at a step: a memory whose chunks fill up every other step, tensors, numbers.
struct State {
  explicit State(int64_t step) {
    const int64_t rows = Segments::kChunk * (step / 2) + 10 * step;
    memory.append({{"id", torch::arange(rows)}});
    snapshot.step = step;
    snapshot.tensors = {{"w", torch::arange(50, torch::kFloat64) / static_cast<double>(step)},
                        {"n", torch::tensor(step)}};
    snapshot.host = {{"third", static_cast<double>(step) / 3}, {"nan", std::nan("")}};
    snapshot.segments["replica-0/memory"] = &memory;
  }
  State(const State&) = delete;
  Segments memory;
  Snapshot snapshot;
};

/// Eight steps of two replicas with an outer step after the 4th and the 8th, an evaluation after the 3rd and the
/// 6th, micro-batches, and more than one pass over the text.
inline Recipe small_recipe(const std::string& text_path, const Registry& registry) {
  const std::string text = R"toml(
stop = "8 steps"
log = "2 steps"
replicas = 2
accumulate = 2
data = { kind = "text", path = ")toml" +
                           text_path + R"toml(", length = 8, validation = 0.2 }
net.model = { kind = "decoder", vocab = 257, dim = 8, layers = 1, heads = 2, length = 8 }
source = { batch = 4, shards = 2 }
evaluate = { every = "3 steps", batches = 1, batch = 4 }
checkpoint = { every = "2 steps" }
[[learner]]
optimizer = { kind = "adam", lr = "warmup(4, cosine(0.02 -> 0.001))" }
clip = 1.0
[[pass]]
objective = { kind = "next_token" }
[[with]]
kind = "noloco"
every = 4
group = 2
alpha = 0.5
beta = 0.7
)toml";
  Recipe made = read_recipe(text, "small.toml", {}, "", {}, registry);
  made.method = "own";
  made.arm = "small";
  return made;
}

inline Registry full_registry() {
  Registry registry;
  register_frame(registry);
  register_methods(registry);
  return registry;
}

/// A text of less than 48 rows of 8 tokens.
inline std::string write_text(const std::string& path) {
  std::string text;
  for (int i = 0; text.size() < 380; ++i) text += "line " + std::to_string(i * i * 37 % 1001) + " of it\n";
  std::ofstream(path, std::ios::binary) << text;
  return path;
}

}  // namespace etude::faults
