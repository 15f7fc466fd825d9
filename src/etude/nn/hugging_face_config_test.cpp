#include "etude/nn/hugging_face_config.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "etude/base/options.h"
#include "etude/base/testing.h"

namespace etude::hugging_face_config_test {
namespace {

HuggingFaceConfig parsed(const std::string& text) { return parse_hugging_face_config(text, "config.json"); }
DecoderOptions decoder(const std::string& text) { return std::get<DecoderOptions>(parsed(text).options); }
Gpt2Options gpt2(const std::string& text) { return std::get<Gpt2Options>(parsed(text).options); }
EncoderOptions encoder(const std::string& text) { return std::get<EncoderOptions>(parsed(text).options); }

/// A Llama config with these members besides.
std::string llama(const std::string& members) {
  return R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "num_attention_heads": 4)" +
         (members.empty() ? "" : ", " + members) + "}";
}

TEST(HuggingFaceConfig, WhatIsLeftOutIsAsInTransformers) {
  const DecoderOptions l = decoder(R"({"architectures": ["LlamaForCausalLM"]})");
  EXPECT_EQ(std::tuple(l.vocab, l.dim, l.ffn, l.layers, l.heads, l.kv_heads, l.length),
            std::tuple(32000, 4096, 11008, 32, 32, 32, 2048));
  EXPECT_EQ(std::tuple(l.norm_eps, l.rope_theta, l.tied, l.qkv_bias, l.attention_bias, l.mlp_bias, l.head_dim),
            std::tuple(1e-6, 10000.0, false, false, false, false, 0));
  const DecoderOptions q = decoder(R"({"model_type": "qwen2"})");
  EXPECT_EQ(std::tuple(q.vocab, q.ffn, q.kv_heads, q.length, q.qkv_bias), std::tuple(151936, 22016, 32, 32768, true));
  const DecoderOptions m = decoder(R"({"model_type": "mistral", "sliding_window": null})");
  EXPECT_EQ(std::tuple(m.vocab, m.ffn, m.kv_heads, m.length, m.qkv_bias), std::tuple(32000, 14336, 8, 131072, false));
  const Gpt2Options g = gpt2(R"({"model_type": "gpt2"})");
  EXPECT_EQ(std::tuple(g.vocab, g.dim, g.ffn_or_default(), g.layers, g.heads, g.length, g.tied, g.norm_eps),
            std::tuple(50257, 768, 3072, 12, 12, 1024, true, 1e-5));
  const EncoderOptions b = encoder(R"({"model_type": "bert"})");
  EXPECT_EQ(std::tuple(b.vocab, b.dim, b.ffn, b.layers, b.heads, b.length, b.types, b.norm_eps),
            std::tuple(30522, 768, 3072, 12, 12, 512, 2, 1e-12));
  EXPECT_EQ(parsed(R"({"model_type": "gpt2"})").dtype, "float32");
  EXPECT_EQ(parsed(llama(R"("torch_dtype": "bfloat16")")).dtype, "bfloat16");
  EXPECT_EQ(parsed(llama(R"("dtype": "float16", "torch_dtype": "bfloat16")")).dtype, "float16");
  EXPECT_EQ(decoder(llama(R"("num_key_value_heads": null, "head_dim": null)")).kv_heads, 4);
  EXPECT_EQ(decoder(R"({"model_type": "mistral", "sliding_window": 200000})").length, 131072);
}

TEST(HuggingFaceConfig, RotaryFrequenciesInTheWaysThatReleasesWriteThem) {
  EXPECT_EQ(decoder(llama(R"("rope_theta": 5e5, "rope_scaling": null)")).rope_theta, 5e5);
  EXPECT_EQ(decoder(llama(R"("rope_parameters": {"rope_theta": 7.0, "rope_type": "default"})")).rope_theta, 7);
  const DecoderOptions linear = decoder(llama(R"("rope_scaling": {"type": "linear", "factor": 2.5})"));
  ASSERT_TRUE(linear.rope_scaling.is<LinearRopeScaling>());
  EXPECT_EQ(linear.rope_scaling.get<LinearRopeScaling>()->factor, 2.5);
  const DecoderOptions l3 = decoder(llama(R"("rope_theta": 500.0, "max_position_embeddings": 128, "rope_scaling": {)"
                                          R"("rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,)"
                                          R"("high_freq_factor": 4.0, "original_max_position_embeddings": 64})"));
  ASSERT_TRUE(l3.rope_scaling.is<Llama3RopeScaling>());
  EXPECT_EQ(l3.rope_scaling.get<Llama3RopeScaling>()->original_length, 64);
  EXPECT_EQ(l3.rope_theta, 500);
}

TEST(HuggingFaceConfig, ScaledFrequenciesAreThoseOfTransformers) {
  // modeling_rope_utils of transformers 5.24 for heads of 16, base 500, factors 8, 1 and 4, original length 64.
  const double expected[] = {1.0,           0.45986327528,   0.09761662781,   0.01215615589,
                             0.00559017016, 0.0025707141031, 0.0011821769876, 0.00054363982053};
  const RopeScaling llama3 = Llama3RopeScaling{8, 1, 4, 64};
  for (int i = 0; i < 8; ++i) {
    const double frequency = std::pow(500.0, -i / 8.0);
    EXPECT_NEAR(scaled(llama3, frequency) / expected[i], 1, 1e-6) << i;
    EXPECT_EQ(scaled(LinearRopeScaling{4}, frequency), frequency / 4);
    EXPECT_EQ(scaled({}, frequency), frequency);
  }
}

TEST(HuggingFaceConfig, OurOptionsComeBackFromWhatIsWritten) {
  DecoderOptions o;
  o.vocab = 300, o.dim = 48, o.layers = 3, o.heads = 6, o.kv_heads = 2, o.ffn = 50, o.length = 77;
  o.rope_theta = 1234.5, o.norm_eps = 3e-6, o.init_std = 0.01, o.head_dim = 10, o.tied = false;
  o.attention_bias = o.mlp_bias = true;
  o.rope_scaling = Llama3RopeScaling{2, 0.5, 3, 40};
  EXPECT_TRUE(same_options(decoder(to_config_json(hugging_face_config(o), {"float16", 256})), o));
  o.attention_bias = o.mlp_bias = false, o.qkv_bias = true;
  o.rope_scaling = LinearRopeScaling{3};
  const HuggingFaceConfig qwen2 = hugging_face_config(o);
  EXPECT_EQ(qwen2.architecture, "Qwen2ForCausalLM");
  EXPECT_TRUE(same_options(decoder(to_config_json(qwen2, {"float32"})), o));
  Gpt2Options g;
  g.vocab = 300, g.dim = 48, g.layers = 3, g.heads = 6, g.ffn = 50, g.length = 77, g.norm_eps = 3e-6, g.tied = false;
  g.init_std = 0.01;
  EXPECT_TRUE(same_options(gpt2(to_config_json(hugging_face_config(g), {"float32"})), g));
  EncoderOptions e;
  e.vocab = 300, e.dim = 48, e.layers = 3, e.heads = 6, e.ffn = 50, e.length = 77, e.types = 3, e.norm_eps = 3e-6;
  e.init_std = 0.01;
  EXPECT_TRUE(same_options(encoder(to_config_json(hugging_face_config(e), {"float32"})), e));
  o.mlp_bias = true;
  expect_error([&] { hugging_face_config(o); }, Code::usage, "qkv_bias and mlp_bias", "net decoder", "safetensors");
  o.mlp_bias = false, o.heads = 5, o.kv_heads = 5;
  expect_error([&] { hugging_face_config(o); }, Code::usage, "5 of 48", "net decoder", "safetensors");
}

TEST(HuggingFaceConfig, NotesAreWrittenBesideWhatWasThere) {
  const auto json = [](const std::string& text, const HuggingFaceNotes& notes) {
    return nlohmann::json::parse(to_config_json(parsed(text), notes));
  };
  const auto kept =
      json(llama(R"("dtype": "float16", "eos_token_id": [1, 2], "of_others": {"a": 1})"), {"bfloat16", 9});
  EXPECT_EQ(kept["dtype"], "bfloat16");
  EXPECT_FALSE(kept.contains("torch_dtype"));
  EXPECT_EQ(kept["eos_token_id"], (nlohmann::json{1, 2}));
  EXPECT_EQ(kept["of_others"]["a"], 1);
  const auto added = json(llama(""), {"float16", 9});
  EXPECT_EQ(added["torch_dtype"], "float16");
  EXPECT_EQ(added["eos_token_id"], 9);
  EXPECT_TRUE(json(llama(""), {"float16"})["eos_token_id"].is_null());
}

TEST(HuggingFaceConfig, LongerRowsThanBeforeAreSaid) {
  const std::string before = llama(
      R"("max_position_embeddings": 64, "rope_parameters": {"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0,)"
      R"("low_freq_factor": 1.0, "high_freq_factor": 4.0})");
  HuggingFaceConfig config = parsed(before);
  std::get<DecoderOptions>(config.options).length = 100;
  const DecoderOptions after = decoder(to_config_json(config, {"float32"}));
  EXPECT_TRUE(same_options(after, std::get<DecoderOptions>(config.options)));
  EXPECT_EQ(after.rope_scaling.get<Llama3RopeScaling>()->original_length, 64);
  std::get<DecoderOptions>(config.options).length = 10;
  EXPECT_EQ(decoder(to_config_json(config, {"float32"})).length, 64);
}

struct HostileConfig {
  std::string text, message, hint;
};

TEST(HuggingFaceConfig, HostileOnesAreRefused) {
  const std::string gpt2_config = R"({"model_type": "gpt2", )", bert_config = R"({"model_type": "bert", )";
  const std::vector<HostileConfig> all = {
      {"", "the config is no JSON", "damaged"},
      {"{\"vocab_size\": 5", "the config is no JSON", "damaged"},
      {"[1, 2]", "the config is no JSON object", "damaged"},
      {"\x80\x04\x95", "the config is no JSON", "damaged"},
      {"{\"model_type\": \"ll\xff\"}", "the config is no JSON", "damaged"},
      {std::string(1 << 21, ' '), "a config of 2097152 bytes belongs to no model", "damaged"},
      {"{\"a\":" + std::string(100000, '[') + std::string(100000, ']') + "}", "nested too deeply", "damaged"},
      {R"({"model_type": "llama", "vocab_size": 5, "vocab_size": 6})", R"(the key "vocab_size" comes twice)", "remove"},
      {R"({"rope_scaling": {"factor": 1, "factor": 2}})", R"(the key "factor" comes twice)", "remove"},
      {"{}", "neither 'architectures' nor 'model_type'", "LlamaForCausalLM"},
      {R"({"architectures": ["LlamaForCausalLMs"]})", R"(["LlamaForCausalLMs"] is not supported)",
       "did you mean 'LlamaForCausalLM'?"},
      {R"({"architectures": ["T5Model"]})", R"(architectures = ["T5Model"] is not supported)",
       "supported: BertForMaskedLM, GPT2LMHeadModel, LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM"},
      {R"({"architectures": []})", "architectures = [] must be a list of one name", "supported"},
      {R"({"architectures": "LlamaForCausalLM"})", "must be a list of one name", "supported"},
      {R"({"model_type": "mamba"})", R"(model_type = "mamba" is not supported)", "supported"},
      {R"({"architectures": ["LlamaForCausalLM"], "model_type": "gpt2"})", "does not belong to LlamaForCausalLM", ""},
      {llama(R"("vocab_size": 0)"), "vocab_size = 0 must be a whole number of 1 to 16777216", ""},
      {llama(R"("vocab_size": -3)"), "vocab_size = -3 must be a whole number", ""},
      {llama(R"("vocab_size": 1e99)"), "vocab_size = 1e+99 must be a whole number", ""},
      {llama(R"("vocab_size": 12.5)"), "vocab_size = 12.5 must be a whole number", ""},
      {llama(R"("vocab_size": "12")"), R"(vocab_size = "12" must be a whole number)", ""},
      {llama(R"("vocab_size": 18446744073709551615)"), "vocab_size = 18446744073709551615 must be a whole number", ""},
      {llama(R"("num_hidden_layers": 100000)"), "num_hidden_layers = 100000 must be", ""},
      {R"({"model_type": "llama", "hidden_size": 64, "num_attention_heads": 5})", "heads = 5 does not divide dim = 64",
       ""},
      {llama(R"("num_key_value_heads": 3)"), "kv_heads = 3 does not divide heads = 4", ""},
      {llama(R"("head_dim": 7)"), "head_dim = 7 is odd", ""},
      {llama(R"("rms_norm_eps": 0)"), "rms_norm_eps = 0 must be a number > 0", ""},
      {llama(R"("tie_word_embeddings": 1)"), "tie_word_embeddings = 1 must be true or false", ""},
      {llama(R"("hidden_act": "gelu")"), R"(hidden_act = "gelu" is not supported)", "'silu'"},
      {llama(R"("quantization_config": {"quant_method": "gptq"})"), R"(quantization_config = {"quant_method":"gptq"})",
       "float32"},
      {llama(R"("dtype": "float8_e4m3fn")"), R"(dtype = "float8_e4m3fn" is not supported)", "'bfloat16'"},
      {llama(R"("is_encoder_decoder": true)"), "is_encoder_decoder = true is not supported", "either"},
      {llama(R"("rope_scaling": "linear")"), R"(rope_scaling = "linear" must be an object)", ""},
      {llama(R"("rope_scaling": {"type": "yarn", "factor": 4})"), R"(rope_scaling.type = "yarn" is not supported)",
       "'llama3'"},
      {llama(R"("rope_scaling": {"rope_type": "linear"})"), "'rope_scaling.factor' is missing", ""},
      {llama(R"("rope_scaling": {"rope_type": "linear", "factor": 0.0})"), "rope_scaling.factor = 0.0 must be", ""},
      {llama(R"("rope_parameters": {"rope_theta": -1})"), "rope_parameters.rope_theta = -1 must be", ""},
      {llama(R"("rope_parameters": {"full_attention": {"rope_type": "llama3"}, "rope_type": "dynamic"})"),
       R"(rope_parameters.rope_type = "dynamic" is not supported)", ""},
      {llama(R"("rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 1})"),
       "high_freq_factor = 1.0 is not above low_freq_factor = 4.0", ""},
      {llama(R"("partial_rotary_factor": 0.5)"), "partial_rotary_factor = 0.5 is not supported", "whole heads"},
      {R"({"model_type": "mistral"})", "sliding_window is 4096 where it is not said", "sliding window"},
      {R"({"model_type": "mistral", "sliding_window": 8})", "sliding_window = 8 is not supported", "sliding window"},
      {R"({"model_type": "qwen2", "use_sliding_window": true})", "use_sliding_window = true is not supported", ""},
      {R"({"model_type": "qwen2", "layer_types": ["full_attention", "sliding_attention"]})",
       "layer_types = [\"full_attention\",\"sliding_attention\"] is not supported", ""},
      {gpt2_config + R"("activation_function": "relu"})", R"(activation_function = "relu" is not supported)",
       "'gelu_new'"},
      {gpt2_config + R"("scale_attn_by_inverse_layer_idx": true})", "scale_attn_by_inverse_layer_idx = true", ""},
      {gpt2_config + R"("scale_attn_weights": false})", "scale_attn_weights = false is not supported", ""},
      {gpt2_config + R"("add_cross_attention": true})", "add_cross_attention = true is not supported", ""},
      {gpt2_config + R"("n_embd": 770})", "heads = 12 does not divide dim = 770", ""},
      {bert_config + R"("hidden_act": "relu"})", R"(hidden_act = "relu" is not supported)", "'gelu'"},
      {bert_config + R"("position_embedding_type": "relative_key"})",
       R"(position_embedding_type = "relative_key" is not supported)", "'absolute'"},
      {bert_config + R"("tie_word_embeddings": false})", "tie_word_embeddings = false is not supported", "transposed"},
      {bert_config + R"("is_decoder": true})", "is_decoder = true is not supported", "both directions"},
      {bert_config + R"("type_vocab_size": 0})", "type_vocab_size = 0 must be a whole number", ""},
      {bert_config + R"("hidden_size": 770})", "heads = 12 does not divide dim = 770", ""},
      {gpt2_config + R"("pruned_heads": {"0": [1]}})", "pruned_heads = {\"0\":[1]} is not supported", ""},
  };
  for (const HostileConfig& one : all) {
    SCOPED_TRACE(one.text.substr(0, 120));
    expect_error([&] { parsed(one.text); }, Code::checkpoint, one.message, "config.json", one.hint);
  }
}

}  // namespace
}  // namespace etude::hugging_face_config_test
