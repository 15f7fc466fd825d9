// B batch, T time, I inputs, O outputs, R rank.

#include "etude/nn/adapter.h"

#include <cmath>
#include <cstdlib>

#include "etude/base/file.h"
#include "etude/base/testing.h"
#include "etude/nn/decoder.h"
#include "etude/nn/hugging_face.h"
#include "etude/nn/peft_config.h"
#include "etude/nn/testing.h"
#include "etude/tensor/processor.h"
#include "etude/tensor/safetensors.h"
#include "etude/tensor/tensor_files.h"

namespace etude {
namespace {

using test::distance;
using test::error_of;
using test::random;

DecoderOptions with_adapter(const AdapterOptions& adapter) {
  DecoderOptions options;
  options.vocab = 23;
  options.dim = 16;
  options.heads = 4;
  options.kv_heads = 2;
  options.adapter = adapter;
  return options;
}

AdapterOptions of_rank(int64_t rank, std::vector<std::string> targets = {}) {
  AdapterOptions options;
  options.rank = rank;
  options.targets = std::move(targets);
  return options;
}

const Adapter& adapter_of(const Net& net) { return dynamic_cast<const HasAdapter&>(net).adapter(); }

Tensor ids_of(int64_t vocabulary) { return at::arange(24).mul(5).remainder(vocabulary).view({2, 12}); }

Tensor logits_of(LanguageModel& net, const Tensor& ids_BT) {
  const at::NoGradGuard no_grad;
  Ctx ctx;
  return net.logits(ids_BT, {}, {}, ctx);
}

TEST(Adapter, BeginsWithoutEffectAndLeavesTheNetsOwnWeights) {
  const auto plain = make_decoder(with_adapter({})), adapted = make_decoder(with_adapter(of_rank(4)));
  plain->initialise(7);
  adapted->initialise(7);
  EXPECT_TRUE(at::equal(logits_of(*plain, ids_of(23)), logits_of(*adapted, ids_of(23))));
  const auto own = adapted->named_parameters();
  for (const auto& p : plain->named_parameters()) EXPECT_TRUE(at::equal(p.value(), own[p.key()])) << p.key();
  EXPECT_EQ(dynamic_cast<const HasAdapter*>(plain.get()), nullptr);
}

TEST(Adapter, HasPeftsNamesShapesAndBeginning) {
  const auto net = make_decoder(with_adapter(of_rank(4)));
  net->initialise(7);
  std::vector<std::string> names;
  for (const auto& p : net->named_parameters()) {
    const bool correction = is_adapter_parameter(p.key());
    EXPECT_EQ(p.value().requires_grad(), correction) << p.key();
    EXPECT_EQ(net->tags(p.key()).contains("adapter"), correction) << p.key();
    EXPECT_EQ(net->tags(p.key()).contains("frozen"), !correction) << p.key();
    if (correction) names.push_back(p.key());
  }
  EXPECT_EQ(names,
            (std::vector<std::string>{
                "model.layers.0.self_attn.q_proj.lora_A.weight", "model.layers.0.self_attn.q_proj.lora_B.weight",
                "model.layers.0.self_attn.v_proj.lora_A.weight", "model.layers.0.self_attn.v_proj.lora_B.weight",
                "model.layers.1.self_attn.q_proj.lora_A.weight", "model.layers.1.self_attn.q_proj.lora_B.weight",
                "model.layers.1.self_attn.v_proj.lora_A.weight", "model.layers.1.self_attn.v_proj.lora_B.weight"}));
  const Adapter::Layer& value = adapter_of(*net).layers()[1];
  EXPECT_EQ(value.down_RI.sizes(), (at::IntArrayRef{4, 16}));
  EXPECT_EQ(value.up_OR.sizes(), (at::IntArrayRef{8, 4}));
  EXPECT_EQ(value.up_OR.abs().max().item<double>(), 0);
  EXPECT_LE(value.down_RI.abs().max().item<double>(), 0.25);
  EXPECT_GT(value.down_RI.abs().max().item<double>(), 0.2);
  EXPECT_FALSE(at::equal(value.down_RI, adapter_of(*net).layers()[0].down_RI));
}

TEST(Adapter, AddsTheScaledProductToTheWeight) {
  for (const bool rslora : {false, true}) {
    AdapterOptions options = of_rank(4, {"o_proj", "layers.1.mlp.up_proj", "lm_head"});
    options.alpha = 6;
    options.rslora = rslora;
    DecoderOptions decoder = with_adapter(options);
    decoder.tied = false;
    const auto adapted = make_decoder(decoder);
    adapted->initialise(3);
    adapted->to(at::kDouble);
    decoder.adapter = {};
    const auto merged = make_decoder(decoder);
    merged->initialise(3);
    merged->to(at::kDouble);
    ASSERT_EQ(adapter_of(*adapted).layers().size(), 4u);
    const at::NoGradGuard no_grad;
    for (const Adapter::Layer& layer : adapter_of(*adapted).layers()) {
      layer.up_OR.copy_(random(layer.up_OR.sizes(), layer.name));
      const double scale = rslora ? 6 / std::sqrt(4.0) : 6.0 / 4;
      merged->linear(layer.name).weight += scale * layer.up_OR.mm(layer.down_RI);
    }
    const Tensor expected = logits_of(*merged, ids_of(23));
    EXPECT_LT(distance(logits_of(*adapted, ids_of(23)), expected), 1e-12);
    merge_adapter(*adapted);
    EXPECT_LT(distance(logits_of(*adapted, ids_of(23)), expected), 1e-12);
    for (const Adapter::Layer& layer : adapter_of(*adapted).layers()) {
      EXPECT_EQ(layer.up_OR.abs().max().item<double>(), 0);
      EXPECT_LT(distance(layer.linear->weight, merged->linear(layer.name).weight), 1e-12);
    }
  }
}

TEST(Adapter, TargetsAreEndsOfNames) {
  const auto corrected = [](std::vector<std::string> targets) {
    const auto net = make_decoder(with_adapter(of_rank(2, std::move(targets))));
    return adapter_of(*net).layers().size();
  };
  EXPECT_EQ(corrected({"all-linear"}), 14u);
  EXPECT_EQ(corrected({"mlp.gate_proj", "layers.0.self_attn.k_proj"}), 3u);
  EXPECT_EQ(corrected({"model.layers.1.mlp.down_proj"}), 1u);
  const Error near = error_of([&] { corrected({"q_prj"}); });
  EXPECT_EQ(near.message(), "the net has no linear layer 'q_prj'");
  EXPECT_EQ(near.hint(), "did you mean 'q_proj'?");
  EXPECT_EQ(error_of([&] { corrected({"proj"}); }).hint(),
            "its linear layers end in q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj");
}

TEST(Adapter, GradientsReachTheCorrectionsOnly) {
  const auto net = make_decoder(with_adapter(of_rank(2)));
  net->initialise(1);
  Ctx ctx;
  ctx.train = true;
  net->logits(ids_of(23), {}, {}, ctx).pow(2).sum().backward();
  for (const auto& p : net->named_parameters())
    EXPECT_EQ(p.value().grad().defined(), is_adapter_parameter(p.key())) << p.key();
}

TEST(Adapter, DropoutIsOfWhatCorrectionsRead) {
  AdapterOptions options = of_rank(2);
  options.dropout = 0.5;
  const auto net = make_decoder(with_adapter(options));
  net->initialise(1);
  Ctx ctx;
  ctx.train = true;
  ctx.id_B = at::arange(2);
  const at::NoGradGuard no_grad;
  const Tensor expected = logits_of(*net, ids_of(23));
  EXPECT_TRUE(at::equal(net->logits(ids_of(23), {}, {}, ctx), expected));  // B is zero still
  for (const Adapter::Layer& layer : adapter_of(*net).layers()) layer.up_OR.fill_(0.5);
  const Tensor dropped = net->logits(ids_of(23), {}, {}, ctx);
  EXPECT_GT(distance(dropped, logits_of(*net, ids_of(23))), 1e-4);
  EXPECT_TRUE(at::equal(net->logits(ids_of(23), {}, {}, ctx), dropped));
}

TEST(Adapter, IsWrittenAndReadBack) {
  AdapterOptions options = of_rank(3, {"q_proj", "down_proj"});
  options.alpha = 7.5;
  options.dropout = 0.25;
  options.rslora = true;
  const auto net = make_decoder(with_adapter(options));
  net->initialise(9);
  {
    const at::NoGradGuard no_grad;
    for (const Adapter::Layer& layer : adapter_of(*net).layers())
      layer.up_OR.copy_(random(layer.up_OR.sizes(), layer.name));
  }
  const TestFolder folder;
  write_peft_adapter(*net, folder.path(), "base", false);
  AdapterOptions stored;
  stored.path = folder.path();
  const auto again = make_decoder(with_adapter(stored));
  again->initialise(9);
  EXPECT_TRUE(at::equal(logits_of(*net, ids_of(23)), logits_of(*again, ids_of(23))));
  const AdapterOptions& read = adapter_of(*again).options();
  EXPECT_EQ(read.rank, 3);
  EXPECT_EQ(read.alpha, 7.5);
  EXPECT_EQ(read.dropout, 0.25);
  EXPECT_TRUE(read.rslora);
  const PeftConfig config = parse_peft_config(file::read(folder.path() + "/" + kPeftConfig), "config");
  EXPECT_EQ(config.base, "base");
  EXPECT_FALSE(config.fan_in_fan_out);
  EXPECT_EQ(error_of([&] { write_peft_adapter(*make_decoder(with_adapter({})), folder.path(), "", false); }).message(),
            "the net has no adapter");
}

/// Of the largest logit: transformers' own float32 logits are up to 1.2e-5 off those of float64, where that is 5.
double share_of_largest(const Tensor& logits_BTV, const Tensor& expected_BTV) {
  return distance(logits_BTV, expected_BTV) / expected_BTV.abs().max().item<double>();
}

class PeftFixtures : public ::testing::TestWithParam<std::string> {};

TEST_P(PeftFixtures, LogitsAreThoseOfTransformers) {
  const std::string fixtures = std::string(std::getenv("ETUDE_SOURCE")) + "/tests/interop/fixtures/";
  HuggingFaceOptions options;
  options.path = fixtures + "models/" + GetParam();
  const auto expected = open_tensors(fixtures + "peft/expected/" + GetParam() + ".safetensors");
  const auto plain = std::dynamic_pointer_cast<LanguageModel>(make_hugging_face(options));
  plain->initialise(0);
  EXPECT_LT(share_of_largest(logits_of(*plain, expected->get("ids_BT")), expected->get("without_BTV")), 1e-5);
  const Isa best = isa();
  force_isa(Isa::aten);  // the very operators of transformers
  EXPECT_LT(distance(logits_of(*plain, expected->get("ids_BT")), expected->get("without_BTV")), 1e-5);
  force_isa(best);
  options.adapter.path = fixtures + "peft/" + GetParam();
  const auto net = std::dynamic_pointer_cast<LanguageModel>(make_hugging_face(options));
  net->initialise(0);
  EXPECT_LT(share_of_largest(logits_of(*net, expected->get("ids_BT")), expected->get("logits_BTV")), 1e-5);
  force_isa(Isa::aten);
  EXPECT_LT(distance(logits_of(*net, expected->get("ids_BT")), expected->get("logits_BTV")), 1e-5);
  force_isa(best);

  // Written again, the weights are the same tensors under the same names.
  const TestFolder folder;
  write_peft_adapter(*net, folder.path(), GetParam(), GetParam() == "gpt2");
  const auto ours = open_tensors(folder.path() + "/" + kPeftWeights);
  const auto theirs = open_tensors(options.adapter.path + "/" + kPeftWeights);
  ASSERT_EQ(ours->size(), theirs->size());
  for (const std::string& name : theirs->names()) EXPECT_TRUE(at::equal(ours->get(name), theirs->get(name))) << name;
  const PeftConfig config = parse_peft_config(file::read(options.adapter.path + "/" + kPeftConfig), "config");
  EXPECT_EQ(config.fan_in_fan_out, GetParam() == "gpt2");
}

INSTANTIATE_TEST_SUITE_P(All, PeftFixtures, ::testing::Values("llama", "qwen2", "gpt2"),
                         [](const auto& example) { return example.param; });

TEST(Adapter, FilesThatDoNotFitAreRefused) {
  const TestFolder folder;
  AdapterOptions stored;
  stored.path = folder.path();
  const auto refused = [&] { return error_of([&] { make_decoder(with_adapter(stored))->initialise(0); }); };
  EXPECT_EQ(refused().message(), "there is no adapter in '" + folder.path() + "'");

  file::write_atomically(folder.path() + "/" + kPeftConfig, R"({"peft_type": "LORA", "r": 2})");
  EXPECT_EQ(refused().code(), Code::io);

  const std::string layer = "base_model.model.model.layers.0.self_attn.q_proj";
  const auto write = [&](const NamedTensors& tensors) {
    write_safetensors_atomically(folder.path() + "/" + kPeftWeights, tensors);
  };
  const Tensor down = at::zeros({2, 16}), up = at::zeros({16, 2});
  write({});
  EXPECT_EQ(refused().message(), "the adapter has no tensors");
  write({{"base_model.model.model.embed_tokens.lora_embedding_A", down}});
  EXPECT_EQ(refused().message(),
            "'base_model.model.model.embed_tokens.lora_embedding_A' corrects no linear layer of the net");
  write({{layer + ".lora_A.weight", down}});
  EXPECT_NE(refused().message().find(layer + ".lora_B.weight"), std::string::npos) << refused().what();
  write({{layer + ".lora_A.weight", at::zeros({3, 16})}, {layer + ".lora_B.weight", up}});
  EXPECT_EQ(refused().message(),
            "'" + layer + ".lora_A.weight' has the shape [3, 16], where the net and the config " + "want [2, 16]");
  write({{layer + ".lora_A.weight", down}, {layer + ".lora_B.weight", up.to(at::kLong)}});
  EXPECT_EQ(refused().message(), "'" + layer + ".lora_B.weight' is of type I64");
  write({{layer + ".lora_A.weight", down}, {layer + ".lora_B.weight", up}});
  EXPECT_NO_THROW(make_decoder(with_adapter(stored))->initialise(0));
}

TEST(PeftConfig, ReadsWhatItWrites) {
  const PeftConfig config{16, 32, 0.1, true, true, {"a", "b"}, "org/model"};
  const PeftConfig read = parse_peft_config(to_peft_config(config), "config");
  EXPECT_EQ(read.rank, 16);
  EXPECT_EQ(read.alpha, 32);
  EXPECT_EQ(read.dropout, 0.1);
  EXPECT_TRUE(read.rslora && read.fan_in_fan_out);
  EXPECT_EQ(read.base, "org/model");
  const PeftConfig defaults = parse_peft_config(R"({"peft_type": "LORA"})", "config");
  EXPECT_EQ(defaults.rank, 8);
  EXPECT_EQ(defaults.alpha, 8);
}

TEST(PeftConfig, HostileFilesAreRefused) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "the adapter's config is no JSON"},
      {"\xFF\xFE{", "the adapter's config is no JSON"},
      {R"({"peft_type": "LORA")", "the adapter's config is no JSON"},
      {"[]", "the adapter's config is no JSON object"},
      {"3", "the adapter's config is no JSON object"},
      {std::string(100000, '['), "the adapter's config is nested too deeply"},
      {std::string((1 << 20) + 1, ' '), "the adapter's config is larger than 1 MiB"},
      {"{}", "peft_type = null, which is no LoRA"},
      {R"({"peft_type": "IA3"})", R"(peft_type = "IA3", which is no LoRA)"},
      {R"({"peft_type": 7})", "peft_type = 7, which is no LoRA"},
      {R"({"peft_type": "LORA", "r": 0})", "r = 0, outside 1 to 65536"},
      {R"({"peft_type": "LORA", "r": -8})", "r = -8, outside 1 to 65536"},
      {R"({"peft_type": "LORA", "r": 9223372036854775807})", "r = 9223372036854775807, outside 1 to 65536"},
      {R"({"peft_type": "LORA", "r": 2.5})", "r = 2.5, where a whole number is wanted"},
      {R"({"peft_type": "LORA", "r": "8"})", R"(r = "8", where a whole number is wanted)"},
      {R"({"peft_type": "LORA", "lora_alpha": []})", "lora_alpha = [], where a number is wanted"},
      {R"({"peft_type": "LORA", "lora_dropout": 1})", "lora_dropout = 1, outside 0 to 1"},
      {R"({"peft_type": "LORA", "lora_dropout": -0.5})", "lora_dropout = -0.5, outside 0 to 1"},
      {R"({"peft_type": "LORA", "use_rslora": 1})", "use_rslora = 1, where true or false is wanted"},
      {R"({"peft_type": "LORA", "use_dora": true})", "use_dora = true, which is not supported"},
      {R"({"peft_type": "LORA", "bias": "all"})", R"(bias = "all", which is not supported)"},
      {R"({"peft_type": "LORA", "rank_pattern": {"q": 4}})", R"(rank_pattern = {"q":4}, which is not supported)"},
      {R"({"peft_type": "LORA", "modules_to_save": ["lm_head"]})",
       R"(modules_to_save = ["lm_head"], which is not supported)"},
      {R"({"peft_type": "LORA", "init_lora_weights": "pissa"})",
       R"(init_lora_weights = "pissa", which is not supported)"},
  };
  for (const auto& [text, message] : cases) {
    const std::string given = text;
    const Error error = error_of([&] { parse_peft_config(given, "folder/adapter_config.json"); });
    EXPECT_EQ(error.code(), Code::checkpoint);
    EXPECT_EQ(error.message(), message);
    EXPECT_EQ(error.where(), "folder/adapter_config.json");
    EXPECT_FALSE(error.hint().empty());
  }
}

}  // namespace
}  // namespace etude
