#pragma once
// precision = "bf16": training in mixed precision as Kalamkar et al. 2019 ("A Study of BFLOAT16 for Deep Learning
// Training", section 3) do it. Operands of products are bfloat16, and their sums float32; weights, which the products
// convert on the way, gradients, optimizers' state, norms and losses are float32. bfloat16 has the exponents of
// float32, so the loss needs no scale. Evaluations compute alike.

#include <optional>
#include <string>

#include "etude/base/options.h"
#include "etude/train/hooks.h"

namespace etude {

struct Bf16Options {
  template <class V>
  void fields(V&) {}
};

class Bf16 : public Technique {
 public:
  static constexpr const char* kName = "bf16";
  explicit Bf16(const Bf16Options&) {}
  Contract contract() const override { return {.name = kName, .owns = {Slot::precision}}; }
  Format format() const override { return Format::bfloat16; }
};

/// What products of bfloat16 cost on this processor, in words, where it has no instructions for them: measured on a
/// product of 512 x 512 x 512, which takes some milliseconds. Nothing where it has them.
std::optional<std::string> cost_of_bfloat16();
/// Warns of it, once in a process.
void warn_of_cost(Format format);

}  // namespace etude
