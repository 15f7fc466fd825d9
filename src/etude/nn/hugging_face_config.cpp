#include "etude/nn/hugging_face_config.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "etude/base/error.h"
#include "etude/base/file.h"
#include "etude/base/text.h"

namespace etude {
namespace {

using Json = nlohmann::json;

constexpr int kDeepest = 32;
constexpr const char* kDamaged = "the file is damaged, or was edited by hand: fetch it again";
constexpr int64_t kMost = 1 << 24;  ///< of any count of rows, widths, tokens

/// A value as messages show it.
std::string shown(const Json& value) {
  const std::string text = printable(value.dump(-1, ' ', false, Json::error_handler_t::replace));
  return text.size() <= 60 ? text : text.substr(0, 57) + "...";
}

/// The members of an object: typed, within their range, null where absent.
class Members {
 public:
  Members(const Json& object, std::string file, std::string above = {})
      : object_(object), file_(std::move(file)), above_(std::move(above)) {}

  /// The value, unless it is absent or null.
  const Json* find(const char* key) const {
    const auto it = object_.find(key);
    return it == object_.end() || it->is_null() ? nullptr : &*it;
  }
  /// Whether the key is there, with null too.
  bool names(const char* key) const { return object_.contains(key); }

  int64_t integer(const char* key, std::optional<int64_t> otherwise, int64_t low = 1, int64_t high = kMost) const {
    const Json* value = find(key);
    if (!value) return required(key, otherwise);
    const bool fits = value->is_number_unsigned()  ? value->get<uint64_t>() <= static_cast<uint64_t>(high)
                      : value->is_number_integer() ? value->get<int64_t>() <= high
                                                   : false;
    if (!fits || value->get<int64_t>() < low)
      refuse(key, "must be a whole number of " + std::to_string(low) + " to " + std::to_string(high));
    return value->get<int64_t>();
  }
  double real(const char* key, std::optional<double> otherwise, const Range& range) const {
    const Json* value = find(key);
    if (!value) return required(key, otherwise);
    if (!value->is_number() || !range.contains(value->get<double>())) refuse(key, "must be a number " + range.text());
    return value->get<double>();
  }
  bool flag(const char* key, bool otherwise) const {
    const Json* value = find(key);
    if (!value) return otherwise;
    if (!value->is_boolean()) refuse(key, "must be true or false");
    return value->get<bool>();
  }
  std::string text(const char* key, const std::string& otherwise) const {
    const Json* value = find(key);
    if (!value) return otherwise;
    if (!value->is_string()) refuse(key, "must be a string");
    return value->get<std::string>();
  }
  /// A text that must be one of some words.
  void require_word(const char* key, const std::string& otherwise, const std::vector<std::string>& words) const {
    const std::string is = text(key, otherwise);
    if (std::find(words.begin(), words.end(), is) != words.end()) return;
    std::string known;
    for (const std::string& word : words) known += (known.empty() ? "'" : ", '") + word + "'";
    refuse(key, "is not supported", "supported: " + known);
  }
  void require_flag(const char* key, bool otherwise, bool wanted, const std::string& why) const {
    if (flag(key, otherwise) != wanted) refuse(key, "is not supported", why);
  }
  void require_absent(const char* key, const std::string& why) const {
    if (find(key)) refuse(key, "is not supported", why);
  }
  [[noreturn]] void refuse(const char* key, const std::string& what, const std::string& hint = {}) const {
    const Json* value = find(key);
    throw Error(Code::checkpoint, above_ + key + (value ? " = " + shown(*value) : "") + " " + what, file_,
                hint.empty() ? kDamaged : hint);
  }

  const std::string& file() const { return file_; }

 private:
  template <class T>
  T required(const char* key, const std::optional<T>& otherwise) const {
    if (!otherwise) throw Error(Code::checkpoint, "'" + above_ + key + "' is missing", file_, kDamaged);
    return *otherwise;
  }
  const Json& object_;
  std::string file_, above_;
};

/// Those of models have a few thousand bytes.
void require_config_size(size_t bytes, const std::string& file) {
  if (bytes > (1 << 20))
    throw Error(Code::checkpoint, "a config of " + std::to_string(bytes) + " bytes belongs to no model", file,
                kDamaged);
}

/// The document, of which every key comes once. Errors: Code::checkpoint.
Json parse(std::string_view text, const std::string& file) {
  require_config_size(text.size(), file);
  std::vector<std::set<std::string>> open;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& value) {
    if (depth > kDeepest) throw Error(Code::checkpoint, "the config is nested too deeply", file, kDamaged);
    if (event == Json::parse_event_t::object_start) open.emplace_back();
    if (event == Json::parse_event_t::object_end) open.pop_back();
    if (event == Json::parse_event_t::key && !open.back().insert(value.get<std::string>()).second)
      throw Error(Code::checkpoint, "the key " + shown(value) + " comes twice", file, "remove one of them");
    return true;
  };
  Json json;
  try {
    json = Json::parse(text, watch);
  } catch (const Json::exception& error) {
    throw Error(Code::checkpoint, "the config is no JSON: " + printable(error.what()), file, kDamaged);
  }
  if (!json.is_object()) throw Error(Code::checkpoint, "the config is no JSON object", file, kDamaged);
  return json;
}

void refuse_partial_rotation(const Members& in) {
  if (in.real("partial_rotary_factor", 1, within(0, 1)) != 1)
    in.refuse("partial_rotary_factor", "is not supported", "whole heads are turned here");
}

/// transformers: rope_scaling if there is one, else rope_parameters; the base in there, else beside it.
RopeScaling rope_scaling(const Members& config, int64_t length, double& theta) {
  theta = config.real("rope_theta", 10000, positive());
  const Json* rope = config.find("rope_scaling");
  const char* key = rope ? "rope_scaling" : "rope_parameters";
  if (!rope || rope->empty()) {
    key = "rope_parameters";
    rope = config.find(key);
  }
  if (!rope) return {};
  if (!rope->is_object()) config.refuse(key, "must be an object");
  const Members in(*rope, config.file(), std::string(key) + ".");
  theta = in.real("rope_theta", theta, positive());
  refuse_partial_rotation(in);
  const char* kind = in.find("rope_type") ? "rope_type" : "type";
  in.require_word(kind, "default", {"default", "linear", "llama3"});
  const std::string type = in.text(kind, "default");
  if (type == "linear") return LinearRopeScaling{in.real("factor", {}, at_least(1))};
  if (type != "llama3") return {};
  Llama3RopeScaling llama3;
  llama3.factor = in.real("factor", {}, at_least(1));
  llama3.low_freq_factor = in.real("low_freq_factor", {}, positive());
  llama3.high_freq_factor = in.real("high_freq_factor", {}, positive());
  llama3.original_length =
      in.integer("original_max_position_embeddings", config.integer("original_max_position_embeddings", length));
  return llama3;
}

/// What differs between the architectures that are Llama's.
struct Family {
  std::string architecture, model_type;
  int64_t vocab, ffn, length;
  int64_t kv_heads;  ///< 0: as many as heads
  int64_t window;    ///< of a config that does not say; 0: none
};
const std::vector<Family>& families() {
  static const std::vector<Family> all = {
      {"LlamaForCausalLM", "llama", 32000, 11008, 2048, 0, 0},
      {"MistralForCausalLM", "mistral", 32000, 14336, 4096 * 32, 8, 4096},
      {"Qwen2ForCausalLM", "qwen2", 151936, 22016, 32768, 32, 0},
  };
  return all;
}
constexpr const char* kGpt2 = "GPT2LMHeadModel";
constexpr const char* kBert = "BertForMaskedLM";

/// A window at least as wide as the longest row hides nothing.
void refuse_sliding_window(const Members& config, const Family& family, int64_t length) {
  const std::string hint = "attention over a sliding window is not there: only models without one load";
  if (family.model_type == "llama") return;
  if (family.model_type == "qwen2") {
    config.require_flag("use_sliding_window", false, false, hint);
  } else if (!config.names("sliding_window") || config.find("sliding_window")) {
    if (config.integer("sliding_window", family.window) < length)
      config.refuse("sliding_window",
                    config.find("sliding_window") ? "is not supported" : "is 4096 where it is not said", hint);
  }
  if (const Json* types = config.find("layer_types")) {
    const bool full = types->is_array() && std::all_of(types->begin(), types->end(),
                                                       [](const Json& type) { return type == "full_attention"; });
    if (!full) config.refuse("layer_types", "is not supported", hint);
  }
}

DecoderOptions decoder_options(const Members& config, const Family& family) {
  DecoderOptions o;
  o.vocab = config.integer("vocab_size", family.vocab);
  o.dim = config.integer("hidden_size", 4096, 2, 1 << 20);
  o.ffn = config.integer("intermediate_size", family.ffn);
  o.layers = config.integer("num_hidden_layers", 32, 1, 4096);
  o.heads = config.integer("num_attention_heads", 32, 1, 1 << 16);
  const bool own_default = family.kv_heads > 0 && !config.names("num_key_value_heads");
  o.kv_heads = config.integer("num_key_value_heads", own_default ? family.kv_heads : o.heads, 1, 1 << 16);
  o.head_dim = config.integer("head_dim", 0, 1, 1 << 20);
  o.length = config.integer("max_position_embeddings", family.length);
  o.norm_eps = config.real("rms_norm_eps", 1e-6, positive());
  o.init_std = config.real("initializer_range", 0.02, at_least(0));
  o.tied = config.flag("tie_word_embeddings", false);
  o.qkv_bias = family.model_type == "qwen2";
  if (family.model_type == "llama") {
    o.attention_bias = config.flag("attention_bias", false);
    o.mlp_bias = config.flag("mlp_bias", false);
  }
  o.rope_scaling = rope_scaling(config, o.length, o.rope_theta);
  config.require_word("hidden_act", "silu", {"silu", "swish"});
  refuse_partial_rotation(config);
  refuse_sliding_window(config, family, o.length);
  return o;
}

Gpt2Options gpt2_options(const Members& config) {
  Gpt2Options o;
  o.vocab = config.integer("vocab_size", 50257);
  o.dim = config.integer("n_embd", 768, 1, 1 << 20);
  o.ffn = config.integer("n_inner", 4 * o.dim);
  o.layers = config.integer("n_layer", 12, 1, 4096);
  o.heads = config.integer("n_head", 12, 1, 1 << 16);
  o.length = config.integer("n_positions", 1024);
  o.norm_eps = config.real("layer_norm_epsilon", 1e-5, positive());
  o.init_std = config.real("initializer_range", 0.02, at_least(0));
  o.tied = config.flag("tie_word_embeddings", true);
  config.require_word("activation_function", "gelu_new", {"gelu_new", "gelu_pytorch_tanh"});
  config.require_flag("scale_attn_weights", true, true, "scores are divided by the root of a head's width here");
  config.require_flag("scale_attn_by_inverse_layer_idx", false, false, "all layers have the same scale here");
  config.require_flag("add_cross_attention", false, false, "there is no encoder to look at");
  return o;
}

EncoderOptions encoder_options(const Members& config) {
  EncoderOptions o;
  o.vocab = config.integer("vocab_size", 30522);
  o.dim = config.integer("hidden_size", 768, 1, 1 << 20);
  o.ffn = config.integer("intermediate_size", 3072);
  o.layers = config.integer("num_hidden_layers", 12, 1, 4096);
  o.heads = config.integer("num_attention_heads", 12, 1, 1 << 16);
  o.length = config.integer("max_position_embeddings", 512);
  o.types = config.integer("type_vocab_size", 2, 1, 1 << 16);
  o.norm_eps = config.real("layer_norm_eps", 1e-12, positive());
  o.init_std = config.real("initializer_range", 0.02, at_least(0));
  config.require_word("hidden_act", "gelu", {"gelu", "gelu_python"});
  config.require_word("position_embedding_type", "absolute", {"absolute"});
  config.require_flag("tie_word_embeddings", true, true, "the head is the transposed embedding here");
  config.require_flag("is_decoder", false, false, "its tokens see each other in both directions here");
  config.require_flag("add_cross_attention", false, false, "there is nothing else to look at");
  return o;
}

/// The architecture that a config names, or that its model_type implies.
std::string architecture(const Members& config) {
  std::map<std::string, std::string> by_type{{"gpt2", kGpt2}, {"bert", kBert}};
  for (const Family& family : families()) by_type[family.model_type] = family.architecture;
  std::string supported;
  for (const std::string& name : hugging_face_architectures()) supported += (supported.empty() ? "" : ", ") + name;
  const std::string hint = "supported: " + supported;
  const std::string type = config.text("model_type", "");
  std::string named;
  if (const Json* list = config.find("architectures")) {
    if (!list->is_array() || list->size() != 1 || !list->front().is_string())
      config.refuse("architectures", "must be a list of one name", hint);
    named = list->front().get<std::string>();
  } else if (by_type.contains(type)) {
    named = by_type.at(type);
  } else if (type.empty()) {
    throw Error(Code::checkpoint, "the config has neither 'architectures' nor 'model_type'", config.file(), hint);
  } else {
    config.refuse("model_type", "is not supported", hint);
  }
  const std::vector<std::string> known = hugging_face_architectures();
  if (std::find(known.begin(), known.end(), named) == known.end())
    config.refuse("architectures", "is not supported", did_you_mean(named, known, hint));
  if (!type.empty() && (!by_type.contains(type) || by_type.at(type) != named))
    config.refuse("model_type", "does not belong to " + named, "one of both is wrong");
  return named;
}

/// Refuses what no architecture of ours can be.
void refuse_foreign(const Members& config) {
  config.require_absent("quantization_config", "only weights in float32, bfloat16 or float16 load");
  config.require_flag("is_encoder_decoder", false, false, "only nets that are either load");
  if (const Json* pruned = config.find("pruned_heads"); pruned && !pruned->empty())
    config.refuse("pruned_heads", "is not supported", "all heads have the same width here");
  for (const char* key : {"dtype", "torch_dtype"})
    config.require_word(key, "float32", {"float32", "bfloat16", "float16"});
}

/// Errors that a net's own options have, at the file.
template <class Options>
Options checked(Options options, const std::string& file) {
  try {
    check(options);
  } catch (const Error& error) {
    throw Error(Code::checkpoint, error.message(), file, error.hint());
  }
  return options;
}

Json rope_scaling_json(const RopeScaling& scaling) {
  if (const auto* linear = scaling.get<LinearRopeScaling>())
    return {{"rope_type", "linear"}, {"type", "linear"}, {"factor", linear->factor}};
  if (const auto* llama3 = scaling.get<Llama3RopeScaling>())
    return {{"rope_type", "llama3"},
            {"factor", llama3->factor},
            {"low_freq_factor", llama3->low_freq_factor},
            {"high_freq_factor", llama3->high_freq_factor},
            {"original_max_position_embeddings", llama3->original_length}};
  return nullptr;
}

HuggingFaceConfig of(const std::string& architecture, HuggingFaceConfig::Options options, const Json& json) {
  HuggingFaceConfig config{architecture, std::move(options), "float32", json.dump()};
  return config;
}

}  // namespace

int64_t HuggingFaceConfig::vocabulary() const {
  return std::visit([](const auto& o) { return o.vocab; }, options);
}
int64_t HuggingFaceConfig::length() const {
  return std::visit([](const auto& o) { return o.length; }, options);
}
bool HuggingFaceConfig::tied() const {
  return std::visit([](const auto& o) { return o.tied; }, options);
}

std::vector<std::string> hugging_face_architectures() {
  std::vector<std::string> names{kBert, kGpt2};
  for (const Family& family : families()) names.push_back(family.architecture);
  return names;
}

HuggingFaceConfig parse_hugging_face_config(std::string_view text, const std::string& file) {
  const Json json = parse(text, file);
  const Members config(json, file);
  HuggingFaceConfig found;
  found.architecture = architecture(config);
  refuse_foreign(config);
  found.dtype = config.text("dtype", config.text("torch_dtype", "float32"));
  found.text = json.dump();
  if (found.architecture == kGpt2) found.options = checked(gpt2_options(config), file);
  if (found.architecture == kBert) found.options = checked(encoder_options(config), file);
  for (const Family& family : families())
    if (family.architecture == found.architecture) found.options = checked(decoder_options(config, family), file);
  return found;
}

HuggingFaceConfig read_hugging_face_config(const std::string& folder) {
  const std::string file = folder + "/" + kHuggingFaceConfig;
  require_config_size(static_cast<size_t>(file::size(file)), file);
  return parse_hugging_face_config(file::read(file), file);
}

HuggingFaceConfig hugging_face_config(const DecoderOptions& o) {
  const bool qwen2 = o.qkv_bias && !o.attention_bias;
  const std::string hint = "--format safetensors writes the weights alone";
  if (qwen2 && o.mlp_bias)
    throw Error(Code::usage, "transformers has no decoder with qkv_bias and mlp_bias", "net decoder", hint);
  if (o.dim % o.heads != 0)
    throw Error(Code::usage,
                "transformers' decoders need heads that divide dim, not " + std::to_string(o.heads) + " of " +
                    std::to_string(o.dim),
                "net decoder", hint);
  Json json = {{"architectures", {qwen2 ? "Qwen2ForCausalLM" : "LlamaForCausalLM"}},
               {"model_type", qwen2 ? "qwen2" : "llama"},
               {"vocab_size", o.vocab},
               {"hidden_size", o.dim},
               {"intermediate_size", o.ffn_or_default()},
               {"num_hidden_layers", o.layers},
               {"num_attention_heads", o.heads},
               {"num_key_value_heads", o.kv_heads_or_default()},
               {"head_dim", o.head_dim_or_default()},
               {"hidden_act", "silu"},
               {"max_position_embeddings", o.length},
               {"rms_norm_eps", o.norm_eps},
               {"initializer_range", o.init_std},
               {"tie_word_embeddings", o.tied},
               {"rope_theta", o.rope_theta},
               {"rope_scaling", rope_scaling_json(o.rope_scaling)},
               {"bos_token_id", nullptr}};
  if (qwen2) json["use_sliding_window"] = false;
  if (!qwen2) json.update({{"attention_bias", o.attention_bias}, {"mlp_bias", o.mlp_bias}});
  return of(json["architectures"][0], o, json);
}

HuggingFaceConfig hugging_face_config(const Gpt2Options& o) {
  return of(kGpt2, o,
            {{"architectures", {kGpt2}},
             {"model_type", "gpt2"},
             {"vocab_size", o.vocab},
             {"n_positions", o.length},
             {"n_embd", o.dim},
             {"n_layer", o.layers},
             {"n_head", o.heads},
             {"n_inner", o.ffn_or_default()},
             {"activation_function", "gelu_new"},
             {"layer_norm_epsilon", o.norm_eps},
             {"initializer_range", o.init_std},
             {"tie_word_embeddings", o.tied},
             {"embd_pdrop", o.dropout},
             {"resid_pdrop", o.dropout},
             {"attn_pdrop", 0.0},
             {"bos_token_id", nullptr}});
}

HuggingFaceConfig hugging_face_config(const EncoderOptions& o) {
  // Without a padding id no row of the embedding is kept from training there.
  return of(kBert, o,
            {{"architectures", {kBert}},
             {"model_type", "bert"},
             {"vocab_size", o.vocab},
             {"hidden_size", o.dim},
             {"intermediate_size", o.ffn_or_default()},
             {"num_hidden_layers", o.layers},
             {"num_attention_heads", o.heads},
             {"max_position_embeddings", o.length},
             {"type_vocab_size", o.types},
             {"hidden_act", "gelu"},
             {"layer_norm_eps", o.norm_eps},
             {"initializer_range", o.init_std},
             {"hidden_dropout_prob", o.dropout},
             {"attention_probs_dropout_prob", 0.0},
             {"tie_word_embeddings", true},
             {"pad_token_id", nullptr},
             {"bos_token_id", nullptr}});
}

namespace {

/// A decoder that reads longer rows than its config says. The frequencies are said anew, as a scaling that does not
/// name the original length means the longest row.
void prolong(Json& json, const DecoderOptions& o) {
  const auto said = json.find("max_position_embeddings");
  if (said == json.end() || !said->is_number_integer() || said->get<int64_t>() >= o.length) return;
  *said = o.length;
  json.erase("rope_parameters");
  json["rope_theta"] = o.rope_theta;
  json["rope_scaling"] = rope_scaling_json(o.rope_scaling);
}

}  // namespace

std::string to_config_json(const HuggingFaceConfig& config, const HuggingFaceNotes& notes) {
  Json json = Json::parse(config.text);
  if (const auto* decoder = std::get_if<DecoderOptions>(&config.options)) prolong(json, *decoder);
  const char* key = json.contains("dtype") ? "dtype" : "torch_dtype";
  json[key] = notes.dtype;
  if (!json.contains("eos_token_id"))
    json["eos_token_id"] = notes.document_end >= 0 ? Json(notes.document_end) : Json();
  return json.dump(2) + "\n";
}

}  // namespace etude
