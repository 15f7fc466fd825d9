#pragma once
// Low-rank adapters (Hu et al. 2021, "LoRA", section 4.1): a linear layer of a net whose weights stay as they are gets
// a correction of rank R that trains, y += scale * (x A^T) B^T. Names and files are those of PEFT:
//
//   <layer>.lora_A.weight   [R, I]   uniform in +-1/sqrt(I) at the beginning, as in PEFT (the paper: Gaussian)
//   <layer>.lora_B.weight   [O, R]   zeros at the beginning
//
// scale = alpha / R, or alpha / sqrt(R) with rslora. While an adapter is there, all other parameters of the net have
// the tag "frozen" and no gradient.
//
// I inputs, O outputs, R rank.

#include "etude/base/torch_pch.h"

#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "etude/nn/adapter_options.h"
#include "etude/nn/linear.h"
#include "etude/nn/net.h"

namespace etude {

/// Whether a parameter of that name belongs to an adapter.
bool is_adapter_parameter(std::string_view name);

class Adapter {
 public:
  struct Layer {
    std::string name;  ///< in the net
    Linear* linear;
    Tensor down_RI, up_OR;
  };

  /// Registers the parameters under the layers that the options mean, and fills their slots. `net` outlives it.
  /// Errors: Code::config for targets that no linear layer has, with the nearest names; with options.path Code::io and
  /// Code::checkpoint, naming file, key or tensor.
  Adapter(torch::nn::Module& net, const AdapterOptions& options);

  /// From Rng(Key{seed, Purpose::init}).fork(name), or from options.path.
  void initialise(uint64_t seed);
  /// What was asked for; of an adapter that was read, what its files say.
  const AdapterOptions& options() const { return options_; }
  const std::vector<Layer>& layers() const { return layers_; }
  double scale() const;
  /// 2 per multiply-add.
  double flops_per_token() const;

 private:
  void attach(const std::string& name, Linear& linear);

  AdapterOptions options_;
  std::vector<Layer> layers_;
};

/// What nets with an adapter are beside their own kind.
class HasAdapter {
 public:
  virtual ~HasAdapter() = default;
  virtual const Adapter& adapter() const = 0;
};

template <class Base>
class Adapted : public Base, public HasAdapter {
 public:
  template <class... Arguments>
  explicit Adapted(const AdapterOptions& options, const Arguments&... arguments)
      : Base(arguments...), adapter_(*this, options) {}

  void initialise(uint64_t seed) override {
    Base::initialise(seed);
    adapter_.initialise(seed);
  }
  std::set<std::string> tags(const std::string& parameter) const override {
    if (is_adapter_parameter(parameter)) return {"adapter"};
    std::set<std::string> all = Base::tags(parameter);
    all.insert("frozen");
    return all;
  }
  double flops(const Batch& batch) const override {
    const auto ids = batch.x.find("ids_BT");
    const double tokens = ids == batch.x.end() ? 0 : static_cast<double>(ids->second.numel());
    return Base::flops(batch) + tokens * adapter_.flops_per_token();
  }
  const Adapter& adapter() const override { return adapter_; }

 private:
  Adapter adapter_;
};

/// A Base made of `arguments`, with an adapter if the options want one.
template <class Base, class... Arguments>
std::shared_ptr<Base> make_adapted(const AdapterOptions& options, const Arguments&... arguments) {
  if (!options.on()) return std::make_shared<Base>(arguments...);
  return std::make_shared<Adapted<Base>>(options, arguments...);
}

/// Adds the corrections to the weights and begins them anew with zeros: the net computes the same without them. A net
/// without an adapter stays as it is.
void merge_adapter(Net& net);

/// Writes the net's adapter into a folder as PEFT does: adapter_config.json and adapter_model.safetensors, float32.
/// `base`: folder or name of the net that it corrects; may be empty. `transposed`: whether that net keeps the weights
/// of these layers transposed, as GPT-2 does. Errors: Code::usage for a net without an adapter; Code::io.
void write_peft_adapter(const Net& net, const std::string& folder, const std::string& base, bool transposed);

}  // namespace etude
