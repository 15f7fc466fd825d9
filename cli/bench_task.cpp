// B batch, T time, K masked places of a row.

#include "cli/bench_task.h"

#include <cmath>

#include "etude/base/error.h"
#include "etude/base/rng.h"
#include "etude/nn/decoder.h"
#include "etude/nn/encoder.h"
#include "etude/tensor/safetensors.h"
#include "etude/train/trainer.h"

namespace etude::cli {
namespace {

constexpr uint64_t kSeed = 1;
constexpr double kSurprise = 0.1;  ///< of tokens, those that do not follow from the one before

/// Rows in which most tokens follow from the one before by a rule that a net can learn, so that losses fall.
Tensor tokens(const StepShape& shape, int64_t number, int64_t length) {
  Rng rng(Key{.seed = kSeed, .purpose = Purpose::sample, .step = number});
  const Tensor ids_BT = at::empty({shape.batch, length}, at::kLong);
  const auto any = [&] { return rng.below(shape.vocab); };
  auto* id = ids_BT.mutable_data_ptr<int64_t>();
  for (int64_t b = 0; b < shape.batch; ++b)
    for (int64_t t = 0, last = 0; t < length; ++t)
      *id++ = last = t == 0 || rng.uniform() < kSurprise ? any() : (5 * last + 17) % shape.vocab;
  return ids_BT;
}

/// The next token is asked for at each.
NamedTensors decoder_batch(const StepShape& shape, int64_t number) {
  const Tensor row = tokens(shape, number, shape.length + 1);
  return {{"ids_BT", row.narrow(1, 0, shape.length)}, {"labels_BT", row.narrow(1, 1, shape.length)}};
}

/// As many tokens of each row are hidden behind the last id of the vocabulary, at places of its own.
NamedTensors encoder_batch(const StepShape& shape, int64_t number) {
  Tensor ids_BT = tokens(shape, number, shape.length);
  const Tensor labels_BT = at::full_like(ids_BT, -1);
  Rng rng(Key{.seed = kSeed, .purpose = Purpose::mask, .step = number});
  const auto hidden = static_cast<int64_t>(std::llround(kMasked * static_cast<double>(shape.length)));
  for (int64_t b = 0; b < shape.batch; ++b) {
    auto* ids = ids_BT.mutable_data_ptr<int64_t>() + b * shape.length;
    auto* labels = labels_BT.mutable_data_ptr<int64_t>() + b * shape.length;
    for (int64_t left = hidden; left > 0;) {
      const int64_t t = rng.below(shape.length);
      if (labels[t] >= 0) continue;
      labels[t] = std::exchange(ids[t], shape.vocab - 1);
      --left;
    }
  }
  return {{"ids_BT", ids_BT}, {"labels_BT", labels_BT}};
}

bool is_encoder(const StepShape& shape) { return shape.net == "encoder"; }

int64_t masked_tokens(const StepShape& shape) {
  return shape.batch * std::llround(kMasked * static_cast<double>(shape.length));
}

Config as_config(const nlohmann::json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number_integer()) return value.get<int64_t>();
  if (value.is_number()) return value.get<double>();
  return value.get<std::string>();
}

/// Those of Etude's options that a peer's constructor has no word for, as they have to be.
void add_fixed_options(const std::string& kind, Config& table) {
  if (kind == "decoder") table.set("tied", false);
}

}  // namespace

std::string StepShape::text() const {
  return "d=" + std::to_string(dim) + " L=" + std::to_string(layers) + " T=" + std::to_string(length) +
         " B=" + std::to_string(batch) + " V=" + std::to_string(vocab);
}

nlohmann::json StepShape::options() const {
  nlohmann::json options = {{"vocab", vocab}, {"dim", dim}, {"layers", layers},
                            {"heads", heads}, {"ffn", ffn}, {"length", length}};
  if (net == "encoder")
    options.update({{"types", 2}, {"norm_eps", 1e-12}});
  else
    options.update({{"rope_theta", 10000.0}, {"norm_eps", 1e-5}});
  return options;
}

std::shared_ptr<Net> StepShape::make_net() const { return cli::make_net(net, options()); }

const std::vector<StepShape>& step_shapes() {
  static const std::vector<StepShape> all = {
      {"decoder-64", "decoder", 64, 2, 2, 192, 64, 16, 256},
      {"decoder-256", "decoder", 256, 6, 4, 704, 256, 16, 4096},
      {"decoder-512", "decoder", 512, 8, 8, 1376, 512, 4, 8192},
      {"encoder-256", "encoder", 256, 6, 4, 1024, 128, 32, 8192},
  };
  return all;
}

const StepShape& find_step(const std::string& name) {
  std::vector<std::string> known;
  for (const StepShape& shape : step_shapes()) {
    if (shape.name == name) return shape;
    known.push_back(shape.name);
  }
  throw Error(Code::usage, "there is no training step '" + name + "'", "etude bench",
              did_you_mean(name, known, "etude bench --list shows those that there are"));
}

std::shared_ptr<Net> make_net(const std::string& kind, const nlohmann::json& options) {
  Part part;
  part.config.set("kind", kind);
  for (const auto& [key, value] : options.items()) part.config.set(key, as_config(value));
  add_fixed_options(kind, part.config);
  if (kind == "encoder") return make_encoder(part);
  return make_decoder(part);
}

nlohmann::json write_task(const StepShape& shape, const std::string& folder, int64_t threads) {
  const std::string weights = folder + "/weights.safetensors", batches = folder + "/batches.safetensors";
  const std::shared_ptr<Net> net = shape.make_net();
  net->initialise(initial_seed(kSeed, "model"));
  NamedTensors values;
  std::vector<std::string> no_decay;
  for (const auto& p : net->named_parameters()) {
    values.emplace_back(p.key(), p.value().detach());
    if (net->tags(p.key()).count("no_decay")) no_decay.push_back(p.key());
  }
  write_safetensors(weights, values);
  NamedTensors all;
  for (int64_t i = 0; i < kBatches; ++i)
    for (const auto& [name, value] : is_encoder(shape) ? encoder_batch(shape, i) : decoder_batch(shape, i))
      all.emplace_back(std::to_string(i) + "/" + name, value);
  write_safetensors(batches, all);
  return {{"net", shape.net},     {"options", shape.options()},
          {"weights", weights},   {"batches", batches},
          {"format", "fp32"},     {"threads", threads},
          {"lr", 1e-3},           {"beta1", 0.9},
          {"beta2", 0.999},       {"eps", 1e-8},
          {"weight_decay", 0.01}, {"no_decay", no_decay},
          {"clip", 1.0},          {"compile", false}};
}

std::vector<Batch> read_batches(const std::string& path) {
  std::vector<Batch> batches;
  for (auto& [name, value] : read_safetensors(path).tensors) {
    const size_t slash = name.find('/');
    const auto number = static_cast<size_t>(std::stoul(name.substr(0, slash)));
    if (batches.size() <= number) batches.resize(number + 1);
    batches[number].x[name.substr(slash + 1)] = value;
    batches[number].id_B = at::arange(value.size(0), at::kLong);
  }
  for (Batch& batch : batches) {
    const Tensor& labels_BT = batch.at("labels_BT");
    const int64_t B = labels_BT.size(0);
    // Places are found once, as a collator does it: every row has as many.
    const Tensor asked = labels_BT.ge(0);
    if (asked.all().item<bool>()) continue;
    batch.x["place_BK"] = asked.nonzero().select(1, 1).view({B, -1}).contiguous();
    batch.x["labels_BK"] = labels_BT.gather(1, batch.x["place_BK"]);
  }
  return batches;
}

double required_flops(const StepShape& shape) {
  const std::shared_ptr<Net> net = shape.make_net();
  Batch batch;
  batch.x["ids_BT"] = at::zeros({shape.batch, shape.length}, at::kLong);
  double forward = net->flops(batch);
  if (const auto* masked = dynamic_cast<const MaskedLanguageModel*>(net.get()))
    forward += static_cast<double>(masked_tokens(shape)) * masked->head_flops();
  return 3 * forward;
}

std::vector<std::vector<int64_t>> product_shapes(const StepShape& shape) {
  const int64_t M = shape.tokens(), D = shape.dim, F = shape.ffn;
  return {{M, D, D}, {M, F, D}, {M, D, F}, {is_encoder(shape) ? masked_tokens(shape) : M, shape.vocab, D}};
}

}  // namespace etude::cli
