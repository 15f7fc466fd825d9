#pragma once
// The SwiGLU feed-forward layer (Shazeer 2020, "GLU variants improve Transformer", equation 6) under
// Llama's names.
//
// N any leading dimensions, D model width, F hidden width.

#include "etude/base/torch_pch.h"

#include <memory>
#include <string>

#include "etude/nn/context.h"
#include "etude/nn/linear.h"
#include "etude/nn/norm.h"
#include "etude/nn/residual.h"

namespace etude {

/// down(silu(gate(x)) * up(x)). Parameters under gate_proj, up_proj, down_proj.
class SwiGlu : public torch::nn::Module {
 public:
  SwiGlu(const std::string& name, int64_t dim, int64_t hidden, bool with_bias = false);
  /// Offers the taps "<name>.output" and "<name>.down_proj.input" (the hidden values).
  Tensor forward(const Tensor& x_ND, Ctx& ctx);
  /// x + dropout(forward(norm(x))), with the same taps.
  Tensor add_to(const Tensor& x_ND, RmsNorm& norm, double dropout, Ctx& ctx);
  double flops_per_token() const;

  std::shared_ptr<Linear> gate_proj, up_proj, down_proj;

 private:
  Tensor down(const Tensor& gate_NF, const Tensor& up_NF, Ctx& ctx);
  std::string name_, tap_, hidden_tap_;
};

}  // namespace etude
