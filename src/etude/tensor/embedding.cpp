// V rows of the table, D width, N ids.

#include "etude/tensor/simd.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "etude/tensor/embedding.cpp"
#include <hwy/foreach_target.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "etude/tensor/embedding.h"
#include "etude/tensor/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace etude::HWY_NAMESPACE {

/// `vectors` vectors' worth of columns at once, so that a row's lines are read together.
template <int vectors, class Counted>
HWY_INLINE void sum_columns(const Rows& from, const int64_t* places, int64_t count, int64_t column, float* to,
                            Counted lanes) {
  const auto step = static_cast<int64_t>(hn::Lanes(Lanes()));
  V sum[vectors];
  for (int i = 0; i < vectors; ++i) sum[i] = load_lanes(row<float>(from, places[0]) + column + i * step, lanes);
  for (int64_t p = 1; p < count; ++p) {
    const float* next = row<float>(from, places[p]) + column;
    for (int i = 0; i < vectors; ++i) sum[i] = sum[i] + load_lanes(next + i * step, lanes);
  }
  for (int i = 0; i < vectors; ++i) store_lanes(sum[i], to + i * step, lanes);
}

/// to = the sum of the rows `places` of `from`, columns first .. first + width - 1.
void sum_of_rows(const Rows& from, const int64_t* places, int64_t count, int64_t first, int64_t width, float* to) {
  if (count == 0) return std::fill(to, to + width, 0.0F);
  constexpr int kTogether = 4;
  const auto step = static_cast<int64_t>(hn::Lanes(Lanes()));
  int64_t i = 0;
  for (; i + kTogether * step <= width; i += kTogether * step)
    sum_columns<kTogether>(from, places, count, first + i, to + i, AllLanes());
  for_lanes(width - i,
            [&](int64_t j, auto lanes) { sum_columns<1>(from, places, count, first + i + j, to + i + j, lanes); });
}

}  // namespace etude::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include <ATen/Functions.h>
#include <ATen/Parallel.h>

#include "etude/base/error.h"
#include "etude/base/torch_pch.h"
#include "etude/tensor/paths.h"

namespace etude {
namespace {

HWY_EXPORT(sum_of_rows);

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// "[3, 17]" of a flat index.
std::string coordinates(int64_t flat, at::IntArrayRef sizes) {
  std::string text;
  for (size_t d = sizes.size(); d-- > 0;) {
    text = std::to_string(flat % sizes[d]) + (text.empty() ? "" : ", " + text);
    flat /= sizes[d];
  }
  return "[" + text + "]";
}

Tensor gather(const Tensor& weight_VD, const Tensor& ids_N) {
  const int64_t N = ids_N.numel(), D = weight_VD.size(1);
  std::vector<int64_t> shape = ids_N.sizes().vec();
  shape.push_back(D);
  Tensor out_ND = at::empty(shape, weight_VD.options());
  const Tensor ids = ids_N.contiguous();
  const int64_t* const id = ids.const_data_ptr<int64_t>();
  const float* const from = weight_VD.const_data_ptr<float>();
  float* const to = out_ND.mutable_data_ptr<float>();
  const int64_t stride = weight_VD.stride(0), grain = std::max<int64_t>(1, kNumbersPerThread / std::max<int64_t>(1, D));
  at::parallel_for(0, N, grain, [&](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n)
      std::memcpy(to + n * D, from + id[n] * stride, static_cast<size_t>(D) * sizeof(float));
  });
  return out_ND;
}

/// The places of each id, in order: those of v are places[first[v]] .. places[first[v + 1] - 1].
struct PlacesOfIds {
  std::vector<int64_t> first, places;

  PlacesOfIds(const int64_t* ids, int64_t count, int64_t rows)
      : first(static_cast<size_t>(rows) + 2), places(static_cast<size_t>(count)) {
    for (int64_t n = 0; n < count; ++n) ++first[static_cast<size_t>(ids[n]) + 2];
    for (size_t v = 2; v < first.size(); ++v) first[v] += first[v - 1];
    for (int64_t n = 0; n < count; ++n) places[static_cast<size_t>(first[static_cast<size_t>(ids[n]) + 1]++)] = n;
  }
};

/// Each row is written once: no zeros before, and no adding up in memory. Threads share the rows by what they cost, so
/// that each has pages of its own; and the columns where a single id is more than a thread's share of a text.
Tensor table_gradient(const Rows& gradient_ND, const int64_t* ids, int64_t V) {
  const int64_t N = gradient_ND.count, D = gradient_ND.width;
  Tensor table_VD = at::empty({V, D}, at::TensorOptions().dtype(at::kFloat));
  const PlacesOfIds of(ids, N, V);
  float* const table = table_VD.mutable_data_ptr<float>();

  constexpr int64_t kLeastColumns = 64;
  const int64_t worth = 1 + (N + V) * D / kNumbersPerThread;
  const int64_t threads = std::min<int64_t>(at::get_num_threads(), worth);
  int64_t most = 0;
  for (size_t v = 0; v < static_cast<size_t>(V); ++v) most = std::max(most, of.first[v + 1] - of.first[v]);
  const bool one_weighs = most * threads > N + V;
  const int64_t column_parts = one_weighs ? std::clamp<int64_t>(D / kLeastColumns, 1, threads) : 1;
  const int64_t columns = (D + column_parts - 1) / column_parts;
  const int64_t row_parts = (threads + column_parts - 1) / column_parts;
  // Rows before v cost v + their places; the first row of a part is where that reaches its share.
  const auto first_row = [&](int64_t part) {
    const int64_t share = part * (N + V) / row_parts;
    int64_t low = 0, high = V;
    while (low < high) {
      const int64_t v = (low + high) / 2;
      if (v + of.first[static_cast<size_t>(v)] < share)
        low = v + 1;
      else
        high = v;
    }
    return low;
  };
  at::parallel_for(0, row_parts * column_parts, 1, [&](int64_t first_task, int64_t last_task) {
    for (int64_t task = first_task; task < last_task; ++task) {
      const int64_t column = task % column_parts * columns, width = std::min(columns, D - column);
      const int64_t part = task / column_parts, last_row = part + 1 == row_parts ? V : first_row(part + 1);
      for (int64_t v = first_row(part); width > 0 && v < last_row; ++v) {
        const int64_t begin = of.first[static_cast<size_t>(v)], end = of.first[static_cast<size_t>(v) + 1];
        HWY_DYNAMIC_DISPATCH(sum_of_rows)
        (gradient_ND, of.places.data() + begin, end - begin, column, width, table + v * D + column);
      }
    }
  });
  return table_VD;
}

struct Embed : torch::autograd::Function<Embed> {
  static Tensor forward(AutogradContext* ctx, const Tensor& weight_VD, const Tensor& ids_N) {
    ctx->save_for_backward({ids_N});
    ctx->saved_data["rows"] = weight_VD.size(0);
    return gather(weight_VD, ids_N);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    const Tensor ids_N = ctx->get_saved_variables()[0];
    const int64_t V = ctx->saved_data["rows"].toInt();
    const Tensor& g_ND = gradients.at(0);
    if (at::GradMode::is_enabled()) {
      took_path("embedding backward", "aten: double backward");
      return {at::embedding_dense_backward(g_ND, ids_N, V, /*padding_idx=*/-1, /*scale_grad_by_freq=*/false), Tensor()};
    }
    took_path("embedding backward", "own: float32");
    const Tensor rows_ND = with_rows(g_ND), ids = ids_N.contiguous();
    return {table_gradient(rows_of(rows_ND), ids.const_data_ptr<int64_t>(), V), Tensor()};
  }
};

}  // namespace

void require_below(const Tensor& values, int64_t limit, std::string_view tensor, const std::string& hint,
                   std::optional<int64_t> except) {
  ETUDE_CHECK(values.scalar_type() == at::kLong, std::string(tensor) + " must be int64");
  if (values.numel() == 0 || values.is_meta()) return;
  if (!values.is_cpu()) {
    Tensor outside = values.lt(0).logical_or_(values.ge(limit));
    if (except) outside = outside.logical_and_(values.ne(*except));
    if (!outside.any().item<bool>()) return;
  }
  const Tensor host = values.cpu().contiguous();
  const int64_t* const value = host.const_data_ptr<int64_t>();
  const int64_t count = host.numel(), allowed = except.value_or(0);
  const auto outside = [=](int64_t v) {
    return (static_cast<uint64_t>(v) >= static_cast<uint64_t>(limit)) & (!except || v != allowed);
  };
  // Without a way out of the loop it is done by vectors.
  bool any = false;
  for (int64_t n = 0; n < count; ++n) any |= outside(value[n]);
  if (!any) return;
  const int64_t* const bad = std::find_if(value, value + count, outside);
  throw Error(Code::data,
              std::string(tensor) + " holds " + std::to_string(*bad) + ", outside 0 to " + std::to_string(limit - 1),
              std::string(tensor) + coordinates(bad - value, host.sizes()), hint);
}

Tensor embed_ids(const Tensor& weight_VD, const Tensor& ids_N) {
  ETUDE_CHECK(weight_VD.dim() == 2, "a table has two dimensions");
  const char* why = why_not_rows({weight_VD});
  if (!why && !ids_N.is_cpu()) why = "aten: device";
  if (!why && weight_VD.scalar_type() != at::kFloat) why = "aten: type";
  if (!why && (weight_VD.stride(1) != 1 || weight_VD.size(1) == 0)) why = "aten: strides";
  took_path("embedding", why ? why : "own: float32");
  // LibTorch's C++ has at::embedding for every device but `meta`.
  if (weight_VD.is_meta()) return at::index(weight_VD, {ids_N});
  return why ? at::embedding(weight_VD, ids_N) : Embed::apply(weight_VD, ids_N);
}

}  // namespace etude
#endif
