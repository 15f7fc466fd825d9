// Models of Hugging Face's folders in training: as transformers trains them, and as nets of recipes. The numbers are
// those of tests/interop/make_model_fixtures.py. S steps, B batch, T time, P parameters.

#include "etude/nn/hugging_face.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <functional>
#include <nlohmann/json.hpp>

#include "etude/base/file.h"
#include "etude/base/testing.h"
#include "etude/nn/decoder.h"
#include "etude/nn/gpt2.h"
#include "etude/nn/masked_language_model.h"
#include "etude/optim/optimizer.h"
#include "etude/train/run.h"

namespace etude::hugging_face_train_test {
namespace {

std::string fixtures() {
  const char* source = std::getenv("ETUDE_SOURCE");
  return std::string(source ? source : ".") + "/tests/interop/fixtures/";
}

/// A fixture's net, and what transformers made of it.
struct Fixture {
  explicit Fixture(const std::string& name) : expected(fixtures() + "models/expected/" + name + ".safetensors") {
    HuggingFaceOptions options;
    options.path = fixtures() + "models/" + name;
    net = make_hugging_face(options);
    net->initialise(0);
    for (const auto& p : net->named_parameters()) parameters.push_back({p.key(), p.value(), net->tags(p.key())});
  }

  SafetensorsReader expected;
  std::shared_ptr<TokenNet> net;
  Parameters parameters;
};

/// Three updates by AdamW, from the losses that `loss_of` has for each step.
void expect_three_steps(const Fixture& fixture, const std::function<Tensor(int64_t step, Ctx& ctx)>& loss_of) {
  const Metadata& numbers = fixture.expected.metadata();
  std::string adamw_options = "kind = \"adamw\"\ngroups = [{match = \"tag:no_decay\", weight_decay = 0.0}]\n";
  for (const char* key : {"lr", "beta1", "beta2", "eps", "weight_decay"})
    adamw_options += std::string(key) + " = " + numbers.at(key) + "\n";
  const auto adamw = make_optimizer(Part{parse_toml(adamw_options, "test")}, fixture.parameters);
  const Tensor losses_S = fixture.expected.get("losses_S");
  std::map<std::string, Tensor> by_name;
  std::vector<Tensor> values;
  for (const Parameter& p : fixture.parameters) {
    by_name[p.name] = p.value;
    values.push_back(p.value);
  }
  Ctx ctx;
  ctx.train = true;
  for (int64_t step = 0; step < 3; ++step) {
    const Tensor loss = loss_of(step, ctx);
    EXPECT_NEAR(loss.item<double>(), losses_S[step].item<double>(), 1e-4) << "step " << step;
    Position at;
    at.now[Unit::steps] = static_cast<double>(step);
    adamw->step(at, torch::autograd::grad({loss}, values, {}, std::nullopt, false, /*allow_unused=*/true));
  }

  const auto names = nlohmann::json::parse(numbers.at("names"));
  ASSERT_EQ(names.size(), values.size());
  const Tensor sums_P = fixture.expected.get("sums_P"), squares_P = fixture.expected.get("squares_P");
  for (size_t i = 0; i < names.size(); ++i) {
    const auto p = static_cast<int64_t>(i);
    const Tensor value = by_name.at(names[i].get<std::string>()).detach().to(at::kDouble);
    EXPECT_NEAR(value.sum().item<double>(), sums_P[p].item<double>(), 1e-4) << names[i];
    EXPECT_NEAR(value.square().sum().item<double>(), squares_P[p].item<double>(), 1e-4) << names[i];
  }
}

class HuggingFaceTraining : public testing::TestWithParam<const char*> {};

TEST_P(HuggingFaceTraining, ThreeStepsAreThoseOfTransformers) {
  const Fixture fixture(GetParam());
  const auto net = std::dynamic_pointer_cast<LanguageModel>(fixture.net);
  const Tensor train_SBT = fixture.expected.get("train_SBT");
  expect_three_steps(fixture, [&](int64_t step, Ctx& ctx) {
    const Tensor ids_BT = train_SBT[step].narrow(1, 0, 16), labels_BT = train_SBT[step].narrow(1, 1, 16);
    return at::cross_entropy_loss(net->logits(ids_BT, {}, {}, ctx).flatten(0, 1), labels_BT.flatten());
  });
}

TEST(HuggingFaceMasked, ThreeStepsAreThoseOfTransformers) {
  const Fixture fixture("bert");
  const auto net = std::dynamic_pointer_cast<MaskedLanguageModel>(fixture.net);
  const Tensor train_SBT = fixture.expected.get("train_SBT"), labels_SBT = fixture.expected.get("labels_SBT");
  expect_three_steps(fixture, [&](int64_t step, Ctx& ctx) {
    const Tensor labels_BT = labels_SBT[step];
    const Tensor place_BK = std::get<1>(labels_BT.ge(0).to(at::kLong).topk(3));
    return net->place_losses({.ids_BT = train_SBT[step]}, place_BK, labels_BT.gather(1, place_BK), ctx).mean();
  });
}

INSTANTIATE_TEST_SUITE_P(Fixtures, HuggingFaceTraining,
                         testing::Values("llama", "llama_tied", "qwen2", "mistral", "gpt2"),
                         [](const auto& model) { return std::string(model.param); });

/// A run whose net begins from a folder.
class HuggingFaceRuns : public testing::Test {
 protected:
  HuggingFaceRuns() {
    register_frame(registry_);
    std::string text;
    for (int i = 0; text.size() < 3000; ++i) text += "line " + std::to_string(i * i) + "\n";
    folder_.write("text.txt", text);
    settings_.out = folder_.at("runs");
    write_model(1);
  }

  /// A Llama for bytes with other weights for each seed.
  void write_model(uint64_t seed) const {
    DecoderOptions o;
    o.dim = 8, o.layers = 1, o.length = 16;
    Decoder net(o);
    net.initialise(seed);
    const HuggingFaceConfig config = hugging_face_config(o);
    file::make_directories(folder_.at("model"));
    write_tensors(folder_.at("model"), weights_to_write(config, net, nullptr, WeightType::bfloat16));
    file::write_atomically(folder_.at("model/config.json"), to_config_json(config, {"bfloat16", 256}));
  }

  Recipe recipe(const std::vector<std::string>& overrides = {}, const std::string& net = {}) const {
    const std::string of_folder = R"({ kind = "hugging_face", path = ")" + folder_.at("model") + "\" }";
    const std::string text = R"(
stop = "4 steps"
data = { kind = "text", path = ")" +
                             folder_.at("text.txt") + R"(", length = 8 }
net.model = )" + (net.empty() ? of_folder : net) +
                             R"(
source = { batch = 2 }
evaluate = { batches = 1, batch = 4 }
checkpoint = { every = "2 steps" }
[[learner]]
optimizer = { kind = "adam", lr = 0.01 }
[[pass]]
objective = { kind = "next_token" }
)";
    Recipe made = read_recipe(text, "mine.toml", {}, "", overrides, registry_);
    made.method = "own";
    made.arm = "mine";
    return made;
  }
  Outcome run_for(const Recipe& of, int steps) const {
    RunSettings stopped = settings_;
    stopped.interrupted = [&, done = 0]() mutable { return ++done == steps; };
    return run_recipe(of, registry_, stopped);
  }
  Tensor weight(const std::string& directory, const std::string& name) const {
    for (const auto& [key, value] : trained_weights(directory))
      if (key == name) return value;
    ADD_FAILURE() << "no " << name;
    return {};
  }

  TestFolder folder_;
  Registry registry_;
  RunSettings settings_;
};

TEST_F(HuggingFaceRuns, BeginFromTheFoldersWeights) {
  const Outcome still = run_recipe(recipe({"learner.0.optimizer.lr=0.0"}), registry_, settings_);
  const auto loaded = open_tensors(folder_.at("model"));
  const std::string name = "model.layers.0.mlp.up_proj.weight";
  EXPECT_TRUE(at::equal(weight(still.directory, "model/" + name), loaded->get(name).to(at::kFloat)));
  const Outcome moved = run_recipe(recipe(), registry_, settings_);
  EXPECT_FALSE(at::equal(weight(moved.directory, "model/" + name), loaded->get(name).to(at::kFloat)));
  const Outcome two = run_recipe(recipe({"replicas=2", "seed=5"}), registry_, settings_);
  EXPECT_TRUE(two.finished);
}

TEST_F(HuggingFaceRuns, GoOnBitForBit) {
  const Outcome whole = run_recipe(recipe(), registry_, settings_);
  const auto expected = trained_weights(whole.directory);
  file::remove_all(whole.directory);
  EXPECT_FALSE(run_for(recipe(), 3).finished);
  const Outcome resumed = run_recipe(recipe(), registry_, settings_);
  EXPECT_TRUE(resumed.finished);
  const auto now = trained_weights(resumed.directory);
  ASSERT_EQ(now.size(), expected.size());
  for (size_t i = 0; i < now.size(); ++i) EXPECT_TRUE(at::equal(now[i].second, expected[i].second)) << now[i].first;
}

TEST_F(HuggingFaceRuns, NoticeThatTheWeightsHaveChanged) {
  const Outcome begun = run_for(recipe(), 2);
  const auto data = nlohmann::json::parse(file::read(begun.directory + "/data.json"));
  EXPECT_EQ(data.at("net model").at("sha256"), checkpoint_hash(folder_.at("model")));
  EXPECT_EQ(data.at("net model").at("origin"), folder_.at("model"));
  write_model(2);
  expect_error([&] { run_recipe(recipe(), registry_, settings_); }, Code::data,
               "the weights that a net begins from have changed", "model", "--fresh");
  write_model(1);
  EXPECT_TRUE(run_recipe(recipe(), registry_, settings_).finished);
}

TEST_F(HuggingFaceRuns, AStoredRecipeNeedsNoFolderToMakeTheNet) {
  const Recipe read = recipe();
  file::remove_all(folder_.at("model"));
  const Recipe again = read_recipe(to_toml(read.resolved), "recipe.toml", {}, "", {}, registry_);
  EXPECT_EQ(again.hash(), read.hash());
  Part part = again.options.net.at("model");
  part.config.erase("role");
  const auto net = std::dynamic_pointer_cast<LanguageModel>(registry_.net(part).make(part));
  ASSERT_TRUE(net);
  EXPECT_EQ(net->vocabulary(), 257);
  EXPECT_EQ(net->longest(), 16);
}

TEST_F(HuggingFaceRuns, ANetTakesTheVocabularyOfAChosenTokenizer) {
  const std::string tokenizer = "data.tokenizer={kind = \"sentencepiece\", vocab = 300}";
  const auto vocabulary = [&](const std::vector<std::string>& overrides, const std::string& net) {
    return recipe(overrides, net).resolved.find_path("net.model.vocab")->as_int();
  };
  EXPECT_EQ(vocabulary({}, R"({kind = "decoder"})"), 257);
  EXPECT_EQ(vocabulary({tokenizer}, R"({kind = "decoder"})"), 300);
  EXPECT_EQ(vocabulary({tokenizer}, R"({kind = "gpt2"})"), 300);
  EXPECT_EQ(vocabulary({tokenizer}, R"({kind = "decoder", vocab = 400})"), 400);
  const std::string file = "data.tokenizer={kind = \"file\", path = \"bytes\"}";
  EXPECT_EQ(vocabulary({file}, R"({kind = "gpt2"})"), 257);
}

TEST_F(HuggingFaceRuns, ANetThatIsTooSmallForItsTokenizerIsRefused) {
  expect_error([&] { run_recipe(recipe({}, R"({kind = "gpt2", vocab = 100, length = 8})"), registry_, settings_); },
               Code::config, "net 'model' has 100 token ids, and the tokenizer of the data 257", "mine.toml",
               "set vocab = 257");
  const std::string llama = R"({kind = "hugging_face", path = ")" + fixtures() + "models/llama\"}";
  expect_error([&] { run_recipe(recipe({}, llama), registry_, settings_); }, Code::config,
               "net 'model' has 80 token ids, and the tokenizer of the data 257", "net.model", "data.tokenizer");
  EXPECT_FALSE(file::exists(settings_.out));
}

}  // namespace
}  // namespace etude::hugging_face_train_test
