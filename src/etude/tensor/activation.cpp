// N any leading dimensions, F hidden width.

#include "etude/tensor/simd.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "etude/tensor/activation.cpp"
#include <hwy/foreach_target.h>

#include "etude/tensor/activation.h"
#include "etude/tensor/rows-inl.h"
#include "etude/tensor/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace etude::HWY_NAMESPACE {
namespace {

/// A function and its derivative.
struct Slope {
  V value, slope;
};

HWY_INLINE Slope silu(V x) {
  const Sigmoid s = sigmoid_and_rest(x);
  const V value = x * s.value;
  return {value, fma(value, s.rest, s.value)};
}

struct Relu {
  HWY_INLINE V value(V x) const { return hn::IfThenZeroElse(hn::Lt(x, hn::Zero(Lanes())), x); }
  HWY_INLINE V slope(V x) const { return hn::IfThenZeroElse(hn::Le(x, hn::Zero(Lanes())), set(1.0F)); }
};

/// x P(X <= x) = max(x, 0) - |x| P(X > |x|).
struct Gelu {
  HWY_INLINE V value(V x) const { return hn::NegMulAdd(hn::Abs(x), normal(x).tail, Relu().value(x)); }
  HWY_INLINE V slope(V x) const {
    const Normal at = normal(x);
    const V below = hn::IfThenElse(hn::Lt(x, hn::Zero(Lanes())), at.tail, set(1.0F) - at.tail);
    return fma(x, at.density, below);
  }
};

/// x (1 + tanh(u)) / 2 = x sigmoid(2u), 2u = x (a + b x^2), a = 2 sqrt(2 / pi), b = 0.044715 a.
struct GeluTanh {
  static constexpr float kA = 1.5957691216F, kB = 0.0713548162726F;
  HWY_INLINE V value(V x) const { return x * sigmoid(x * fma(x * x, set(kB), set(kA))); }
  HWY_INLINE V slope(V x) const {
    const V square = x * x;
    const Sigmoid s = sigmoid_and_rest(x * fma(square, set(kB), set(kA)));
    const V inner = x * fma(square, set(3 * kB), set(kA));
    return s.value * fma(inner, s.rest, set(1.0F));
  }
};

struct Silu {
  HWY_INLINE V value(V x) const { return silu(x).value; }
  HWY_INLINE V slope(V x) const { return silu(x).slope; }
};

struct None {
  HWY_INLINE V value(V x) const { return x; }
  HWY_INLINE V slope(V) const { return set(1.0F); }
};

template <class F>
HWY_INLINE void with_function(Activation activation, const F& f) {
  switch (activation) {
    case Activation::none:
      return f(None());
    case Activation::relu:
      return f(Relu());
    case Activation::gelu:
      return f(Gelu());
    case Activation::gelu_tanh:
      return f(GeluTanh());
    case Activation::silu:
      return f(Silu());
  }
}

}  // namespace

/// y = f(x).
void activation_values(Activation activation, const Rows& x, const Rows& y) {
  with_function(activation, [&](auto function) {
    with_type(x.type, [&](auto in) {
      with_type(y.type, [&](auto out) {
        for (int64_t r = 0; r < x.count; ++r) {
          const auto* from = row<decltype(in)>(x, r);
          auto* to = row<decltype(out)>(y, r);
          for_lanes(x.width, [&](int64_t i, auto lanes) {
            store_lanes(function.value(load_lanes(from + i, lanes)), to + i, lanes);
          });
        }
      });
    });
  });
}

/// x_gradient = gradient f'(x).
void activation_gradients(Activation activation, const Rows& gradient, const Rows& x, const Rows& x_gradient) {
  with_function(activation, [&](auto function) {
    with_type(gradient.type, [&](auto above) {
      with_type(x.type, [&](auto in) {
        for (int64_t r = 0; r < x.count; ++r) {
          const auto* g = row<decltype(above)>(gradient, r);
          const auto* from = row<decltype(in)>(x, r);
          auto* to = row<decltype(in)>(x_gradient, r);
          for_lanes(x.width, [&](int64_t i, auto lanes) {
            const V slope = function.slope(load_lanes(from + i, lanes));
            store_lanes(load_lanes(g + i, lanes) * slope, to + i, lanes);
          });
        }
      });
    });
  });
}

/// y = silu(gate) up.
void swiglu_values(const Rows& gate, const Rows& up, const Rows& y) {
  with_type(gate.type, [&](auto in) {
    with_type(y.type, [&](auto out) {
      for (int64_t r = 0; r < gate.count; ++r) {
        const auto* a = row<decltype(in)>(gate, r);
        const auto* b = row<decltype(in)>(up, r);
        auto* to = row<decltype(out)>(y, r);
        for_lanes(gate.width, [&](int64_t i, auto lanes) {
          store_lanes(silu(load_lanes(a + i, lanes)).value * load_lanes(b + i, lanes), to + i, lanes);
        });
      }
    });
  });
}

void swiglu_gradients(const Rows& gradient, const Rows& gate, const Rows& up, const Rows& gate_gradient,
                      const Rows& up_gradient) {
  with_type(gradient.type, [&](auto above) {
    with_type(gate.type, [&](auto in) {
      for (int64_t r = 0; r < gate.count; ++r) {
        const auto* g = row<decltype(above)>(gradient, r);
        const auto* a = row<decltype(in)>(gate, r);
        const auto* b = row<decltype(in)>(up, r);
        auto* to_gate = row<decltype(in)>(gate_gradient, r);
        auto* to_up = row<decltype(in)>(up_gradient, r);
        for_lanes(gate.width, [&](int64_t i, auto lanes) {
          const Slope at = silu(load_lanes(a + i, lanes));
          const V above_i = load_lanes(g + i, lanes);
          store_lanes(above_i * load_lanes(b + i, lanes) * at.slope, to_gate + i, lanes);
          store_lanes(above_i * at.value, to_up + i, lanes);
        });
      }
    });
  });
}

}  // namespace etude::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include "etude/base/torch_pch.h"

#include "etude/base/error.h"
#include "etude/tensor/paths.h"
#include "etude/tensor/twice.h"

namespace etude {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

HWY_EXPORT(activation_values);
HWY_EXPORT(activation_gradients);
HWY_EXPORT(swiglu_values);
HWY_EXPORT(swiglu_gradients);

/// ATen's function.
Tensor composed(Activation activation, const Tensor& x) {
  switch (activation) {
    case Activation::relu:
      return at::relu(x);
    case Activation::gelu:
      return at::gelu(x);
    case Activation::gelu_tanh:
      return at::gelu(x, "tanh");
    case Activation::silu:
      return at::silu(x);
    case Activation::none:
      break;
  }
  return x;
}

Tensor composed_swiglu(const Tensor& gate, const Tensor& up) { return at::silu(gate) * up; }

/// x as it is computed with where the result is not of its type: in float32 at least.
Tensor widened(const Tensor& x, at::ScalarType type) {
  return type == x.scalar_type() ? x : x.to(at::promote_types(x.scalar_type(), at::kFloat));
}

Tensor like(const Tensor& x, at::ScalarType type) { return at::empty(x.sizes(), x.options().dtype(type)); }

struct Activate : torch::autograd::Function<Activate> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, int64_t activation) {
    ctx->save_for_backward({x});
    ctx->saved_data["activation"] = activation;
    return activation_forward(static_cast<Activation>(activation), x, x.scalar_type());
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    const Tensor x = ctx->get_saved_variables().at(0);
    const auto activation = static_cast<Activation>(ctx->saved_data["activation"].toInt());
    if (!at::GradMode::is_enabled()) return {activation_backward(activation, gradients.at(0), x), Tensor()};
    const auto compose = [&](const variable_list& in) { return composed(activation, in.at(0)); };
    return {differentiable_gradients({x}, gradients.at(0), compose).at(0), Tensor()};
  }
};

struct SwiGlu : torch::autograd::Function<SwiGlu> {
  static Tensor forward(AutogradContext* ctx, const Tensor& gate, const Tensor& up) {
    ctx->save_for_backward({gate, up});
    return swiglu_forward(gate, up, gate.scalar_type());
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    const variable_list saved = ctx->get_saved_variables();
    if (!at::GradMode::is_enabled()) {
      const SwigluGradients found = swiglu_backward(gradients.at(0), saved.at(0), saved.at(1));
      return {found.gate, found.up};
    }
    const auto compose = [](const variable_list& in) { return composed_swiglu(in.at(0), in.at(1)); };
    return differentiable_gradients(saved, gradients.at(0), compose);
  }
};

}  // namespace

std::string_view activation_name(Activation activation) {
  switch (activation) {
    case Activation::relu:
      return "relu";
    case Activation::gelu:
      return "gelu";
    case Activation::gelu_tanh:
      return "gelu_tanh";
    case Activation::silu:
      return "silu";
    case Activation::none:
      break;
  }
  return "none";
}

Tensor activation_forward(Activation activation, const Tensor& x, at::ScalarType type) {
  const char* const why_not = why_not_rows({x});
  took_path("activation", why_not ? why_not : "own");
  if (why_not) return composed(activation, widened(x, type)).to(type);
  const Tensor in = with_rows(x), y = like(in, type);
  for_each_piece({rows_of(in), rows_of(y)}, [&](const Rows* piece) {
    HWY_DYNAMIC_DISPATCH(activation_values)(activation, piece[0], piece[1]);
  });
  return y;
}

Tensor activation_backward(Activation activation, const Tensor& gradient, const Tensor& x) {
  const char* const why_not = why_not_rows({gradient, x});
  took_path("activation backward", why_not ? why_not : "own");
  if (why_not) {
    const Tensor leaf = x.detach().requires_grad_();
    const auto type = gradient.scalar_type();
    const auto compose = [&](const variable_list& in) { return composed(activation, widened(in.at(0), type)); };
    return differentiable_gradients({leaf}, gradient.detach(), compose).at(0).detach();
  }
  const Tensor g = with_rows(gradient), in = with_rows(x), x_gradient = like(in, in.scalar_type());
  for_each_piece({rows_of(g), rows_of(in), rows_of(x_gradient)}, [&](const Rows* piece) {
    HWY_DYNAMIC_DISPATCH(activation_gradients)(activation, piece[0], piece[1], piece[2]);
  });
  return x_gradient;
}

Tensor activate(Activation activation, const Tensor& x) {
  if (activation == Activation::none) return x;
  const char* const why_not = why_not_rows({x});
  if (!why_not) return Activate::apply(x, static_cast<int64_t>(activation));
  took_path("activation", why_not);
  return composed(activation, x);
}

void activate_block(Activation activation, float* data, int64_t rows, int64_t cols, int64_t stride) {
  if (activation == Activation::none) return;
  const Rows block{data, at::kFloat, rows, cols, stride};
  HWY_DYNAMIC_DISPATCH(activation_values)(activation, block, block);
}

Tensor swiglu_forward(const Tensor& gate_NF, const Tensor& up_NF, at::ScalarType type) {
  ETUDE_CHECK(gate_NF.sizes() == up_NF.sizes(), "gate and up have one shape");
  const char* const why_not = why_not_rows({gate_NF, up_NF});
  took_path("swiglu", why_not ? why_not : "own");
  if (why_not) return composed_swiglu(widened(gate_NF, type), widened(up_NF, type)).to(type);
  const Tensor gate = with_rows(gate_NF), up = with_rows(up_NF.to(gate.scalar_type())), y = like(gate, type);
  for_each_piece({rows_of(gate), rows_of(up), rows_of(y)}, [](const Rows* piece) {
    HWY_DYNAMIC_DISPATCH(swiglu_values)(piece[0], piece[1], piece[2]);
  });
  return y;
}

SwigluGradients swiglu_backward(const Tensor& gradient_NF, const Tensor& gate_NF, const Tensor& up_NF) {
  const char* const why_not = why_not_rows({gradient_NF, gate_NF, up_NF});
  took_path("swiglu backward", why_not ? why_not : "own");
  if (why_not) {
    const Tensor gate = gate_NF.detach().requires_grad_(), up = up_NF.detach().requires_grad_();
    const auto type = gradient_NF.scalar_type();
    const auto compose = [&](const variable_list& in) {
      return composed_swiglu(widened(in.at(0), type), widened(in.at(1), type));
    };
    const variable_list found = differentiable_gradients({gate, up}, gradient_NF.detach(), compose);
    return {found.at(0).detach(), found.at(1).detach()};
  }
  const Tensor g = with_rows(gradient_NF), gate = with_rows(gate_NF), up = with_rows(up_NF.to(gate.scalar_type()));
  const Tensor gate_gradient = like(gate, gate.scalar_type()), up_gradient = like(gate, gate.scalar_type());
  for_each_piece({rows_of(g), rows_of(gate), rows_of(up), rows_of(gate_gradient), rows_of(up_gradient)},
                 [](const Rows* piece) {
                   HWY_DYNAMIC_DISPATCH(swiglu_gradients)(piece[0], piece[1], piece[2], piece[3], piece[4]);
                 });
  return {gate_gradient, up_gradient.to(up_NF.scalar_type())};
}

Tensor swiglu(const Tensor& gate_NF, const Tensor& up_NF) {
  const char* const why_not = why_not_rows({gate_NF, up_NF});
  if (!why_not) return SwiGlu::apply(gate_NF, up_NF);
  took_path("swiglu", why_not);
  return composed_swiglu(gate_NF, up_NF).to(gate_NF.scalar_type());
}

}  // namespace etude

#endif
