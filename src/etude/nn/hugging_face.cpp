#include "etude/nn/hugging_face.h"

#include <algorithm>
#include <set>

#include "etude/base/error.h"
#include "etude/base/file.h"
#include "etude/nn/adapter.h"
#include "etude/nn/decoder.h"
#include "etude/nn/encoder.h"
#include "etude/nn/gpt2.h"

namespace etude {
namespace {

using Shape = std::vector<int64_t>;

constexpr const char* kHead = "lm_head.weight";

std::vector<WeightPlace> places(const DecoderOptions& o) {
  const int64_t E = o.head_dim_or_default(), D = o.dim, F = o.ffn_or_default();
  std::vector<WeightPlace> all;
  const auto add = [&](const std::string& name, Shape shape) { all.push_back({name, std::move(shape)}); };
  const auto linear = [&](const std::string& name, int64_t outputs, int64_t inputs, bool bias) {
    add(name + ".weight", {outputs, inputs});
    if (bias) add(name + ".bias", {outputs});
  };
  add("model.embed_tokens.weight", {o.vocab, D});
  if (o.tied) all.back().also = {kHead};
  for (int64_t i = 0; i < o.layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    const bool qkv_bias = o.qkv_bias || o.attention_bias;
    add(layer + "input_layernorm.weight", {D});
    linear(layer + "self_attn.q_proj", o.heads * E, D, qkv_bias);
    linear(layer + "self_attn.k_proj", o.kv_heads_or_default() * E, D, qkv_bias);
    linear(layer + "self_attn.v_proj", o.kv_heads_or_default() * E, D, qkv_bias);
    linear(layer + "self_attn.o_proj", D, o.heads * E, o.attention_bias);
    add(layer + "post_attention_layernorm.weight", {D});
    linear(layer + "mlp.gate_proj", F, D, o.mlp_bias);
    linear(layer + "mlp.up_proj", F, D, o.mlp_bias);
    linear(layer + "mlp.down_proj", D, F, o.mlp_bias);
  }
  add("model.norm.weight", {D});
  if (!o.tied) add(kHead, {o.vocab, D});
  return all;
}

std::vector<WeightPlace> places(const Gpt2Options& o) {
  const int64_t D = o.dim, F = o.ffn_or_default();
  std::vector<WeightPlace> all;
  const auto add = [&](const std::string& name, Shape shape) { all.push_back({name, std::move(shape)}); };
  const auto norm = [&](const std::string& name) {
    add(name + ".weight", {D});
    add(name + ".bias", {D});
  };
  const auto projection = [&](const std::string& name, int64_t inputs, int64_t outputs) {
    all.push_back({name + ".weight", {inputs, outputs}, true});
    add(name + ".bias", {outputs});
  };
  add("transformer.wte.weight", {o.vocab, D});
  if (o.tied) all.back().also = {kHead};
  add("transformer.wpe.weight", {o.length, D});
  for (int64_t i = 0; i < o.layers; ++i) {
    const std::string block = "transformer.h." + std::to_string(i) + ".";
    norm(block + "ln_1");
    projection(block + "attn.c_attn", D, 3 * D);
    projection(block + "attn.c_proj", D, D);
    norm(block + "ln_2");
    projection(block + "mlp.c_fc", D, F);
    projection(block + "mlp.c_proj", F, D);
  }
  norm("transformer.ln_f");
  if (!o.tied) add(kHead, {o.vocab, D});
  return all;
}

/// Norms have the names of TensorFlow's checkpoint in files that were made from it.
std::vector<WeightPlace> places(const EncoderOptions& o) {
  const int64_t D = o.dim, F = o.ffn_or_default();
  std::vector<WeightPlace> all;
  const auto add = [&](const std::string& name, Shape shape, std::vector<std::string> also = {}) {
    all.push_back({name, std::move(shape), false, std::move(also)});
  };
  const auto linear = [&](const std::string& name, int64_t outputs, int64_t inputs) {
    add(name + ".weight", {outputs, inputs});
    add(name + ".bias", {outputs});
  };
  const auto norm = [&](const std::string& name) {
    add(name + ".LayerNorm.weight", {D}, {name + ".LayerNorm.gamma"});
    add(name + ".LayerNorm.bias", {D}, {name + ".LayerNorm.beta"});
  };
  add("bert.embeddings.word_embeddings.weight", {o.vocab, D}, {"cls.predictions.decoder.weight"});
  add("bert.embeddings.position_embeddings.weight", {o.length, D});
  add("bert.embeddings.token_type_embeddings.weight", {o.types, D});
  norm("bert.embeddings");
  for (int64_t i = 0; i < o.layers; ++i) {
    const std::string layer = "bert.encoder.layer." + std::to_string(i) + ".";
    for (const char* part : {"query", "key", "value"}) linear(layer + "attention.self." + part, D, D);
    linear(layer + "attention.output.dense", D, D);
    norm(layer + "attention.output");
    linear(layer + "intermediate.dense", F, D);
    linear(layer + "output.dense", D, F);
    norm(layer + "output");
  }
  linear("cls.predictions.transform.dense", D, D);
  norm("cls.predictions.transform");
  add("cls.predictions.bias", {o.vocab}, {"cls.predictions.decoder.bias"});
  return all;
}

/// What a model computes anew whenever it is made, and BERT's layers for its second objective (Devlin et al. 2019,
/// section 3.1, task 2).
bool is_passed_over(const HuggingFaceConfig& config, std::string_view name) {
  if (name.ends_with(".rotary_emb.inv_freq") || name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias"))
    return true;
  if (!std::holds_alternative<EncoderOptions>(config.options)) return false;
  return name.ends_with("embeddings.position_ids") || name.starts_with("bert.pooler.") || name.starts_with("pooler.") ||
         name.starts_with("cls.seq_relationship.");
}

/// "model.", "transformer." or "bert.", which base models leave out.
std::string prefix_of(const std::string& name) { return name.substr(0, name.find('.') + 1); }

/// The place of the embedding, whose name tells whether a checkpoint's names have their prefix.
const WeightPlace& embedding(const std::vector<WeightPlace>& all) { return all.front(); }

void require_fit(const WeightPlace& place, const SafetensorsEntry& entry, const std::string& path) {
  if (entry.shape != place.shape)
    throw Error(Code::checkpoint,
                "'" + entry.name + "' has the shape " + c10::str(at::IntArrayRef(entry.shape)) +
                    ", where the config wants " + c10::str(at::IntArrayRef(place.shape)),
                path, "config.json and the weights are not of one model");
  static const std::set<std::string> known = {"F32", "BF16", "F16"};
  if (!known.contains(entry.dtype))
    throw Error(Code::checkpoint, "'" + entry.name + "' is of type " + entry.dtype, path,
                "weights must be F32, BF16 or F16");
}

/// "'a' is missing, and 3 more"
std::string counted(const std::vector<std::string>& names, const std::string& what) {
  return "'" + names.front() + "' " + what +
         (names.size() > 1 ? ", and " + std::to_string(names.size() - 1) + " more" : "");
}

/// Refuses a copy that is none. `head`: it is one of the embedding.
void require_copy(const TensorReader& from, const std::string& name, const std::string& copy, bool head) {
  if (from.bytes(name) == from.bytes(copy)) return;
  if (head)
    throw Error(Code::checkpoint, "the config ties the head to the embedding, and '" + copy + "' differs from it",
                from.path(), "set tie_word_embeddings = false in config.json");
  throw Error(Code::checkpoint, "'" + name + "' and '" + copy + "' are one parameter, and differ", from.path(),
              "config.json and the weights are not of one model");
}

/// A net whose initial weights are those of a checkpoint.
template <class Base>
class Pretrained : public Base {
 public:
  template <class Options>
  Pretrained(const Options& options, HuggingFaceConfig config, std::string folder)
      : Base(options), config_(std::move(config)), folder_(std::move(folder)) {}
  void initialise(uint64_t) override { load_weights(config_, *open_tensors(folder_), *this); }

 private:
  HuggingFaceConfig config_;
  std::string folder_;
};

std::shared_ptr<TokenNet> pretrained(const DecoderOptions& o, const HuggingFaceConfig& config,
                                     const HuggingFaceOptions& options) {
  return make_adapted<Pretrained<Decoder>>(options.adapter, o, config, options.path);
}
std::shared_ptr<TokenNet> pretrained(const Gpt2Options& o, const HuggingFaceConfig& config,
                                     const HuggingFaceOptions& options) {
  return make_adapted<Pretrained<Gpt2>>(options.adapter, o, config, options.path);
}
std::shared_ptr<TokenNet> pretrained(const EncoderOptions& o, const HuggingFaceConfig& config,
                                     const HuggingFaceOptions& options) {
  return make_adapted<Pretrained<Encoder>>(options.adapter, o, config, options.path);
}

at::ScalarType scalar_type(const std::string& dtype) {
  return dtype == "BF16" ? at::kBFloat16 : dtype == "F16" ? at::kHalf : at::kFloat;
}

std::string dtype_of(WeightType type, const std::string& loaded) {
  switch (type) {
    case WeightType::bfloat16:
      return "BF16";
    case WeightType::float16:
      return "F16";
    case WeightType::float32:
      return "F32";
    case WeightType::as_loaded:
      break;
  }
  return loaded;
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.sizes() == b.sizes() && at::equal(a.contiguous().view(at::kInt), b.contiguous().view(at::kInt));
}

/// A parameter as it is to lie in a file. What was not trained is what was read.
TensorSource source(const WeightPlace& place, const std::string& theirs, const Tensor& own, const TensorReader* loaded,
                    const std::string& dtype) {
  TensorSource made;
  made.name = theirs;
  made.dtype = dtype;
  made.shape = place.shape;
  made.value = [own, theirs, loaded, dtype, transposed = place.transposed] {
    const Tensor value = (transposed ? own.detach().t() : own.detach()).cpu().to(at::kFloat).contiguous();
    if (loaded && loaded->entry(theirs).dtype == dtype) {
      Tensor before = loaded->get(theirs);
      if (same_bits(before.to(at::kFloat), value)) return before;
    }
    return value.to(scalar_type(dtype));
  };
  return made;
}

}  // namespace

std::vector<WeightPlace> weight_places(const HuggingFaceConfig& config) {
  return std::visit([](const auto& options) { return places(options); }, config.options);
}

WeightMap match_weights(const HuggingFaceConfig& config, const TensorReader& from) {
  const std::vector<WeightPlace> all = weight_places(config);
  const std::string& first = embedding(all).name;
  const std::string prefix = prefix_of(first);
  const bool bare = !from.has(first) && from.has(first.substr(prefix.size()));
  WeightMap map;
  std::set<std::string> used;
  std::vector<std::string> missing, left_over;
  for (const WeightPlace& place : all) {
    std::vector<std::string> names{place.name};
    names.insert(names.end(), place.also.begin(), place.also.end());
    if (bare)
      for (std::string& name : names)
        if (name.starts_with(prefix)) name.erase(0, prefix.size());
    const std::string wanted = names.front();
    std::erase_if(names, [&](const std::string& name) { return !from.has(name); });
    used.insert(names.begin(), names.end());
    if (names.empty()) {
      missing.push_back(wanted);
      continue;
    }
    require_fit(place, from.entry(names.front()), from.path());
    for (size_t i = 1; i < names.size(); ++i) {
      require_copy(from, names.front(), names[i], map.pairs.empty());
      map.copies[names[i]] = map.pairs.size();
    }
    map.pairs.push_back({place, names.front()});
  }
  if (!missing.empty())
    throw Error(Code::checkpoint, counted(missing, "is missing"), from.path(),
                missing.front() == kHead
                    ? "if its embedding is its head, config.json must say tie_word_embeddings = true"
                    : "config.json and the weights are not of one model, or a file is missing");
  for (size_t i = 0; i < from.size(); ++i) {
    const std::string name = from.entry(i).name;
    if (used.contains(name)) continue;
    (is_passed_over(config, name) ? map.passed_over : left_over).push_back(name);
  }
  if (!left_over.empty())
    throw Error(Code::checkpoint, counted(left_over, "has no place in a " + config.architecture), from.path(),
                "config.json and the weights are not of one model");
  return map;
}

void load_weights(const HuggingFaceConfig& config, const TensorReader& from, Net& net) {
  const WeightMap map = match_weights(config, from);
  const torch::NoGradGuard no_grad;
  auto parameters = net.named_parameters();
  const std::vector<std::string> names = parameters.keys();
  const auto corrections = std::count_if(names.begin(), names.end(), is_adapter_parameter);
  ETUDE_CHECK(names.size() - static_cast<size_t>(corrections) == map.pairs.size(), "the net is that of the config");
  for (const auto& [place, theirs] : map.pairs) {
    const Tensor value = from.get(theirs);
    Tensor* const own = parameters.find(place.name);
    ETUDE_CHECK(own, "the net has the parameters that the config describes");
    own->copy_(place.transposed ? value.t() : value);
  }
  from.require_whole();
}

std::vector<TensorSource> weights_to_write(const HuggingFaceConfig& config, const Net& net, const TensorReader* loaded,
                                           WeightType type) {
  const auto parameters = net.named_parameters();
  const auto own = [&](const std::string& name) -> const Tensor& {
    const Tensor* const found = parameters.find(name);
    ETUDE_CHECK(found, "the net has the parameters that the config describes");
    return *found;
  };
  std::vector<TensorSource> all;
  if (!loaded) {
    for (const WeightPlace& place : weight_places(config))
      all.push_back(source(place, place.name, own(place.name), nullptr, dtype_of(type, "F32")));
    return all;
  }
  const WeightMap map = match_weights(config, *loaded);
  std::map<std::string, const WeightPlace*> by_theirs;
  for (const auto& [place, theirs] : map.pairs) by_theirs[theirs] = &place;
  for (size_t i = 0; i < loaded->size(); ++i) {
    const SafetensorsEntry entry = loaded->entry(i);
    const std::string dtype = dtype_of(type, entry.dtype);
    if (const auto copy = map.copies.find(entry.name); copy != map.copies.end()) {
      const auto& [place, theirs] = map.pairs[copy->second];
      all.push_back(source(place, theirs, own(place.name), loaded, dtype));
      all.back().name = entry.name;
    } else if (const auto it = by_theirs.find(entry.name); it != by_theirs.end()) {
      all.push_back(source(*it->second, entry.name, own(it->second->name), loaded, dtype));
    } else {
      all.push_back(source_of(*loaded, entry.name));
    }
  }
  return all;
}

HuggingFaceOptions complete(HuggingFaceOptions options) {
  if (!options.config.empty()) return options;
  if (options.path.empty())
    throw Error(Code::config, "net hugging_face has no path", "net hugging_face",
                "path = \"FOLDER\", one with config.json and model.safetensors");
  if (!file::is_directory(options.path))
    throw Error(Code::config, "there is no folder '" + options.path + "'", "net hugging_face",
                "path is a folder with config.json and model.safetensors");
  const HuggingFaceConfig config = read_hugging_face_config(options.path);
  match_weights(config, *open_tensors(options.path));
  options.config = config.text;
  config_of(options);
  return options;
}

HuggingFaceConfig config_of(const HuggingFaceOptions& options) {
  HuggingFaceConfig config = parse_hugging_face_config(options.config, "net hugging_face, config");
  const bool learned = !std::holds_alternative<DecoderOptions>(config.options);
  if (learned && options.length > 0 && options.length != config.length())
    throw Error(Code::config,
                "length = " + std::to_string(options.length) + ", where the checkpoint has learned " +
                    std::to_string(config.length()) + " positions",
                "net hugging_face", "leave it out");
  std::visit(
      [&](auto& net) {
        if (options.length > 0) net.length = options.length;
        net.dropout = options.dropout;
      },
      config.options);
  return config;
}

std::shared_ptr<TokenNet> make_hugging_face(const HuggingFaceOptions& options) {
  const HuggingFaceConfig config = config_of(complete(options));
  return std::visit([&](const auto& net) { return pretrained(net, config, options); }, config.options);
}

std::string checkpoint_hash(const std::string& folder) {
  const auto weights = open_tensors(folder);
  std::vector<std::string> files{folder + "/" + kHuggingFaceConfig};
  if (const auto* sharded = dynamic_cast<const ShardedReader*>(weights.get()))
    for (const auto& shard : sharded->shards()) files.push_back(shard->path());
  else
    files.push_back(weights->path());
  file::Sha256 sum;
  for (const std::string& name : files) sum.add(file::sha256_file(name) + "\n");
  return sum.hex();
}

}  // namespace etude
