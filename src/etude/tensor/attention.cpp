// B batch, T queries, S keys, H query heads, G key/value heads, E head width.

#include "etude/base/torch_pch.h"

#include "etude/tensor/attention.h"

#include <cmath>
#include <limits>

#include "etude/base/error.h"
#include "etude/tensor/attention_blocks.h"
#include "etude/tensor/paths.h"
#include "etude/tensor/twice.h"

namespace etude {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

double scale_of(const AttentionOptions& o, int64_t E) {
  return o.scale > 0 ? o.scale : 1 / std::sqrt(static_cast<double>(E));
}

void check(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& o) {
  ETUDE_CHECK(q.dim() == 4 && k.dim() == 4 && v.sizes() == k.sizes(), "q is [B, T, H, E], k and v are [B, S, G, E]");
  ETUDE_CHECK(q.size(0) == k.size(0) && q.size(3) == k.size(3), "q and k have the same batch and width of a head");
  ETUDE_CHECK(k.size(2) > 0 && q.size(2) % k.size(2) == 0, "query heads must be a multiple of key heads");
  ETUDE_CHECK(q.scalar_type() == k.scalar_type() && q.scalar_type() == v.scalar_type(), "q, k, v are of one type");
  ETUDE_CHECK(o.window >= 0 && o.scale >= 0, "a window and a scale are positive, or 0 for the default");
  ETUDE_CHECK(!o.length_B.defined() || o.length_B.sizes() == q.sizes().slice(0, 1), "a length for each row");
  for (const Tensor* bound : {&o.first_BT, &o.end_BT})
    ETUDE_CHECK(!bound->defined() || bound->sizes() == q.sizes().slice(0, 2), "a bound for each query");
}

/// Whether causal is all there is to say.
bool is_plain(const AttentionOptions& o) {
  return o.window == 0 && !o.length_B.defined() && !o.first_BT.defined() && !o.end_BT.defined() && !o.bias.defined();
}

/// True where a key is seen, broadcast to [B, 1, T, S]; undefined if all are.
Tensor seen_keys(const AttentionOptions& o, int64_t T, int64_t S, const at::Device& device) {
  const auto integers = at::TensorOptions().dtype(at::kLong).device(device);
  const Tensor t_T1 = at::arange(T, integers).unsqueeze(1), s_S = at::arange(S, integers);
  Tensor seen;
  const auto require = [&](const Tensor& condition) {
    seen = seen.defined() ? seen.bitwise_and(condition) : condition;
  };
  const auto of_queries = [](const Tensor& bound_BT) { return bound_BT.unsqueeze(1).unsqueeze(3); };
  if (o.causal) require(s_S.le(t_T1));
  if (o.window > 0) require(s_S.gt(t_T1 - o.window));
  if (o.length_B.defined()) require(s_S.lt(o.length_B.view({-1, 1, 1, 1})));
  if (o.first_BT.defined()) require(s_S.ge(of_queries(o.first_BT)));
  if (o.end_BT.defined()) require(s_S.lt(of_queries(o.end_BT)));
  return seen;
}

/// [B, S, G, E] as [B, H, S, E].
Tensor for_query_heads(const Tensor& x_BSGE, int64_t H) {
  const Tensor x_BGSE = x_BSGE.transpose(1, 2);
  return H == x_BGSE.size(1) ? x_BGSE : x_BGSE.repeat_interleave(H / x_BGSE.size(1), 1);
}

Tensor composition(const Tensor& q_BTHE, const Tensor& k_BSGE, const Tensor& v_BSGE, const AttentionOptions& o) {
  const Tensor v_BHSE = for_query_heads(v_BSGE, q_BTHE.size(2));
  return at::matmul(attention_weights(q_BTHE, k_BSGE, o), v_BHSE).transpose(1, 2);
}

Tensor by_aten(const Tensor& q_BTHE, const Tensor& k_BSGE, const Tensor& v_BSGE, const AttentionOptions& o) {
  if (!is_plain(o) || k_BSGE.size(1) == 0) return composition(q_BTHE, k_BSGE, v_BSGE, o);
  const int64_t H = q_BTHE.size(2);
  return at::scaled_dot_product_attention(q_BTHE.transpose(1, 2), for_query_heads(k_BSGE, H),
                                          for_query_heads(v_BSGE, H), std::nullopt, 0.0, o.causal,
                                          scale_of(o, q_BTHE.size(3)))
      .transpose(1, 2);
}

/// Null, or the reason why the kernels cannot be taken.
const char* why_not_own(const Tensor& q, const Tensor& k, const Tensor& v) {
  for (const Tensor* x : {&q, &k, &v}) {
    if (!x->is_cpu()) return "aten: device";
    if (x->scalar_type() != at::kFloat && x->scalar_type() != at::kBFloat16) return "aten: type of numbers";
  }
  return has_block_kernels() ? nullptr : "aten: no AVX-512";
}

Tensor side_by_side(const Tensor& x) { return x.stride(3) == 1 || x.size(3) == 1 ? x : x.contiguous(); }

Tensor whole_numbers(const Tensor& bound) { return bound.defined() ? bound.to(at::kLong).contiguous() : bound; }
const int64_t* numbers(const Tensor& bound) { return bound.defined() ? bound.const_data_ptr<int64_t>() : nullptr; }

/// A view of a float32 bias as [B, H, T, S], with strides of 0 where it is broadcast.
BiasView bias_view(const Tensor& bias, const Tensor& q, const Tensor& k) {
  if (!bias.defined()) return {};
  const Tensor whole = bias.expand({q.size(0), q.size(2), q.size(1), k.size(1)});
  BiasView view = BiasView::of(whole);
  for (int64_t dim = 0; dim < 4; ++dim)
    if (whole.size(dim) == 1) view.strides[dim] = 0;
  return view;
}

/// `o` as whole_numbers() left it, its bias float32.
AttentionProblem problem_of(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& o) {
  return {.B = q.size(0),
          .T = q.size(1),
          .S = k.size(1),
          .H = q.size(2),
          .G = k.size(2),
          .E = q.size(3),
          .q = HeadsView::of(q),
          .k = HeadsView::of(k),
          .v = HeadsView::of(v),
          .scale = static_cast<float>(scale_of(o, q.size(3))),
          .causal = o.causal,
          .window = o.window,
          .length_B = numbers(o.length_B),
          .first_BT = numbers(o.first_BT),
          .end_BT = numbers(o.end_BT),
          .bias = bias_view(o.bias, q, k)};
}

/// The node of the graph. Takes q, k, v with heads side by side; the bias is an input of its own for autograd's sake.
struct Attend : torch::autograd::Function<Attend> {
  static Tensor forward(AutogradContext* ctx, const Tensor& q, const Tensor& k, const Tensor& v,
                        const std::optional<Tensor>& bias, const AttentionOptions& options) {
    AttentionOptions o = options;
    if (bias) o.bias = *bias;
    const Tensor out = at::empty(q.sizes(), q.options());
    const Tensor lse_BHT = at::empty({q.size(0), q.size(2), q.size(1)}, q.options().dtype(at::kFloat));
    if (k.numel() == 0)
      out.zero_();
    else if (q.numel() > 0)
      attention_forward(problem_of(q, k, v, o), o.format, HeadsView::of(out), lse_BHT.mutable_data_ptr<float>());
    ctx->save_for_backward({q, k, v, o.bias, out, lse_BHT, o.length_B, o.first_BT, o.end_BT});
    ctx->saved_data["format"] = static_cast<int64_t>(o.format);
    ctx->saved_data["causal"] = o.causal;
    ctx->saved_data["window"] = o.window;
    ctx->saved_data["scale"] = o.scale;
    return out;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    const variable_list saved = ctx->get_saved_variables();
    const Tensor &q = saved[0], &k = saved[1], &v = saved[2], &bias = saved[3], &out = saved[4], &lse_BHT = saved[5];
    const AttentionOptions o{.format = static_cast<Format>(ctx->saved_data["format"].toInt()),
                             .causal = ctx->saved_data["causal"].toBool(),
                             .window = ctx->saved_data["window"].toInt(),
                             .length_B = saved[6],
                             .first_BT = saved[7],
                             .end_BT = saved[8],
                             .bias = bias,
                             .scale = ctx->saved_data["scale"].toDouble()};
    if (at::GradMode::is_enabled()) {
      took_path("attention backward", "aten: double backward");
      variable_list all = differentiable_gradients({q, k, v, bias}, gradients[0], [&o](const variable_list& x) {
        AttentionOptions options = o;
        options.bias = x[3];
        return composition(x[0], x[1], x[2], options);
      });
      all.emplace_back();
      return all;
    }
    took_path("attention backward", o.format == Format::bfloat16 ? "own: bfloat16" : "own: float32");
    // Of a bias that is broadcast, one number gathers the gradients of all places where it was added.
    const Tensor bias_gradient =
        bias.defined() && ctx->needs_input_grad(3) ? at::zeros(bias.sizes(), bias.options()) : Tensor();
    if (q.numel() == 0 || k.numel() == 0)
      return {at::zeros_like(q), at::zeros_like(k), at::zeros_like(v), bias_gradient, Tensor()};
    const auto fresh = [](const Tensor& x) { return at::empty(x.sizes(), x.options()); };
    const Tensor dq = fresh(q), dk = fresh(k), dv = fresh(v), gradient = side_by_side(gradients[0]);
    const AttentionProblem problem = problem_of(q, k, v, o);
    const AttentionGradients to{HeadsView::of(dq), HeadsView::of(dk), HeadsView::of(dv),
                                bias_view(bias_gradient, q, k)};
    attention_backward(problem, o.format, HeadsView::of(out), HeadsView::of(gradient), lse_BHT.const_data_ptr<float>(),
                       to);
    return {dq, dk, dv, bias_gradient, Tensor()};
  }
};

}  // namespace

Tensor attention_weights(const Tensor& q_BTHE, const Tensor& k_BSGE, const AttentionOptions& o) {
  const int64_t T = q_BTHE.size(1), S = k_BSGE.size(1), H = q_BTHE.size(2);
  const Tensor q_BHTE = q_BTHE.transpose(1, 2) * scale_of(o, q_BTHE.size(3));
  Tensor scores_BHTS = at::matmul(q_BHTE, for_query_heads(k_BSGE, H).transpose(2, 3));
  if (S == 0) return scores_BHTS;
  if (o.bias.defined()) scores_BHTS = scores_BHTS + o.bias.to(scores_BHTS.scalar_type());
  const double hidden = -std::numeric_limits<double>::infinity();
  const Tensor seen = seen_keys(o, T, S, q_BTHE.device());
  if (seen.defined()) scores_BHTS = scores_BHTS.masked_fill(seen.bitwise_not(), hidden);
  // Where nothing is seen, 0 stands for the largest score: exponentials are 0 then, and so is the sum.
  const Tensor largest_BHT1 = scores_BHTS.detach().amax(-1, /*keepdim=*/true);
  const Tensor weights_BHTS = (scores_BHTS - largest_BHT1.masked_fill(largest_BHT1.eq(hidden), 0)).exp();
  const Tensor sum_BHT1 = weights_BHTS.sum(-1, /*keepdim=*/true);
  return weights_BHTS / sum_BHT1.masked_fill(sum_BHT1.eq(0), 1);
}

Tensor fused_attention(const Tensor& q_BTHE, const Tensor& k_BSGE, const Tensor& v_BSGE,
                       const AttentionOptions& options) {
  check(q_BTHE, k_BSGE, v_BSGE, options);
  if (const char* reason = why_not_own(q_BTHE, k_BSGE, v_BSGE)) {
    took_path("attention", reason);
    return by_aten(q_BTHE, k_BSGE, v_BSGE, options);
  }
  took_path("attention", options.format == Format::bfloat16 ? "own: bfloat16" : "own: float32");
  AttentionOptions o = options;
  for (Tensor* bound : {&o.length_B, &o.first_BT, &o.end_BT}) *bound = whole_numbers(*bound);
  o.bias = Tensor();
  const auto bias = options.bias.defined() ? std::optional<Tensor>(options.bias.to(at::kFloat)) : std::nullopt;
  return Attend::apply(side_by_side(q_BTHE), side_by_side(k_BSGE), side_by_side(v_BSGE), bias, o);
}

}  // namespace etude
