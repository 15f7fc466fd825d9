#pragma once
// What no training may do, and what each must do: text without information beyond its alphabet stays at the entropy of
// the alphabet; text without any information goes to zero. Through recipe, files, decoder and loop as a user has them.

#include <cmath>
#include <string>
#include <vector>

#include "etude/train/recipe.h"
#include "tests/support/resume.h"

namespace etude::test {

inline std::string random_base64(int64_t bytes) {
  static const char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  Rng rng(Key{1, Purpose::test});
  std::string text;
  for (int64_t i = 0; i < bytes; ++i) text += kAlphabet[rng.below(64)];
  return text;
}

struct Trained {
  Fit fit;
  std::vector<MetricLine> training;
};

/// Trains a decoder on the text; `overrides` may change everything.
inline Trained train_on(const std::string& text, const std::vector<std::string>& overrides) {
  static const char kRecipe[] = R"(
log = "10 steps"
[data]
kind = "text"
length = 64
[net.model]
kind = "decoder"
dim = 16
layers = 1
length = 64
[source]
batch = 16
[[learner]]
optimizer = { kind = "adam", lr = 0.01 }
clip = 1
[[pass]]
objective = { kind = "next_token" }
[evaluate]
every = "20 steps"
batches = 4
)";
  const TestFolder folder;
  file::write_atomically(folder.at("text.txt"), text);
  std::vector<std::string> all = {"data.path=" + to_toml_value(Config(folder.at("text.txt")))};
  all.insert(all.end(), overrides.begin(), overrides.end());
  Registry registry;
  register_frame(registry);
  const auto alone = [](const std::string& name) -> std::string {
    throw Error(Code::config, "it extends nothing", name);
  };
  const TrainStage stage = make_stage(read_recipe(kRecipe, "entropy.toml", alone, "", all, registry), registry);
  Trained trained;
  trained.fit = fit(stage, {.metric = [&](const MetricLine& line) {
                      if (line.kind == "train") trained.training.push_back(line);
                    }});
  return trained;
}

/// How far the mean loss of n unseen tokens may be below the entropy of their source by chance. The ratio of the
/// model's likelihood to the true one has the mean 1 on what the model has not seen, so by Markov's inequality it
/// exceeds e^t with a probability of at most e^-t; t = 14 is one in a million.
inline double below_by_chance(double tokens) { return 14 / tokens; }

/// Requires that no measurement on unseen text is below ln 64, and that the alphabet itself was learnt.
inline void expect_the_entropy_of_base64(const Trained& trained, double tokens_a_line, double validation_tokens) {
  for (const MetricLine& line : trained.training) {
    if (line.counters[Unit::epochs] > 1) break;
    EXPECT_GT(line.values.at("train/loss"), std::log(64.0) - below_by_chance(tokens_a_line)) << line.json();
  }
  for (const MetricLine& line : trained.fit.lines)
    EXPECT_GT(line.values.at("valid/loss"), std::log(64.0) - below_by_chance(validation_tokens)) << line.json();
}

}  // namespace etude::test
