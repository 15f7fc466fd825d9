// N rows (any leading dimensions), D width, C chunks of rows.

#include "etude/tensor/simd.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "etude/tensor/norm.cpp"
#include <hwy/foreach_target.h>

#include <cmath>

#include "etude/tensor/norm.h"
#include "etude/tensor/rows-inl.h"
#include "etude/tensor/simd_math-inl.h"

#ifndef ETUDE_TENSOR_NORM_CPP_
#define ETUDE_TENSOR_NORM_CPP_
namespace etude {

/// What kernels read of a norm: parameters in memory (a bias may be missing), and whether the mean is subtracted.
struct NormRow {
  int64_t width;
  const float *weight, *bias;
  float eps;
  bool centered;
};

/// Sums of gradients of the parameters, to be added to; nullptr: not wanted.
struct ParameterSums {
  float *weight = nullptr, *bias = nullptr;
};

}  // namespace etude
#endif

HWY_BEFORE_NAMESPACE();
namespace etude::HWY_NAMESPACE {
namespace {

template <class X>
HWY_INLINE float mean_of(const X* x, int64_t width) {
  const float sum =
      sum_over_lanes(width, [&](V so_far, int64_t i, auto lanes) { return so_far + load_lanes(x + i, lanes); });
  return sum / static_cast<float>(width);
}

/// The mean of (x - center)^2.
template <class X>
HWY_INLINE float mean_square(const X* x, int64_t width, float center) {
  const float sum = sum_over_lanes(width, [&](V so_far, int64_t i, auto lanes) {
    const V apart = only(load_lanes(x + i, lanes) - set(center), lanes);
    return fma(apart, apart, so_far);
  });
  return sum / static_cast<float>(width);
}

template <class X, class Y>
HWY_INLINE void write_row(const NormRow& norm, const X* x, const float* statistics, Y* y) {
  const V mean = set(statistics[0]), scale = set(statistics[1]);
  for_lanes(norm.width, [&](int64_t i, auto lanes) {
    const V standard = (load_lanes(x + i, lanes) - mean) * scale;
    const V weight = load_lanes(norm.weight + i, lanes);
    const V value = norm.bias ? fma(standard, weight, load_lanes(norm.bias + i, lanes)) : standard * weight;
    store_lanes(value, y + i, lanes);
  });
}

/// The gradients of one row. With h = (x - mean) scale and v = weight g: of x, scale (v - mean(v) - h mean(v h)),
/// without mean(v) for rms; of the weight, g h; of the bias, g.
template <class G, class X>
HWY_INLINE void row_gradients(const NormRow& norm, const G* g, const X* x, const float* statistics, const X* past,
                              X* x_gradient, const ParameterSums& sums) {
  const V mean = set(statistics[0]), scale = set(statistics[1]);
  V sum_v = hn::Zero(Lanes()), sum_vh = sum_v;
  for_lanes(norm.width, [&](int64_t i, auto lanes) {
    const V h = (load_lanes(x + i, lanes) - mean) * scale, g_i = load_lanes(g + i, lanes);
    const V v = g_i * load_lanes(norm.weight + i, lanes);
    sum_v = sum_v + v;
    sum_vh = fma(v, h, sum_vh);
    if (sums.weight) store_lanes(fma(g_i, h, load_lanes(sums.weight + i, lanes)), sums.weight + i, lanes);
    if (sums.bias) store_lanes(g_i + load_lanes(sums.bias + i, lanes), sums.bias + i, lanes);
  });
  if (!x_gradient) return;
  const auto width = static_cast<float>(norm.width);
  const V mean_v = norm.centered ? set(sum_of_lanes(sum_v) / width) : hn::Zero(Lanes());
  const V mean_vh = set(sum_of_lanes(sum_vh) / width);
  for_lanes(norm.width, [&](int64_t i, auto lanes) {
    const V h = (load_lanes(x + i, lanes) - mean) * scale;
    const V v = load_lanes(g + i, lanes) * load_lanes(norm.weight + i, lanes);
    V value = (v - mean_v - h * mean_vh) * scale;
    if (past) value = value + load_lanes(past + i, lanes);
    store_lanes(value, x_gradient + i, lanes);
  });
}

}  // namespace

/// Writes y, and before it the statistics [count, 2] if they are to be measured.
void norm_rows(const NormRow& norm, const Rows& x, float* statistics, bool measure, const Rows& y) {
  with_type(x.type, [&](auto in) {
    with_type(y.type, [&](auto out) {
      for (int64_t r = 0; r < x.count; ++r, statistics += 2) {
        const auto* from = row<decltype(in)>(x, r);
        if (measure) {
          statistics[0] = norm.centered ? mean_of(from, norm.width) : 0.0F;
          statistics[1] = 1.0F / std::sqrt(mean_square(from, norm.width, statistics[0]) + norm.eps);
        }
        write_row(norm, from, statistics, row<decltype(out)>(y, r));
      }
    });
  });
}

/// Writes the gradient of x and adds to those of the parameters, where there is memory for them.
void norm_gradients(const NormRow& norm, const Rows& gradient, const Rows& x, const float* statistics, const Rows& past,
                    const Rows& x_gradient, const ParameterSums& sums) {
  with_type(gradient.type, [&](auto above) {
    with_type(x.type, [&](auto in) {
      using X = decltype(in);
      for (int64_t r = 0; r < x.count; ++r, statistics += 2) {
        row_gradients(norm, row<decltype(above)>(gradient, r), row<X>(x, r), statistics,
                      past.data ? row<X>(past, r) : nullptr, x_gradient.data ? row<X>(x_gradient, r) : nullptr, sums);
      }
    });
  });
}

/// The sum of all rows of float32, first to last.
void sum_of_rows(const Rows& rows, float* to) {
  for_lanes(rows.width, [&](int64_t i, auto lanes) {
    V sum = hn::Zero(Lanes());
    for (int64_t r = 0; r < rows.count; ++r) sum = sum + load_lanes(row<float>(rows, r) + i, lanes);
    store_lanes(sum, to + i, lanes);
  });
}

}  // namespace etude::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include "etude/base/torch_pch.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "etude/base/error.h"
#include "etude/tensor/paths.h"
#include "etude/tensor/twice.h"

namespace etude {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

HWY_EXPORT(norm_rows);
HWY_EXPORT(norm_gradients);
HWY_EXPORT(sum_of_rows);

using Kind = NormOf::Kind;

/// Why not the kernels, or nullptr.
const char* why_not_kernels(const NormOf& norm, const Tensor& x) {
  for (const Tensor& p : {norm.weight_D, norm.bias_D})
    if (p.defined() && p.scalar_type() != at::kFloat) return "aten: type";
  return why_not_rows({x, norm.weight_D, norm.bias_D});
}

Tensor composed(const NormOf& norm, const Tensor& x, at::ScalarType type) {
  const auto wide = at::promote_types(x.scalar_type(), norm.weight_D.scalar_type());
  const Tensor in = x.to(wide), weight = norm.weight_D.to(wide);
  if (norm.kind == Kind::rms) return at::rms_norm(in, weight.sizes(), weight, norm.eps).to(type);
  const auto bias = norm.bias_D.defined() ? std::optional(norm.bias_D.to(wide)) : std::nullopt;
  if (in.is_meta()) {  // where LibTorch has no layer_norm
    const Tensor centered = in - in.mean(-1, true);
    const Tensor y = centered * (centered.square().mean(-1, true) + norm.eps).rsqrt() * weight;
    return (bias ? y + *bias : y).to(type);
  }
  return at::layer_norm(in, weight.sizes(), weight, bias, norm.eps).to(type);
}

const float* numbers(const Tensor& parameter) {
  return parameter.defined() ? parameter.const_data_ptr<float>() : nullptr;
}

/// A norm with contiguous parameters, which live as long as this.
struct Prepared {
  Prepared(const NormOf& norm, const Tensor& x)
      : weight_D(norm.weight_D.contiguous()),
        bias_D(norm.bias_D.defined() ? norm.bias_D.contiguous() : Tensor()),
        row{x.size(-1), numbers(weight_D), numbers(bias_D), static_cast<float>(norm.eps), norm.kind == Kind::layer} {
    ETUDE_CHECK(weight_D.dim() == 1 && weight_D.size(0) == x.size(-1) &&
                    (!bias_D.defined() || bias_D.sizes() == weight_D.sizes()),
                "parameters of a norm are as wide as its rows");
  }
  Tensor weight_D, bias_D;
  NormRow row;
};

int64_t rows_per_thread(int64_t width) { return std::max<int64_t>(1, kNumbersPerThread / std::max<int64_t>(1, width)); }

Tensor write_values(const NormOf& norm, const Tensor& x, const Tensor& statistics_N2, bool measure,
                    at::ScalarType type) {
  const Prepared prepared(norm, x);
  const Tensor in = with_rows(x), y = at::empty(x.sizes(), x.options().dtype(type));
  const Rows from = rows_of(in), to = rows_of(y);
  float* const statistics = statistics_N2.mutable_data_ptr<float>();
  at::parallel_for(0, from.count, rows_per_thread(from.width), [&](int64_t first, int64_t last) {
    HWY_DYNAMIC_DISPATCH(norm_rows)
    (prepared.row, from.between(first, last), statistics + 2 * first, measure, to.between(first, last));
  });
  return y;
}

/// Parameter gradients are summed over chunks of rows, and then over the chunks in their order. How many rows a chunk
/// has depends on their number only, hence so do the bits.
int64_t rows_per_chunk(int64_t rows) {
  constexpr int64_t kFewest = 32, kMostChunks = 256;
  return std::max(kFewest, (rows + kMostChunks - 1) / kMostChunks);
}

/// The gradients of x, weight and bias as ATen knows them, differentiable if the inputs and `gradient_y` are.
variable_list composed_gradients(const NormOf& norm, const Tensor& x, const Tensor& gradient_y) {
  const auto compose = [&](const variable_list& in) {
    const NormOf same{.kind = norm.kind, .weight_D = in.at(1), .bias_D = in.at(2), .eps = norm.eps};
    return composed(same, in.at(0), gradient_y.scalar_type());
  };
  return differentiable_gradients({x, norm.weight_D, norm.bias_D}, gradient_y, compose);
}

NormGradients backward_by_aten(const NormOf& norm, const Tensor& gradient_y, const Tensor& x, const Tensor& add_to_x) {
  const auto leaf = [](const Tensor& t) { return t.defined() ? t.detach().requires_grad_() : t; };
  const NormOf leaves{.kind = norm.kind, .weight_D = leaf(norm.weight_D), .bias_D = leaf(norm.bias_D), .eps = norm.eps};
  const variable_list found = composed_gradients(leaves, leaf(x), gradient_y.detach());
  const Tensor of_x = found.at(0).detach();
  return {.x = add_to_x.defined() ? (of_x + add_to_x).to(x.scalar_type()) : of_x,
          .weight_D = found.at(1).detach(),
          .bias_D = norm.bias_D.defined() ? found.at(2).detach() : Tensor()};
}

NormGradients backward_by_kernel(const NormOf& norm, const Tensor& gradient_y, const Tensor& x,
                                 const Tensor& statistics_N2, bool want_x, bool want_parameters,
                                 const Tensor& add_to_x) {
  const Prepared prepared(norm, x);
  const Tensor in = with_rows(x), above = with_rows(gradient_y);
  const Tensor past = want_x && add_to_x.defined() ? with_rows(add_to_x.to(x.scalar_type())) : Tensor();
  const Tensor x_gradient = want_x ? at::empty(x.sizes(), x.options()) : Tensor();
  const auto rows_or_none = [](const Tensor& t) { return t.defined() ? rows_of(t) : Rows(); };
  const Rows from = rows_of(in), g = rows_of(above), past_rows = rows_or_none(past), to = rows_or_none(x_gradient);

  const int64_t N = from.count, D = from.width, chunk = rows_per_chunk(N), C = (N + chunk - 1) / chunk;
  const int64_t P = !want_parameters ? 0 : norm.bias_D.defined() ? 2 : 1;
  const Tensor sums_CPD = at::zeros({C, P, D}, x.options().dtype(at::kFloat));
  const auto sums_of = [&](int64_t c) {
    float* const weight = P > 0 ? sums_CPD.mutable_data_ptr<float>() + c * P * D : nullptr;
    return ParameterSums{weight, P > 1 ? weight + D : nullptr};
  };
  const float* const statistics = statistics_N2.const_data_ptr<float>();
  at::parallel_for(0, C, std::max<int64_t>(1, rows_per_thread(D) / chunk), [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      const int64_t first = c * chunk, last = std::min(N, first + chunk);
      HWY_DYNAMIC_DISPATCH(norm_gradients)
      (prepared.row, g.between(first, last), from.between(first, last), statistics + 2 * first,
       past_rows.between(first, last), to.between(first, last), sums_of(c));
    }
  });
  if (!want_parameters) return {.x = x_gradient};
  const Tensor total_PD = at::empty({P, D}, sums_CPD.options());
  HWY_DYNAMIC_DISPATCH(sum_of_rows)(rows_of(sums_CPD.view({C, P * D})), total_PD.mutable_data_ptr<float>());
  return {.x = x_gradient, .weight_D = total_PD[0], .bias_D = P > 1 ? total_PD[1] : Tensor()};
}

struct Norm : torch::autograd::Function<Norm> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& weight_D,
                        const std::optional<Tensor>& bias_D, const NormOf& norm, at::ScalarType type) {
    Normed normed = norm_forward(norm, x, type);
    ctx->save_for_backward({x, weight_D, bias_D.value_or(Tensor()), normed.statistics_N2});
    ctx->saved_data["layer"] = norm.kind == Kind::layer;
    ctx->saved_data["eps"] = norm.eps;
    return normed.y;
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    const variable_list saved = ctx->get_saved_variables();
    NormOf norm{.kind = ctx->saved_data["layer"].toBool() ? Kind::layer : Kind::rms,
                .weight_D = saved.at(1),
                .bias_D = saved.at(2),
                .eps = ctx->saved_data["eps"].toDouble()};
    const Tensor &x = saved.at(0), &gradient = gradients.at(0);
    if (at::GradMode::is_enabled()) {
      variable_list found = composed_gradients(norm, x, gradient);
      found.resize(5);
      return found;
    }
    const bool parameters = ctx->needs_input_grad(1) || (norm.bias_D.defined() && ctx->needs_input_grad(2));
    const NormGradients found = norm_backward(norm, gradient, x, saved.at(3), ctx->needs_input_grad(0), parameters);
    return {found.x, found.weight_D, found.bias_D, Tensor(), Tensor()};
  }
};

}  // namespace

Normed norm_forward(const NormOf& norm, const Tensor& x_ND, at::ScalarType type) {
  const char* const why_not = why_not_kernels(norm, x_ND);
  took_path("norm", why_not ? why_not : "own");
  const int64_t D = x_ND.size(-1), N = D == 0 ? 0 : x_ND.numel() / D;
  if (!why_not) {
    const Tensor statistics_N2 = at::empty({N, 2}, x_ND.options().dtype(at::kFloat));
    const Tensor y = write_values(norm, x_ND, statistics_N2, /*measure=*/true, type);
    return {y, statistics_N2};
  }
  const Tensor wide_ND = x_ND.reshape({-1, D}).to(at::kFloat);
  const bool centered = norm.kind == Kind::layer;
  const Tensor mean_N = centered ? wide_ND.mean(-1) : at::zeros({wide_ND.size(0)}, wide_ND.options());
  const Tensor square_N = (wide_ND - mean_N.unsqueeze(-1)).square().mean(-1);
  return {composed(norm, x_ND, type), at::stack({mean_N, (square_N + norm.eps).rsqrt()}, -1)};
}

Tensor norm_again(const NormOf& norm, const Tensor& x_ND, const Tensor& statistics_N2, at::ScalarType type) {
  const char* const why_not = why_not_kernels(norm, x_ND);
  took_path("norm again", why_not ? why_not : "own");
  return why_not ? composed(norm, x_ND, type) : write_values(norm, x_ND, statistics_N2, /*measure=*/false, type);
}

NormGradients norm_backward(const NormOf& norm, const Tensor& gradient_y, const Tensor& x, const Tensor& statistics_N2,
                            bool want_x, bool want_parameters, const Tensor& add_to_x) {
  const char* why_not = why_not_kernels(norm, x);
  if (!why_not) why_not = why_not_rows({gradient_y, add_to_x});
  took_path("norm backward", why_not ? why_not : "own");
  if (!why_not) return backward_by_kernel(norm, gradient_y, x, statistics_N2, want_x, want_parameters, add_to_x);
  NormGradients all = backward_by_aten(norm, gradient_y, x, add_to_x);
  if (!want_x) all.x = Tensor();
  if (!want_parameters) all.weight_D = all.bias_D = Tensor();
  return all;
}

Tensor norm(const NormOf& norm, const Tensor& x, at::ScalarType type) {
  const char* const why_not = why_not_kernels(norm, x);
  const bool narrow = type == at::kFloat || type == at::kBFloat16;
  if (!why_not && narrow) {
    const auto bias_D = norm.bias_D.defined() ? std::optional(norm.bias_D) : std::nullopt;
    return Norm::apply(x, norm.weight_D, bias_D, norm, type);
  }
  took_path("norm", why_not ? why_not : "aten: type");
  return composed(norm, x, type);
}

}  // namespace etude

#endif
