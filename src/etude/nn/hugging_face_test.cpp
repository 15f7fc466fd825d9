// The models of tests/interop/fixtures/models were made, run and trained by transformers
// (tests/interop/make_model_fixtures.py). B batch, T time, V vocabulary.

#include "etude/nn/hugging_face.h"

#include <cmath>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>

#include "etude/base/file.h"
#include "etude/base/testing.h"
#include "etude/nn/decoder.h"
#include "etude/nn/encoder.h"
#include "etude/nn/gpt2.h"
#include "etude/nn/kv_cache.h"
#include "etude/nn/testing.h"

namespace etude::hugging_face_test {
namespace {

namespace hf = etude::test;

std::string models() {
  const char* source = std::getenv("ETUDE_SOURCE");
  return std::string(source ? source : ".") + "/tests/interop/fixtures/models/";
}

std::shared_ptr<TokenNet> loaded_net(const std::string& folder) {
  HuggingFaceOptions options;
  options.path = folder;
  auto net = make_hugging_face(options);
  net->initialise(1);
  return net;
}
std::shared_ptr<LanguageModel> loaded_model(const std::string& folder) {
  return std::dynamic_pointer_cast<LanguageModel>(loaded_net(folder));
}

/// A checkpoint with some of its tensors changed, and a config with some of its keys.
void write_altered(const std::string& from, const std::string& to, const std::string& config_patch,
                   const std::function<void(std::vector<TensorSource>&)>& alter) {
  const auto reader = open_tensors(from);
  std::vector<TensorSource> tensors;
  for (const std::string& name : reader->names()) tensors.push_back(source_of(*reader, name));
  alter(tensors);
  file::make_directories(to);
  write_tensors(to, tensors);
  auto config = nlohmann::json::parse(file::read(from + "/config.json"));
  config.merge_patch(nlohmann::json::parse(config_patch));
  file::write_atomically(to + "/config.json", config.dump());
}

class HuggingFaceNets : public testing::TestWithParam<const char*> {
 protected:
  std::string folder() const { return models() + GetParam(); }
  Tensor expected(const std::string& name) const {
    return open_tensors(models() + "expected/" + GetParam() + ".safetensors")->get(name);
  }
};

/// Those that go on with a text.
class HuggingFaceModels : public HuggingFaceNets {};

TEST_P(HuggingFaceModels, LogitsAreThoseOfTransformers) {
  const auto net = loaded_model(folder());
  const torch::NoGradGuard no_grad;
  Ctx ctx;
  const Tensor logits_BTV = net->logits(expected("ids_BT"), {}, {}, ctx);
  EXPECT_LT(hf::distance(logits_BTV, expected("logits_BTV")), 1e-5);
  EXPECT_EQ(net->vocabulary(), 80);
  EXPECT_EQ(net->longest(), 96);
}

TEST_P(HuggingFaceModels, TheLikeliestContinuationIsThatOfTransformers) {
  const auto net = loaded_model(folder());
  const torch::NoGradGuard no_grad;
  const Tensor prompt_T = expected("prompt_T"), greedy_T = expected("greedy_T");
  ASSERT_EQ(greedy_T.numel(), 64);
  Tensor ids_1T = prompt_T.unsqueeze(0), cached_1T = ids_1T;
  KvCache cache(1);
  Ctx plain, with_cache;
  with_cache.cache = &cache;
  for (int64_t i = 0; i < greedy_T.numel(); ++i) {
    const Tensor next = net->next_logits(ids_1T, {}, plain).argmax(-1, true);
    ASSERT_EQ(next.item<int64_t>(), greedy_T[i].item<int64_t>()) << "token " << i;
    const Tensor grown = cached_1T.narrow(1, cache.length(0), cached_1T.size(1) - cache.length(0));
    const Tensor also = net->next_logits(grown, cache.extend({0}, grown.size(1)), with_cache).argmax(-1, true);
    ASSERT_EQ(also.item<int64_t>(), next.item<int64_t>()) << "token " << i << " with a cache";
    ids_1T = cached_1T = at::cat({ids_1T, next}, 1);
  }
}

TEST_P(HuggingFaceNets, PlacesAreTheParametersOfTheNet) {
  const auto net = loaded_net(folder());
  std::map<std::string, std::vector<int64_t>> own, described;
  for (const auto& p : net->named_parameters()) own[p.key()] = p.value().sizes().vec();
  for (const WeightPlace& place : weight_places(read_hugging_face_config(folder()))) {
    std::vector<int64_t> shape = place.shape;
    if (place.transposed) std::reverse(shape.begin(), shape.end());
    described[place.name] = shape;
  }
  EXPECT_EQ(own, described);
}

TEST_P(HuggingFaceNets, WhatWasNotTrainedIsWrittenByteForByte) {
  const HuggingFaceConfig config = read_hugging_face_config(folder());
  const auto net = loaded_net(folder());
  const auto before = open_tensors(folder());
  auto parameters = net->named_parameters();
  const std::string touched = weight_places(config).back().name;
  {
    const torch::NoGradGuard no_grad;
    parameters.find(touched)->add_(0.5);
  }
  TestFolder aside;
  write_tensors(aside.path(), weights_to_write(config, *net, before.get(), WeightType::as_loaded));
  const auto after = open_tensors(aside.path());
  ASSERT_EQ(after->size(), before->size());
  for (const std::string& name : before->names()) {
    EXPECT_EQ(after->entry(name).dtype, before->entry(name).dtype);
    EXPECT_EQ(after->bytes(name) == before->bytes(name), name != touched) << name;
  }
  file::write_atomically(aside.at("config.json"), to_config_json(config, {config.dtype}));
  const auto again = loaded_net(aside.path());
  for (const auto& p : again->named_parameters())
    EXPECT_LT(hf::distance(p.value(), *parameters.find(p.key())), p.key() == touched ? 0.02 : 1e-30) << p.key();
}

TEST_P(HuggingFaceNets, OtherTypesAreWrittenAndReadBack) {
  const HuggingFaceConfig config = read_hugging_face_config(folder());
  const auto net = loaded_net(folder());
  const std::map<WeightType, std::pair<std::string, at::ScalarType>> types = {
      {WeightType::float32, {"F32", at::kFloat}},
      {WeightType::bfloat16, {"BF16", at::kBFloat16}},
      {WeightType::float16, {"F16", at::kHalf}}};
  for (const auto& [type, names] : types) {
    TestFolder aside;
    write_tensors(aside.path(), weights_to_write(config, *net, nullptr, type));
    file::write_atomically(aside.at("config.json"), to_config_json(config, {"float32"}));
    EXPECT_EQ(open_tensors(aside.path())->entry(0).dtype, names.first);
    const auto again = loaded_net(aside.path());
    auto parameters = net->named_parameters();
    for (const auto& p : again->named_parameters())
      EXPECT_TRUE(at::equal(p.value(), parameters.find(p.key())->to(names.second).to(at::kFloat))) << p.key();
  }
}

TEST_P(HuggingFaceNets, BaseModelsAreSavedWithoutAPrefix) {
  TestFolder aside;
  write_altered(folder(), aside.path(), "{}", [](std::vector<TensorSource>& tensors) {
    for (TensorSource& t : tensors)
      for (const std::string prefix : {"model.", "transformer.", "bert."})
        if (t.name.starts_with(prefix)) t.name = t.name.substr(prefix.size());
  });
  const auto net = loaded_net(aside.path()), original = loaded_net(folder());
  auto parameters = original->named_parameters();
  for (const auto& p : net->named_parameters()) EXPECT_TRUE(at::equal(p.value(), *parameters.find(p.key())));
  const auto reader = open_tensors(aside.path());
  const auto written =
      weights_to_write(read_hugging_face_config(aside.path()), *net, reader.get(), WeightType::as_loaded);
  for (const TensorSource& source : written) EXPECT_TRUE(reader->has(source.name)) << source.name;
}

INSTANTIATE_TEST_SUITE_P(Fixtures, HuggingFaceNets,
                         testing::Values("llama", "llama_tied", "qwen2", "mistral", "gpt2", "bert"),
                         [](const auto& net) { return std::string(net.param); });
INSTANTIATE_TEST_SUITE_P(Fixtures, HuggingFaceModels,
                         testing::Values("llama", "llama_tied", "qwen2", "mistral", "gpt2"),
                         [](const auto& model) { return std::string(model.param); });

TEST(HuggingFace, BuffersAndTiedHeadsArePassedOver) {
  TestFolder aside;
  const Tensor mask = at::ones({1, 1, 4, 4}, at::kByte), bias = at::full({}, -1e4);
  const auto reader = open_tensors(models() + "gpt2");
  write_altered(models() + "gpt2", aside.path(), "{}", [&](std::vector<TensorSource>& tensors) {
    tensors.push_back(source_of("transformer.h.0.attn.bias", mask));
    tensors.push_back(source_of("transformer.h.0.attn.masked_bias", bias));
    tensors.push_back(source_of(*reader, "transformer.wte.weight", "lm_head.weight"));
  });
  const auto net = loaded_model(aside.path());
  const HuggingFaceConfig config = read_hugging_face_config(aside.path());
  const auto loaded = open_tensors(aside.path());
  EXPECT_EQ(match_weights(config, *loaded).passed_over.size(), 2u);
  {
    const torch::NoGradGuard no_grad;
    net->named_parameters().find("transformer.wte.weight")->add_(1);
  }
  TestFolder out;
  write_tensors(out.path(), weights_to_write(config, *net, loaded.get(), WeightType::as_loaded));
  const auto written = open_tensors(out.path());
  EXPECT_EQ(written->bytes("transformer.h.0.attn.bias"), loaded->bytes("transformer.h.0.attn.bias"));
  EXPECT_EQ(written->bytes("lm_head.weight"), written->bytes("transformer.wte.weight"));
  EXPECT_NE(written->bytes("lm_head.weight"), loaded->bytes("lm_head.weight"));
}

TEST(HuggingFace, BertsLogitsAreThoseOfTransformers) {
  const auto net = std::dynamic_pointer_cast<Encoder>(loaded_net(models() + "bert"));
  ASSERT_TRUE(net);
  const auto expected = open_tensors(models() + "expected/bert.safetensors");
  const torch::NoGradGuard no_grad;
  Ctx ctx;
  const EncoderRows rows{
      .ids_BT = expected->get("ids_BT"), .length_B = expected->get("length_B"), .type_BT = expected->get("type_BT")};
  const Tensor logits_BTV = net->logits(rows, ctx), theirs_BTV = expected->get("logits_BTV");
  for (int64_t b = 0; b < 2; ++b) {
    const int64_t T = rows.length_B[b].item<int64_t>();
    EXPECT_LT(hf::distance(logits_BTV[b].narrow(0, 0, T), theirs_BTV[b].narrow(0, 0, T)), 1e-5);
  }
}

TEST(HuggingFace, BertsOldNamesCopiesAndOtherHeadsArePassedThrough) {
  const std::string bert = models() + "bert";
  const auto reader = open_tensors(bert);
  const Tensor pooler = hf::random({16, 16}, "pooler").to(at::kFloat), ids = at::arange(20).unsqueeze(0);
  TestFolder aside;
  write_altered(bert, aside.path(), "{}", [&](std::vector<TensorSource>& tensors) {
    for (TensorSource& t : tensors) {
      if (t.name.ends_with("LayerNorm.weight")) t.name.replace(t.name.size() - 6, 6, "gamma");
      if (t.name.ends_with("LayerNorm.bias")) t.name.replace(t.name.size() - 4, 4, "beta");
    }
    tensors.push_back(source_of("bert.pooler.dense.weight", pooler));
    tensors.push_back(source_of("cls.seq_relationship.bias", at::ones({2})));
    tensors.push_back(source_of("bert.embeddings.position_ids", ids));
    tensors.push_back(source_of(*reader, "bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"));
    tensors.push_back(source_of(*reader, "cls.predictions.bias", "cls.predictions.decoder.bias"));
  });
  const auto net = loaded_net(aside.path()), original = loaded_net(bert);
  auto parameters = net->named_parameters();
  for (const auto& p : original->named_parameters())
    EXPECT_TRUE(at::equal(p.value(), *parameters.find(p.key()))) << p.key();
  {
    const torch::NoGradGuard no_grad;
    for (const char* name : {"bert.embeddings.word_embeddings.weight", "cls.predictions.bias"})
      parameters.find(name)->add_(1);
  }
  const auto loaded = open_tensors(aside.path());
  TestFolder out;
  write_tensors(out.path(),
                weights_to_write(read_hugging_face_config(aside.path()), *net, loaded.get(), WeightType::as_loaded));
  const auto written = open_tensors(out.path());
  EXPECT_EQ(written->names(), loaded->names());
  for (const std::string& name : loaded->names()) {
    const bool moved = name.find("word_embeddings") != std::string::npos || name == "cls.predictions.bias" ||
                       name.starts_with("cls.predictions.decoder.");
    EXPECT_EQ(written->bytes(name) != loaded->bytes(name), moved) << name;
  }
  EXPECT_EQ(written->bytes("cls.predictions.bias"), written->bytes("cls.predictions.decoder.bias"));
}

TEST(HuggingFace, LengthAndDropoutAreOurs) {
  HuggingFaceOptions options;
  options.path = models() + "llama";
  options.length = 17;
  options.dropout = 0.25;
  const auto net = std::dynamic_pointer_cast<Decoder>(make_hugging_face(options));
  ASSERT_TRUE(net);
  EXPECT_EQ(net->longest(), 17);
  EXPECT_EQ(net->options().dropout, 0.25);
  options.path = models() + "gpt2";
  expect_error([&] { make_hugging_face(options); }, Code::config, "learned 96 positions", "net hugging_face");
  options.path = models() + "bert";
  expect_error([&] { make_hugging_face(options); }, Code::config, "learned 20 positions", "net hugging_face");
}

TEST(HuggingFace, AConfigThatWasReadNeedsNoFolder) {
  HuggingFaceOptions options;
  options.path = models() + "qwen2";
  options = complete(options);
  options.path = "nowhere";
  EXPECT_EQ(make_hugging_face(options)->vocabulary(), 80);
  EXPECT_EQ(complete(options).config, options.config);
  options.config.clear();
  expect_error([&] { complete(options); }, Code::config, "no folder 'nowhere'", "net hugging_face");
  options.path.clear();
  expect_error([&] { complete(options); }, Code::config, "has no path", "net hugging_face");
}

TEST(HuggingFace, TheHashIsThatOfConfigAndWeights) {
  TestFolder aside;
  const auto same = [](std::vector<TensorSource>&) {};
  write_altered(models() + "llama", aside.at("a"), "{}", same);
  write_altered(models() + "llama", aside.at("b"), "{}", same);
  write_altered(models() + "llama", aside.at("c"), R"({"rms_norm_eps": 0.1})", same);
  const Tensor one = at::ones({32});
  write_altered(models() + "llama", aside.at("d"), "{}", [&](std::vector<TensorSource>& tensors) {
    for (TensorSource& t : tensors)
      if (t.name == "model.norm.weight") t = source_of(t.name, one);
  });
  aside.write("b/README.md", "does not count");
  const std::string a = checkpoint_hash(aside.at("a"));
  EXPECT_EQ(a, checkpoint_hash(aside.at("b")));
  EXPECT_NE(a, checkpoint_hash(aside.at("c")));
  EXPECT_NE(a, checkpoint_hash(aside.at("d")));
}

struct AlteredCheckpoint {
  const char* name;
  const char* model;
  const char* config_patch;
  std::function<void(std::vector<TensorSource>&)> alter;
  const char* message;
};

void drop(std::vector<TensorSource>& tensors, const std::string& name) {
  std::erase_if(tensors, [&](const TensorSource& t) { return t.name == name; });
}
void replace(std::vector<TensorSource>& tensors, const std::string& name, const Tensor& value) {
  for (TensorSource& t : tensors)
    if (t.name == name) t = source_of(name, value);
}

TEST(HuggingFace, FoldersThatDoNotFitAreRefused) {
  const auto none = [](std::vector<TensorSource>&) {};
  const std::vector<AlteredCheckpoint> all = {
      {"missing", "llama", "{}", [](auto& t) { drop(t, "model.norm.weight"); }, "'model.norm.weight' is missing"},
      {"several missing", "llama", R"({"num_hidden_layers": 3})", none,
       "'model.layers.2.input_layernorm.weight' is missing, and 8 more"},
      {"too many layers in the file", "llama", R"({"num_hidden_layers": 1})", none,
       "'model.layers.1.input_layernorm.weight' has no place in a LlamaForCausalLM, and 8 more"},
      {"another tensor", "llama", "{}", [](auto& t) { t.push_back(source_of("extra", at::ones({2}))); },
       "'extra' has no place in a LlamaForCausalLM"},
      {"shape", "llama", "{}", [](auto& t) { replace(t, "model.norm.weight", at::ones({33})); },
       "'model.norm.weight' has the shape [33], where the config wants [32]"},
      {"dimensions", "llama", "{}",
       [](auto& t) {
         replace(t, "model.norm.weight", at::ones({1, 32}));
       },
       "'model.norm.weight' has the shape [1, 32]"},
      {"vocabulary", "llama", R"({"vocab_size": 16777216})", none, "where the config wants [16777216, 32]"},
      {"transposed", "gpt2", "{}",
       [](auto& t) {
         replace(t, "transformer.h.0.attn.c_attn.weight", at::ones({96, 32}));
       },
       "'transformer.h.0.attn.c_attn.weight' has the shape [96, 32], where the config wants [32, 96]"},
      {"integers", "llama", "{}", [](auto& t) { replace(t, "model.norm.weight", at::ones({32}, at::kLong)); },
       "'model.norm.weight' is of type I64"},
      {"wide numbers", "llama", "{}", [](auto& t) { replace(t, "model.norm.weight", at::ones({32}, at::kDouble)); },
       "'model.norm.weight' is of type F64"},
      {"no head", "llama", "{}", [](auto& t) { drop(t, "lm_head.weight"); }, "'lm_head.weight' is missing"},
      {"another head", "llama", R"({"tie_word_embeddings": true})", none, "the config ties the head to the embedding"},
      {"another copy", "bert", "{}",
       [](auto& t) { t.push_back(source_of("cls.predictions.decoder.bias", at::ones({60}))); },
       "'cls.predictions.bias' and 'cls.predictions.decoder.bias' are one parameter, and differ"},
      {"another head of BERT's", "bert", "{}",
       [](auto& t) {
         t.push_back(source_of("cls.predictions.decoder.weight", at::ones({60, 16})));
       },
       "the config ties the head to the embedding"},
      {"pooler of a Llama", "llama", "{}", [](auto& t) { t.push_back(source_of("pooler.dense.bias", at::ones({2}))); },
       "'pooler.dense.bias' has no place in a LlamaForCausalLM"},
      {"biases that the config has not", "qwen2", R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama"})",
       none, "has no place in a LlamaForCausalLM, and 5 more"},
      {"biases that the file has not", "llama", R"({"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"})",
       none, "'model.layers.0.self_attn.q_proj.bias' is missing, and 5 more"},
  };
  for (const AlteredCheckpoint& one : all) {
    SCOPED_TRACE(one.name);
    TestFolder aside;
    write_altered(models() + one.model, aside.path(), one.config_patch, one.alter);
    expect_error([&] { loaded_net(aside.path()); }, Code::checkpoint, one.message, aside.path());
  }
  TestFolder empty;
  expect_error([&] { loaded_net(empty.path()); }, Code::io, "", "config.json");
  file::write_atomically(empty.at("config.json"), file::read(models() + "llama/config.json"));
  expect_error([&] { loaded_net(empty.path()); }, Code::io, "", empty.path());
}

TEST(Gpt2, GradientsAreThoseOfFiniteDifferences) {
  Gpt2Options o;
  o.vocab = 7, o.dim = 6, o.layers = 1, o.heads = 2, o.ffn = 5, o.length = 8;
  const auto net = std::make_shared<Gpt2>(o);
  net->to(at::kDouble);
  {
    const torch::NoGradGuard no_grad;
    for (const auto& p : net->named_parameters()) p.value().copy_(hf::random(p.value().sizes(), p.key(), 0.5));
  }
  const Tensor ids = at::tensor({1, 6, 0, 2, 3, 3, 5, 4}, at::kLong).view({2, 4});
  const Tensor segment = at::tensor({0, 0, 1, 1, 0, 0, 0, 0}, at::kLong).view({2, 4});
  const Tensor position = at::tensor({0, 1, 0, 1, 0, 1, 2, 3}, at::kLong).view({2, 4});
  Ctx ctx;
  hf::expect_gradients([&] { return net->logits(ids, position, segment, ctx); }, net->parameters());
}

TEST(Gpt2, APackedDocumentReadsAsAlone) {
  const auto net = loaded_model(models() + "gpt2");
  const torch::NoGradGuard no_grad;
  const Tensor first = at::tensor({5, 17, 70}, at::kLong).unsqueeze(0), second = at::tensor({8, 8, 3}).unsqueeze(0);
  const Tensor ids = at::cat({first, second.to(at::kLong)}, 1);
  const Tensor segment = at::tensor({0, 0, 0, 1, 1, 1}, at::kLong).unsqueeze(0);
  const Tensor position = at::tensor({0, 1, 2, 0, 1, 2}, at::kLong).unsqueeze(0);
  Ctx ctx;
  const Tensor together = net->logits(ids, position, segment, ctx);
  EXPECT_LT(hf::distance(together.narrow(1, 0, 3), net->logits(first, {}, {}, ctx)), 1e-5);
  EXPECT_LT(hf::distance(together.narrow(1, 3, 3), net->logits(second.to(at::kLong), {}, {}, ctx)), 1e-5);
  EXPECT_GT(hf::distance(together, net->logits(ids, {}, segment, ctx)), 1e-3);
  expect_error([&] { net->logits(at::zeros({1, 97}, at::kLong), {}, {}, ctx); }, Code::data, "97 tokens", "ids_BT");
  expect_error([&] { net->logits(first, position.narrow(1, 0, 3) + 94, {}, ctx); }, Code::data, "96", "position_BT");
}

TEST(Gpt2, InitialValuesAndTags) {
  Gpt2Options o;
  o.dim = 64, o.layers = 2, o.tied = false;
  const auto net = std::make_shared<Gpt2>(o);
  net->initialise(3);
  for (const auto& p : net->named_parameters()) {
    const std::string& name = p.key();
    const bool plain = name.ends_with("bias") || name.find("ln_") != std::string::npos;
    const bool table = name.find("wte") != std::string::npos || name.find("wpe") != std::string::npos;
    EXPECT_EQ(net->tags(name).count("no_decay"), plain || table) << name;
    if (plain) {
      EXPECT_TRUE(at::equal(p.value(), at::full_like(p.value(), name.ends_with("weight")))) << name;
    } else {
      EXPECT_NEAR(p.value().std().item<double>(), name.ends_with("c_proj.weight") ? 0.01 : 0.02, 0.001) << name;
    }
  }
  Batch batch;
  batch.x["ids_BT"] = at::zeros({3, 5}, at::kLong);
  const double per_token = 2.0 * 64 * 257 + 2 * 2.0 * (12 * 64 * 64);
  EXPECT_EQ(net->flops(batch), 3 * (5 * per_token + 2 * 4 * 64.0 * 15));
}

}  // namespace
}  // namespace etude::hugging_face_test
