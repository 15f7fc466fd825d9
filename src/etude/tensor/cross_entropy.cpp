// N tokens, D width, V vocabulary.

#include "etude/tensor/cross_entropy.h"

#include <utility>

#include "etude/base/error.h"
#include "etude/base/torch_pch.h"
#include "etude/tensor/cross_entropy_blocks.h"
#include "etude/tensor/embedding.h"
#include "etude/tensor/paths.h"
#include "etude/tensor/rows.h"
#include "etude/tensor/twice.h"

namespace etude {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// By ATen's operators, with all logits. Float64 stays what it is.
Tensor composed(const Tensor& x_ND, const Tensor& weight_VD, const Tensor& bias_V, const Tensor& labels_N,
                const Tensor& token_weight_N, const CrossEntropyOptions& options) {
  const bool narrow = options.format == Format::bfloat16 && x_ND.scalar_type() != at::kDouble;
  const auto operands = narrow ? at::kBFloat16 : weight_VD.scalar_type();
  const auto sums = operands == at::kDouble ? at::kDouble : at::kFloat;
  Tensor logits_NV = at::linear(x_ND.to(operands), weight_VD.to(operands)).to(sums);
  if (bias_V.defined()) logits_NV = logits_NV + bias_V;
  const Tensor item_N =
      at::cross_entropy_loss(logits_NV, labels_N, {}, at::Reduction::None, options.ignored, options.smoothing);
  return token_weight_N.defined() ? item_N * token_weight_N : item_N;
}

/// What autograd keeps of a head: its gradients for an upstream gradient of one. The first backward takes them.
struct KeptHead : torch::CustomClassHolder {
  CrossEntropyOptions options;
  HeadLosses losses;
};

/// Places of the tokens that count; undefined if all do.
Tensor places_that_count(const Tensor& labels_N, int64_t ignored) {
  const int64_t* const label = labels_N.const_data_ptr<int64_t>();
  if (std::find(label, label + labels_N.numel(), ignored) == label + labels_N.numel()) return {};
  return labels_N.ne(ignored).nonzero().squeeze(1);
}

/// head_losses() of the tokens that count; zeros at the others.
HeadLosses losses_of(const Head& head, int64_t ignored, const HeadWants& wants) {
  const Tensor places = places_that_count(head.labels_N, ignored);
  if (!places.defined()) return head_losses(head, wants);
  Head counted = head;
  counted.x_ND = head.x_ND.index_select(0, places);
  counted.labels_N = head.labels_N.index_select(0, places);
  if (head.token_weight_N.defined()) counted.token_weight_N = head.token_weight_N.index_select(0, places);
  HeadLosses losses = head_losses(counted, wants);
  const auto spread = [&](const Tensor& part, const Tensor& like) {
    return at::zeros(like.sizes(), part.options()).index_copy_(0, places, part);
  };
  losses.item_N = spread(losses.item_N, head.labels_N);
  if (losses.x_ND.defined()) losses.x_ND = spread(losses.x_ND, head.x_ND);
  return losses;
}

/// The number that all tokens that count have in common, if they do.
std::optional<float> common_value(const Tensor& g_N, const Tensor& labels_N, int64_t ignored) {
  const float* const g = g_N.const_data_ptr<float>();
  const int64_t* const label = labels_N.const_data_ptr<int64_t>();
  std::optional<float> common;
  for (int64_t n = 0; n < g_N.numel(); ++n) {
    if (label[n] == ignored || common == g[n]) continue;
    if (common) return std::nullopt;
    common = g[n];
  }
  return common.value_or(0.0F);
}

struct FusedHead : torch::autograd::Function<FusedHead> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x_ND, const Tensor& weight_VD,
                        const std::optional<Tensor>& bias_V, const Head& head, const CrossEntropyOptions& options,
                        const HeadWants& wants) {
    (void)x_ND, (void)weight_VD, (void)bias_V;  // of `head`: named for autograd
    auto kept = c10::make_intrusive<KeptHead>();
    kept->options = {.format = options.format, .smoothing = options.smoothing, .ignored = options.ignored};
    kept->losses = losses_of(head, options.ignored, wants);
    ctx->save_for_backward({head.x_ND, head.weight_VD, head.bias_V, head.labels_N, head.token_weight_N});
    const Tensor item_N = std::exchange(kept->losses.item_N, Tensor());
    ctx->saved_data["head"] = at::IValue::make_capsule(std::move(kept));
    return item_N;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    const variable_list saved = ctx->get_saved_variables();
    const Tensor &x_ND = saved[0], &weight_VD = saved[1], &bias_V = saved[2], &labels_N = saved[3],
                 &token_weight_N = saved[4];
    const auto kept = at::static_intrusive_pointer_cast<KeptHead>(ctx->saved_data["head"].toCapsule());
    const CrossEntropyOptions& options = kept->options;
    if (at::GradMode::is_enabled()) {
      took_path("cross_entropy backward", "aten: double backward");
      variable_list all = differentiable_gradients(
          {x_ND, weight_VD, bias_V}, gradients.at(0),
          [&](const variable_list& in) { return composed(in[0], in[1], in[2], labels_N, token_weight_N, options); });
      all.resize(6);
      return all;
    }
    const Tensor g_N = gradients.at(0).contiguous();
    const std::optional<float> g = common_value(g_N, labels_N, options.ignored);
    const bool needs_x = ctx->needs_input_grad(0), needs_weight = ctx->needs_input_grad(1),
               needs_bias = bias_V.defined() && ctx->needs_input_grad(2);
    HeadLosses own = std::exchange(kept->losses, {});
    // Of x any upstream gradient is a factor of its row, of the others a common one.
    const HeadWants anew{.x = needs_x && !own.x_ND.defined(),
                         .weight = needs_weight && !(g && own.weight_VD.defined()),
                         .bias = needs_bias && !(g && own.bias_V.defined())};
    HeadLosses again;
    if (anew.any()) {
      const Tensor weight_N = token_weight_N.defined() ? token_weight_N * g_N : g_N;
      again = losses_of({x_ND, weight_VD, bias_V, labels_N, weight_N, options.smoothing, options.format},
                        options.ignored, anew);
    }
    took_path("cross_entropy backward", anew.any() ? "own: computed anew" : "own: scaled");
    if (own.x_ND.defined()) g ? own.x_ND.mul_(*g) : own.x_ND.mul_(g_N.unsqueeze(1));
    for (Tensor* common : {&own.weight_VD, &own.bias_V})
      if (g && common->defined()) common->mul_(*g);
    const auto given = [](bool needed, bool anew_one, const Tensor& first, const Tensor& second) {
      return needed ? (anew_one ? second : first) : Tensor();
    };
    return {given(needs_x, anew.x, own.x_ND, again.x_ND),
            given(needs_weight, anew.weight, own.weight_VD, again.weight_VD),
            given(needs_bias, anew.bias, own.bias_V, again.bias_V),
            Tensor(),
            Tensor(),
            Tensor()};
  }
};

/// Why the own way can't be gone.
const char* why_composed(const Tensor& x_ND, const Tensor& weight_VD, const CrossEntropyOptions& options) {
  if (const char* why = why_not_rows({x_ND, weight_VD, options.bias_V, options.weight_N})) return why;
  for (const Tensor& t : {weight_VD, options.bias_V, options.weight_N})
    if (t.defined() && t.scalar_type() != at::kFloat) return "aten: type";
  return weight_VD.numel() == 0 ? "aten: empty" : nullptr;
}

}  // namespace

Tensor linear_cross_entropy(const Tensor& x_ND, const Tensor& weight_VD, const Tensor& labels_N,
                            const CrossEntropyOptions& options) {
  const int64_t V = weight_VD.size(0), D = weight_VD.size(1);
  ETUDE_CHECK(x_ND.dim() >= 1 && x_ND.size(-1) == D && x_ND.sizes().slice(0, x_ND.dim() - 1) == labels_N.sizes(),
              "x is as wide as the weight, and each token has a label");
  ETUDE_CHECK(options.smoothing >= 0 && options.smoothing < 1, "smoothing is in [0, 1)");
  ETUDE_CHECK(!options.bias_V.defined() || options.bias_V.sizes() == at::IntArrayRef{V}, "one bias for each class");
  ETUDE_CHECK(!options.weight_N.defined() ||
                  (options.weight_N.sizes() == labels_N.sizes() && !options.weight_N.requires_grad()),
              "one constant weight for each token");
  require_below(labels_N, V, "labels",
                "the vocabulary of the net (" + std::to_string(V) +
                    ") must hold all labels: set the net's vocab to the tokenizer's",
                options.ignored);
  const Tensor rows_ND = x_ND.reshape({-1, D}), labels = labels_N.reshape({-1});
  const Tensor token_weight_N = options.weight_N.defined() ? options.weight_N.reshape({-1}) : Tensor();
  if (const char* why = why_composed(rows_ND, weight_VD, options)) {
    took_path("cross_entropy", why);
    return composed(rows_ND, weight_VD, options.bias_V, labels, token_weight_N, options).view(labels_N.sizes());
  }
  took_path("cross_entropy",
            options.format == Format::bfloat16 && has_block_kernels() ? "own: bfloat16" : "own: float32");
  const auto contiguous = [](const Tensor& t) { return t.defined() ? t.contiguous() : t; };
  const auto wanted = [](const Tensor& t) { return t.defined() && t.requires_grad() && at::GradMode::is_enabled(); };
  const HeadWants wants{.x = wanted(x_ND), .weight = wanted(weight_VD), .bias = wanted(options.bias_V)};
  const Head head{contiguous(rows_ND), contiguous(weight_VD),      contiguous(options.bias_V),
                  contiguous(labels),  contiguous(token_weight_N), options.smoothing,
                  options.format};
  const auto bias_V = head.bias_V.defined() ? std::optional(head.bias_V) : std::nullopt;
  const Tensor item_N = FusedHead::apply(head.x_ND, head.weight_VD, bias_V, head, options, wants);
  return item_N.view(labels_N.sizes());
}

}  // namespace etude
