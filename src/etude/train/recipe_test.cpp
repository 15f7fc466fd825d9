#include "etude/train/recipe.h"

#include <gtest/gtest.h>

#include "etude/train/testing.h"

namespace etude::recipe_test {
namespace {

const Registry& frame() {
  static const Registry registry = [] {
    Registry made;
    register_frame(made);
    return made;
  }();
  return registry;
}

const std::map<std::string, std::string> kSiblings = {{"_base", R"(stop = "40 steps"
replicas = 2
[data]
kind = "text"
length = 32
[net.model]
kind = "decoder"
dim = 16
length = 32
[[learner]]
optimizer = { kind = "adam", lr = 0.01 }
clip = 1
[[pass]]
objective = { kind = "next_token" }
[profile.smoke]
stop = "2 steps"
net.model = { dim = 8 }
)"},
                                                      {"middle", "extends = \"_base\"\nreplicas = 4\n"},
                                                      {"a", "extends = \"b\"\n"},
                                                      {"b", "extends = \"a\"\n"}};

Recipe read(const std::string& text, const std::string& profile = "", const std::vector<std::string>& overrides = {}) {
  const auto sibling = [](const std::string& name) {
    const auto it = kSiblings.find(name);
    if (it == kSiblings.end()) throw Error(Code::config, "there is no recipe '" + name + "'", name, "write it");
    return it->second;
  };
  return read_recipe(text, "arms/own.toml", sibling, profile, overrides, frame());
}

const std::string kOwn = "extends = \"middle\"\nseed = 3\n";

void expect_refused(const std::string& text, const std::string& message, const std::string& where,
                    const std::string& hint, const std::vector<std::string>& overrides = {}) {
  try {
    make_stage(read(text, "", overrides), frame());
    ADD_FAILURE() << "nothing was refused; expected: " << message;
  } catch (const Error& error) {
    EXPECT_NE(error.message().find(message), std::string::npos) << error.what();
    EXPECT_NE(error.where().find(where), std::string::npos) << "place: " << error.where();
    EXPECT_NE(error.hint().find(hint), std::string::npos) << "hint: " << error.hint();
  }
}

TEST(RecipeReading, ExtendsFromTheDeepestUp) {
  const Recipe recipe = read(kOwn);
  EXPECT_EQ(recipe.options.seed, 3);
  EXPECT_EQ(recipe.options.replicas, 4);
  EXPECT_EQ(recipe.options.stop, (Count{40, Unit::steps}));
  EXPECT_EQ(recipe.options.net.at("model").config.find("dim")->as_int(), 16);
}

TEST(RecipeReading, ProfilesThenOverrides) {
  EXPECT_EQ(read(kOwn, "smoke").options.stop, (Count{2, Unit::steps}));
  const Recipe recipe = read(kOwn, "smoke", {"net.model.layers=1", "stop=3 epochs", "learner.0.clip=0.5"});
  EXPECT_EQ(recipe.options.net.at("model").config.find("dim")->as_int(), 8);
  EXPECT_EQ(recipe.options.net.at("model").config.find("layers")->as_int(), 1);
  EXPECT_EQ(recipe.options.stop, (Count{3, Unit::epochs}));
  EXPECT_EQ(recipe.options.learner.at(0).clip, Schedule(0.5));
  try {
    read(kOwn, "smok");
    FAIL() << "there is no such profile";
  } catch (const Error& error) {
    EXPECT_NE(error.hint().find("'smoke'"), std::string::npos) << error.hint();
  }
}

TEST(RecipeReading, UnknownKeysHaveTheirPlaceAndTheNearestName) {
  expect_refused(kOwn + "replcas = 2\n", "replcas", "arms/own.toml:3:1", "replicas");
  expect_refused(kOwn + "[net.model]\nlayrs = 2\n", "layrs", "arms/own.toml:4:1", "layers");
  expect_refused(kOwn + "[data]\nlenght = 2\n", "lenght", "arms/own.toml:4:1", "length");
  expect_refused(kOwn + "[[learner]]\noptimizer = { kind = \"sgd\", momentm = 0.9 }\n", "momentm", "arms/own.toml:4:29",
                 "momentum");
  expect_refused(kOwn + "[[with]]\nkind = \"data_parallel\"\nrank = 2\n", "rank", "arms/own.toml:5:1", "ranks");
  expect_refused(kOwn + "[[pass]]\nobjective = { kind = \"next_tokn\" }\n", "next_tokn", "arms/own.toml:4",
                 "next_token");
  expect_refused(kOwn, "replicsa", "command line", "replicas", {"replicsa=2"});
  expect_refused(kOwn + "[net.model]\nrole = \"frosen\"\n", "role", "arms/own.toml:4", "frozen");
  expect_refused(kOwn + "replicas = \"two\"\n", "replicas", "arms/own.toml:3", "");
  expect_refused(kOwn + "[source]\nbatch = 0\n", "batch", "arms/own.toml:4", "");
}

TEST(RecipeReading, PlacesNameTheFileThatAValueCameFrom) {
  const Recipe recipe = read(kOwn);
  EXPECT_EQ(recipe.written.find("replicas")->origin.text(), "arms/middle.toml:2:1");
  EXPECT_EQ(recipe.written.find("stop")->origin.text(), "arms/_base.toml:1:1");
}

TEST(RecipeReading, ACircleIsShown) {
  try {
    read("extends = \"a\"\n");
    FAIL() << "a circle";
  } catch (const Error& error) {
    EXPECT_NE(error.message().find("arms/a.toml -> arms/b.toml -> arms/a.toml"), std::string::npos) << error.message();
    EXPECT_EQ(error.where(), "arms/b.toml:1:1");
  }
}

TEST(RecipeReading, EveryDefaultIsWrittenOut) {
  const Config& resolved = read(kOwn).resolved;
  for (const char* path :
       {"threads", "accumulate", "source.shards", "source.shuffle", "evaluate.rows", "checkpoint.keep", "data.path",
        "data.validation", "net.model.rope_theta", "net.model.tied", "net.model.role", "learner.0.params",
        "learner.0.on_nonfinite", "learner.0.optimizer.beta1", "pass.0.every", "pass.0.objective.net"})
    EXPECT_NE(resolved.find_path(path), nullptr) << path;
  for (const char* path : {"extends", "profile"}) EXPECT_EQ(resolved.find_path(path), nullptr) << path;
}

TEST(RecipeReading, TheResolvedRecipeReadAgainIsTheSame) {
  for (const char* profile : {"", "smoke"}) {
    const Recipe recipe = read(kOwn + "[[with]]\nkind = \"data_parallel\"\n", profile);
    const Recipe again = read(to_toml(recipe.resolved));
    EXPECT_EQ(again.hash(), recipe.hash());
    EXPECT_EQ(to_toml(again.resolved), to_toml(recipe.resolved));
  }
}

TEST(RecipeReading, TheHashHangsOnContentAlone) {
  const std::string hash = read(kOwn).hash();
  EXPECT_EQ(hash.size(), 12U);
  EXPECT_EQ(read(kOwn, "", {"seed=9"}).hash(), hash) << "the seed has its own place in the name";
  EXPECT_EQ(read(kOwn, "", {"net.model.dropout=0.0"}).hash(), hash) << "a default that is said";
  EXPECT_EQ(read(kOwn, "", {"learner.0.clip=1.0"}).hash(), hash) << "1 and 1.0 are one number here";
  EXPECT_EQ(
      read("seed = 3\n[net.model]\nlength = 32\nkind = \"decoder\"\ndim = 16\n[data]\nlength = 32\nkind = \"text\"\n"
           "[[pass]]\nobjective = { kind = \"next_token\" }\n"
           "[[learner]]\nclip = 1\noptimizer = { lr = 0.01, kind = \"adam\" }\n",
           "", {"replicas=4", "stop=40 steps"})
          .hash(),
      hash)
      << "another order of keys";
  for (const char* change : {"net.model.dim=32", "learner.0.optimizer.lr=0.02", "stop=41 steps", "data.length=16",
                             "threads=2", "source.batch=5"})
    EXPECT_NE(read(kOwn, "", {change}).hash(), hash) << change;
  Recipe named = read(kOwn);
  named.method = "own";
  named.arm = "x";
  EXPECT_EQ(named.run_name(), "own-x/" + hash + "-s3");
}

TEST(RecipeReading, WhatCannotBeARecipe) {
  expect_refused("[net.model]\nkind = \"decoder\"\n", "[[pass]]", "arms/own.toml", "objective");
  expect_refused("net = 3\n[[pass]]\nobjective = { kind = \"next_token\" }\n", "net must be a table", "arms/own.toml:1",
                 "");
  expect_refused("extends = 3\n", "extends must be a string", "arms/own.toml:1", "same folder");
  expect_refused(kOwn + "[source]\nshards = 3\n", "shards = 3", "recipe", "shards = 4");
}

TEST(Validation, IsSpreadOverTheSplitAndFixed) {
  class Numbers : public Dataset {
   public:
    DataCard card() const override { return {"numbers", "", "", "", 0, 100}; }
    int64_t size() const override { return 100; }
    Batch get(const std::vector<int64_t>& ids, const Rng&) const override { return test::samples(ids, 3); }
  };
  EvaluateOptions options;
  options.batches = 3;
  options.batch = 4;
  const EvalSpec spec = validation(std::make_shared<Numbers>(), nullptr, options);
  EXPECT_EQ(spec.batches, 3);
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < 3; ++i)
    for (int64_t b = 0; b < 4; ++b) ids.push_back(spec.batch(i).id_B[b].item<int64_t>());
  EXPECT_EQ(ids, (std::vector<int64_t>{0, 8, 16, 25, 33, 41, 50, 58, 66, 75, 83, 91}));
  options.batch = 1000;
  const EvalSpec whole = validation(std::make_shared<Numbers>(), nullptr, options);
  EXPECT_EQ(whole.batches, 1);
  EXPECT_EQ(whole.batch(0).size(), 100);
}

}  // namespace
}  // namespace etude::recipe_test
