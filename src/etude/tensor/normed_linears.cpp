// N any leading dimensions, I inputs, O outputs; J the outputs of all layers together.

#include "etude/base/torch_pch.h"

#include <algorithm>

#include "etude/base/error.h"
#include "etude/tensor/linear.h"
#include "etude/tensor/linear_blocks.h"
#include "etude/tensor/paths.h"
#include "etude/tensor/product.h"
#include "etude/tensor/twice.h"

namespace etude {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// A matrix, and what holds its memory.
struct Operand {
  Tensor held;
  MatrixView view;
};

Operand operand_of(const Tensor& x) {
  const Tensor held = with_rows(x);
  return {held, view_of(rows_of(held))};
}

/// The weights below each other.
Operand joined(const variable_list& weights_OI, Format format) {
  if (weights_OI.size() == 1) return {weights_OI[0], MatrixView::of(weights_OI[0])};
  const Tensor all_JI = below_each_other(weights_OI, storage_of(format));
  return {all_JI, MatrixView::of(all_JI)};
}

/// Whether these are columns of one matrix, beside each other.
bool are_neighbours(const variable_list& parts) {
  const Tensor& first = parts[0];
  int64_t col = 0;
  for (const Tensor& part : parts) {
    if (!part.defined() || part.scalar_type() != first.scalar_type() || part.strides() != first.strides() ||
        !part.is_alias_of(first) || part.storage_offset() != first.storage_offset() + col)
      return false;
    col += part.size(-1);
  }
  return with_rows(first).is_same(first) && rows_of(first).stride >= col;
}

/// Gradients of the outputs beside each other.
Operand beside(const variable_list& gradients, const std::vector<int64_t>& outputs, int64_t rows, Format format) {
  if (gradients.size() == 1) return operand_of(gradients[0]);
  if (gradients[0].defined() && are_neighbours(gradients)) {
    Operand all{gradients[0], view_of(rows_of(gradients[0]))};
    all.view.cols = 0;
    for (const int64_t count : outputs) all.view.cols += count;
    return all;
  }
  const Tensor all_NJ = beside_each_other(gradients, outputs, rows, storage_of(format));
  return {all_NJ, MatrixView::of(all_NJ)};
}

/// f(i, first, count, place) for the parts of first .. first+count-1 that lie in one output, `place` in it.
template <class F>
void for_parts(const std::vector<int64_t>& outputs, int64_t first, int64_t count, const F& f) {
  int64_t begin = 0;
  for (size_t i = 0; i < outputs.size(); begin += outputs[i++]) {
    const int64_t from = std::max(first, begin), to = std::min(first + count, begin + outputs[i]);
    if (from < to) f(i, from, to - from, from - begin);
  }
}

struct Settings {
  std::optional<NormOf> norm;
  Format format;
};

struct NormedLinears : torch::autograd::Function<NormedLinears> {
  static variable_list forward(AutogradContext* ctx, const Tensor& x_NI, const at::TensorList& norm_parameters,
                               const at::TensorList& weights_OI, const at::TensorList& biases_O,
                               const Settings& settings) {
    const at::ScalarType storage = storage_of(settings.format);
    Normed normed{x_NI, {}};
    if (settings.norm) normed = norm_forward(*settings.norm, x_NI, storage);
    const Operand read = operand_of(normed.y), w_JI = joined(weights_OI.vec(), settings.format);

    std::vector<int64_t> outputs, sizes = x_NI.sizes().vec();
    variable_list results, biases;
    std::vector<Rows> to;
    for (const Tensor& weight : weights_OI) {
      outputs.push_back(sizes.back() = weight.size(0));
      results.push_back(at::empty(sizes, x_NI.options().dtype(storage)));
      to.push_back(rows_of(results.back()));
    }
    for (const Tensor& bias : biases_O) biases.push_back(bias.contiguous());
    multiply(read.view, w_JI.view.t(), settings.format, [&](const ProductBlock& block) {
      for_parts(outputs, block.col, block.cols, [&](size_t i, int64_t first, int64_t count, int64_t place) {
        const ProductBlock part{block.row, place, block.rows, count, block.data + (first - block.col), block.stride};
        const float* const bias = biases.empty() ? nullptr : biases[i].const_data_ptr<float>() + place;
        store_block(part, bias, {}, part_at(to[i], part));
      });
    });

    variable_list saved{x_NI, normed.statistics_N2};
    for (const auto& list : {norm_parameters, weights_OI, biases_O})
      saved.insert(saved.end(), list.begin(), list.end());
    ctx->save_for_backward(std::move(saved));
    ctx->saved_data["counts"] =
        std::vector<int64_t>{static_cast<int64_t>(norm_parameters.size()), static_cast<int64_t>(weights_OI.size()),
                             static_cast<int64_t>(biases_O.size()), static_cast<int64_t>(settings.format),
                             settings.norm ? static_cast<int64_t>(settings.norm->kind) : 0};
    ctx->saved_data["eps"] = settings.norm ? settings.norm->eps : 0;
    ctx->set_materialize_grads(false);
    results.push_back(x_NI);
    return results;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& gradients);
};

/// What forward kept.
struct Kept {
  Tensor x_NI, statistics_N2;
  variable_list norm_parameters, weights, biases;
  std::optional<NormOf> norm;
  Format format;

  explicit Kept(AutogradContext& ctx) {
    const variable_list saved = ctx.get_saved_variables();
    const std::vector<int64_t> counts = ctx.saved_data["counts"].toIntVector();
    auto next = saved.begin();
    x_NI = *next++;
    statistics_N2 = *next++;
    for (auto* list : {&norm_parameters, &weights, &biases}) {
      const auto end = next + counts.at(static_cast<size_t>(list == &norm_parameters ? 0 : list == &weights ? 1 : 2));
      list->assign(next, end);
      next = end;
    }
    format = static_cast<Format>(counts.at(3));
    if (!norm_parameters.empty())
      norm = NormOf{static_cast<NormOf::Kind>(counts.at(4)), norm_parameters[0],
                    norm_parameters.size() > 1 ? norm_parameters[1] : Tensor(), ctx.saved_data["eps"].toDouble()};
  }
};

/// The outputs, composed of operators that are differentiable any number of times.
variable_list composed(const std::optional<NormOf>& of, const Tensor& x_NI, const variable_list& weights,
                       const variable_list& biases, Format format) {
  const Tensor read = of ? norm(*of, x_NI, x_NI.scalar_type()) : x_NI;
  variable_list results;
  for (size_t i = 0; i < weights.size(); ++i)
    results.push_back(
        fused_linear(read, weights[i], {.format = format, .bias_O = biases.empty() ? Tensor() : biases[i]}));
  return results;
}

/// Gradients that can be differentiated once more, in the order of the inputs.
variable_list twice(const Kept& kept, const variable_list& gradients) {
  variable_list inputs{kept.x_NI};
  for (const auto* list : {&kept.norm_parameters, &kept.weights, &kept.biases})
    inputs.insert(inputs.end(), list->begin(), list->end());
  return differentiable_gradients(inputs, at::ones({}), [&](const variable_list& in) {
    const auto after_norm = in.begin() + 1 + static_cast<std::ptrdiff_t>(kept.norm_parameters.size());
    const auto after_weights = after_norm + static_cast<std::ptrdiff_t>(kept.weights.size());
    std::optional<NormOf> of = kept.norm;
    if (of) of->weight_D = in[1];
    if (of && kept.norm_parameters.size() > 1) of->bias_D = in[2];
    const variable_list y = composed(of, in[0], {after_norm, after_weights}, {after_weights, in.end()}, kept.format);
    // A sum whose gradients are those wanted.
    Tensor sum = in[0].sum() * 0;
    for (size_t i = 0; i < y.size(); ++i)
      if (gradients[i].defined()) sum = sum + (y[i] * gradients[i]).to(at::kFloat).sum();
    if (gradients.back().defined()) sum = sum + (in[0] * gradients.back()).sum();
    return sum;
  });
}

variable_list NormedLinears::backward(AutogradContext* ctx, const variable_list& gradients) {
  const Kept kept(*ctx);
  const size_t norm_at = 1, weights_at = norm_at + kept.norm_parameters.size(),
               biases_at = weights_at + kept.weights.size();
  variable_list all(biases_at + kept.biases.size() + 1);
  if (at::GradMode::is_enabled()) {
    took_path("normed linears backward", "aten: double backward");
    variable_list found = twice(kept, gradients);
    std::move(found.begin(), found.end(), all.begin());
    return all;
  }
  const Tensor& past = gradients.back();
  const variable_list of_outputs(gradients.begin(), gradients.end() - 1);
  if (std::none_of(of_outputs.begin(), of_outputs.end(), [](const Tensor& g) { return g.defined(); })) {
    all[0] = past;
    return all;
  }
  took_path("normed linears backward", kept.format == Format::bfloat16 ? "own: bfloat16" : "own: float32");
  const auto wanted = [&](size_t first, size_t last) {
    for (size_t i = first; i < last; ++i)
      if (ctx->needs_input_grad(i)) return true;
    return false;
  };
  const bool want_x = wanted(0, 1), want_norm = wanted(norm_at, weights_at);
  std::vector<int64_t> outputs;
  for (const Tensor& weight : kept.weights) outputs.push_back(weight.size(0));
  const int64_t I = kept.x_NI.size(-1), rows = kept.x_NI.numel() / I;
  const Operand g_NJ = beside(of_outputs, outputs, rows, kept.format);
  const at::ScalarType storage = storage_of(kept.format);

  if (wanted(weights_at, biases_at)) {
    const Operand read =
        operand_of(kept.norm ? norm_again(*kept.norm, kept.x_NI, kept.statistics_N2, storage) : kept.x_NI);
    std::vector<Rows> to;
    for (size_t i = 0; i < outputs.size(); ++i) {
      all[weights_at + i] = at::empty(kept.weights[i].sizes(), kept.weights[i].options());
      to.push_back(rows_of(all[weights_at + i]));
    }
    multiply(g_NJ.view.t(), read.view, kept.format, [&](const ProductBlock& block) {
      for_parts(outputs, block.row, block.rows, [&](size_t i, int64_t first, int64_t count, int64_t place) {
        const ProductBlock part{
            place, block.col, count, block.cols, block.data + (first - block.row) * block.stride, block.stride};
        store_block(part, nullptr, {}, part_at(to[i], part));
      });
    });
  }
  if (wanted(biases_at, biases_at + kept.biases.size())) {
    const variable_list sums = column_sums(g_NJ.view).split_with_sizes(outputs);
    std::copy(sums.begin(), sums.end(), all.begin() + static_cast<std::ptrdiff_t>(biases_at));
  }
  if (!want_x && !want_norm) return all;

  const Operand w_JI = joined(kept.weights, kept.format);
  if (!kept.norm) {
    all[0] = at::empty(kept.x_NI.sizes(), kept.x_NI.options());
    const Tensor added = past.defined() ? with_rows(past) : past;
    const Rows to = rows_of(all[0]), residual = added.defined() ? rows_of(added) : Rows{};
    multiply(g_NJ.view, w_JI.view, kept.format, [&](const ProductBlock& block) {
      store_block(block, nullptr, part_at(residual, block), part_at(to, block));
    });
    return all;
  }
  const Tensor y_NI = product(g_NJ.view, w_JI.view, kept.format, storage).view(kept.x_NI.sizes());
  const NormGradients found =
      norm_backward(*kept.norm, y_NI, kept.x_NI, kept.statistics_N2, want_x, want_norm, want_x ? past : Tensor());
  all[0] = found.x;
  if (want_norm) all[norm_at] = found.weight_D;
  if (want_norm && kept.norm_parameters.size() > 1) all[norm_at + 1] = found.bias_D;
  return all;
}

}  // namespace

SharedLinears normed_linears(const std::optional<NormOf>& norm, const Tensor& x_NI,
                             const std::vector<Tensor>& weights_OI, const std::vector<Tensor>& biases_O,
                             Format format) {
  ETUDE_CHECK(!weights_OI.empty() && (biases_O.empty() || biases_O.size() == weights_OI.size()),
              "biases for all weights or for none");
  variable_list parameters;
  if (norm) parameters.push_back(norm->weight_D);
  if (norm && norm->bias_D.defined()) parameters.push_back(norm->bias_D);
  const char* why_not = why_not_rows({x_NI});
  for (const at::TensorList list : {at::TensorList(parameters), at::TensorList(weights_OI), at::TensorList(biases_O)})
    for (const Tensor& t : list) {
      if (!why_not) why_not = why_not_rows({t});
      if (!why_not && t.scalar_type() != at::kFloat) why_not = "aten: type";
      if (!why_not && t.numel() == 0) why_not = "aten: empty";
    }
  if (!why_not && x_NI.numel() == 0) why_not = "aten: empty";
  took_path("normed linears", why_not ? why_not : format == Format::bfloat16 ? "own: bfloat16" : "own: float32");
  if (why_not) return {composed(norm, x_NI, weights_OI, biases_O, format), x_NI};
  for (const Tensor& weight : weights_OI)
    ETUDE_CHECK(weight.dim() == 2 && weight.size(1) == x_NI.size(-1), "the input is as wide as the weights");
  const at::TensorList of_norm(parameters), weights(weights_OI), biases(biases_O);
  const Settings settings{norm, format};
  variable_list y = NormedLinears::apply(x_NI, of_norm, weights, biases, settings);
  SharedLinears all{std::move(y), {}};
  all.x_NI = all.y.back();
  all.y.pop_back();
  return all;
}

}  // namespace etude
