// I inputs, O outputs, R rank.

#include "etude/nn/adapter.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "etude/base/error.h"
#include "etude/base/file.h"
#include "etude/nn/peft_config.h"
#include "etude/tensor/fill.h"
#include "etude/tensor/safetensors.h"
#include "etude/tensor/tensor_files.h"

namespace etude {
namespace {

constexpr std::string_view kDown = ".lora_A.weight", kUp = ".lora_B.weight";
/// What PEFT puts before the names of the model that it wraps.
constexpr std::string_view kWrapped = "base_model.model.";
constexpr const char* kAllLinear = "all-linear";
constexpr const char* kHead = "lm_head";

using Layers = std::vector<std::pair<std::string, Linear*>>;

Layers linear_layers(torch::nn::Module& net) {
  Layers all;
  for (const auto& module : net.named_modules("", false))
    if (auto* linear = dynamic_cast<Linear*>(module.value().get())) all.emplace_back(module.key(), linear);
  return all;
}

/// Whether a layer is called so, or ends in a dot and this.
bool is_called(const std::string& name, const std::string& target) {
  return name == target || name.ends_with("." + target);
}

bool meets(const std::string& name, const std::string& target) {
  return target == kAllLinear ? name != kHead : is_called(name, target);
}

/// Projections of queries and values, which the paper corrects (section 4.2); GPT-2 has those of keys in the same
/// layer.
std::vector<std::string> usual_targets(const Layers& layers) {
  std::vector<std::string> met;
  for (const char* target : {"q_proj", "v_proj", "c_attn", "query", "value"})
    if (std::any_of(layers.begin(), layers.end(), [&](const auto& l) { return is_called(l.first, target); }))
      met.push_back(target);
  return met;
}

/// Errors: Code::config.
void require_met(const std::vector<std::string>& targets, const Layers& layers) {
  for (const std::string& target : targets) {
    if (std::any_of(layers.begin(), layers.end(), [&](const auto& l) { return meets(l.first, target); })) continue;
    std::vector<std::string> ends;
    for (const auto& [name, linear] : layers) {
      std::string end = name.substr(name.rfind('.') + 1);
      if (std::find(ends.begin(), ends.end(), end) == ends.end()) ends.push_back(std::move(end));
    }
    std::string known;
    for (const std::string& end : ends) known += (known.empty() ? "" : ", ") + end;
    throw Error(Code::config, "the net has no linear layer '" + target + "'", "net, adapter.targets",
                did_you_mean(target, ends, "its linear layers end in " + known));
  }
}

std::string weights_file(const std::string& folder) { return folder + "/" + kPeftWeights; }

/// The layer of the net that a tensor of PEFT's corrects. Base models without a head are saved without their prefix.
std::optional<std::string> corrected(std::string_view tensor, const Layers& layers) {
  if (!tensor.starts_with(kWrapped)) return std::nullopt;
  tensor.remove_prefix(kWrapped.size());
  for (const std::string_view end : {kDown, kUp}) {
    if (!tensor.ends_with(end)) continue;
    const std::string name(tensor.substr(0, tensor.size() - end.size()));
    for (const char* prefix : {"", "model.", "transformer.", "bert."})
      for (const auto& [known, linear] : layers)
        if (known == prefix + name) return known;
  }
  return std::nullopt;
}

/// The options of an adapter that PEFT wrote: each layer that it corrects is a target.
AdapterOptions read_options_of(const std::string& folder, const Layers& layers) {
  const std::string path = folder + "/" + kPeftConfig;
  if (!file::exists(path))
    throw Error(Code::config, "there is no adapter in '" + folder + "'", "net, adapter.path",
                std::string("path is a folder with ") + kPeftConfig + " and " + kPeftWeights);
  const PeftConfig config = parse_peft_config(file::read(path), path);
  AdapterOptions options;
  options.rank = config.rank;
  options.alpha = config.alpha;
  options.dropout = config.dropout;
  options.rslora = config.rslora;
  options.path = folder;
  const SafetensorsReader weights(weights_file(folder));
  for (const std::string& tensor : weights.names()) {
    const std::optional<std::string> layer = corrected(tensor, layers);
    if (!layer)
      throw Error(Code::checkpoint, "'" + tensor + "' corrects no linear layer of the net", weights.path(),
                  "the adapter was made for another net");
    if (std::find(options.targets.begin(), options.targets.end(), *layer) == options.targets.end())
      options.targets.push_back(*layer);
  }
  if (options.targets.empty())
    throw Error(Code::checkpoint, "the adapter has no tensors", weights.path(), "the file is damaged");
  return options;
}

/// Fills a parameter from the tensor under one of its possible names. Errors: Code::checkpoint.
void fill_from(const SafetensorsReader& weights, const std::string& layer, std::string_view end, const Tensor& into) {
  std::string name = std::string(kWrapped) + layer + std::string(end);
  const std::string bare = std::string(kWrapped) + layer.substr(layer.find('.') + 1) + std::string(end);
  if (!weights.has(name) && weights.has(bare)) name = bare;
  const SafetensorsEntry entry = weights.entry(name);
  if (entry.shape != into.sizes().vec())
    throw Error(Code::checkpoint,
                "'" + name + "' has the shape " + c10::str(at::IntArrayRef(entry.shape)) +
                    ", where the net and the config want " + c10::str(into.sizes()),
                weights.path(), "the adapter was made for another net");
  if (entry.dtype != "F32" && entry.dtype != "BF16" && entry.dtype != "F16")
    throw Error(Code::checkpoint, "'" + name + "' is of type " + entry.dtype, weights.path(),
                "weights must be F32, BF16 or F16");
  into.copy_(weights.get(name));
}

}  // namespace

bool is_adapter_parameter(std::string_view name) { return name.ends_with(kDown) || name.ends_with(kUp); }

Adapter::Adapter(torch::nn::Module& net, const AdapterOptions& options) : options_(options) {
  const Layers layers = linear_layers(net);
  for (auto& parameter : net.parameters()) parameter.set_requires_grad(false);
  if (!options_.path.empty()) options_ = read_options_of(options_.path, layers);
  if (options_.targets.empty()) options_.targets = usual_targets(layers);
  require_met(options_.targets, layers);
  for (const auto& [name, linear] : layers) {
    const auto meant = [layer = name](const std::string& target) { return meets(layer, target); };
    if (std::any_of(options_.targets.begin(), options_.targets.end(), meant)) attach(name, *linear);
  }
}

void Adapter::attach(const std::string& name, Linear& linear) {
  const int64_t O = linear.weight.size(0), I = linear.weight.size(1), R = options_.rank;
  const auto part = [&](const char* of, int64_t rows, int64_t columns) {
    auto module = linear.register_module(of, std::make_shared<torch::nn::Module>());
    return module->register_parameter("weight", torch::zeros({rows, columns}, linear.weight.options()));
  };
  const Layer layer{name, &linear, part("lora_A", R, I), part("lora_B", O, R)};
  LowRank correction{layer.down_RI, layer.up_OR, scale()};
  correction.dropout = options_.dropout;
  linear.slots().low_rank = [correction](Ctx&) { return correction; };
  layers_.push_back(layer);
}

void Adapter::initialise(uint64_t seed) {
  const torch::NoGradGuard no_grad;
  if (!options_.path.empty()) {
    const SafetensorsReader weights(weights_file(options_.path));
    for (const Layer& layer : layers_) {
      fill_from(weights, layer.name, kDown, layer.down_RI);
      fill_from(weights, layer.name, kUp, layer.up_OR);
    }
    return weights.require_whole();
  }
  const Rng root(Key{.seed = seed, .purpose = Purpose::init});
  for (const Layer& layer : layers_) {
    Rng rng = root.fork(layer.name + std::string(kDown));
    const double bound = 1 / std::sqrt(static_cast<double>(layer.down_RI.size(1)));
    fill_uniform_(layer.down_RI, rng, -bound, bound);
    layer.up_OR.zero_();
  }
}

double Adapter::scale() const {
  const auto R = static_cast<double>(options_.rank);
  return options_.alpha / (options_.rslora ? std::sqrt(R) : R);
}

double Adapter::flops_per_token() const {
  double all = 0;
  for (const Layer& layer : layers_) all += 2.0 * static_cast<double>(layer.down_RI.numel() + layer.up_OR.numel());
  return all;
}

void merge_adapter(Net& net) {
  const auto* has = dynamic_cast<const HasAdapter*>(&net);
  if (!has) return;
  const torch::NoGradGuard no_grad;
  for (const Adapter::Layer& layer : has->adapter().layers()) {
    layer.linear->weight.add_(layer.up_OR.mm(layer.down_RI), has->adapter().scale());
    layer.up_OR.zero_();
  }
}

void write_peft_adapter(const Net& net, const std::string& folder, const std::string& base, bool transposed) {
  const auto* has = dynamic_cast<const HasAdapter*>(&net);
  if (!has)
    throw Error(Code::usage, "the net has no adapter", folder,
                "a recipe gives it one: [net.model] adapter = {rank = 8}");
  const Adapter& adapter = has->adapter();
  const AdapterOptions& o = adapter.options();
  PeftConfig config{o.rank, o.alpha, o.dropout, o.rslora, transposed, {}, base};
  NamedTensors tensors;
  for (const Adapter::Layer& layer : adapter.layers()) {
    config.targets.push_back(layer.name);
    const std::string name = std::string(kWrapped) + layer.name;
    tensors.emplace_back(name + std::string(kDown), layer.down_RI.detach().to(at::kFloat));
    tensors.emplace_back(name + std::string(kUp), layer.up_OR.detach().to(at::kFloat));
  }
  file::make_directories(folder);
  write_safetensors_atomically(weights_file(folder), tensors, {{"format", "pt"}});
  file::write_atomically(folder + "/" + kPeftConfig, to_peft_config(config));
}

}  // namespace etude
