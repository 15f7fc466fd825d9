#include "etude/tensor/optimizer_kernels.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "etude/base/error.h"
#include "etude/tensor/processor.h"
#include "etude/tensor/simd.h"

#ifndef ETUDE_TENSOR_OPTIMIZER_KERNELS_SEGMENTS_
#define ETUDE_TENSOR_OPTIMIZER_KERNELS_SEGMENTS_
namespace etude {

/// A piece of a parameter: `count` elements from each address.
struct Segment {
  float* value;
  const void* gradient;
  bool narrow;  ///< the gradient is bfloat16
  float *first, *second;
  size_t count;
};

/// What Adam's update of a tensor multiplies by, with its bias corrections.
struct AdamFactors {
  float gradient_scale, l2, keep, beta1, rest1, beta2, rest2, step_size, root_correction, eps;
};

struct SgdFactors {
  float gradient_scale, l2, momentum, lr;
  bool moves, nesterov;
};

}  // namespace etude
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "etude/tensor/optimizer_kernels.cpp"
#include <hwy/foreach_target.h>

#include "etude/tensor/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace etude::HWY_NAMESPACE {

/// Calls `update(i, load, store)` for vectors of the segment from element i on, the last one with what is left.
template <class Update>
HWY_INLINE void by_vectors(size_t count, const Update& update) {
  const size_t lanes = hn::Lanes(Lanes());
  size_t i = 0;
  for (; i + lanes <= count; i += lanes)
    update(
        i, [](const auto* from) HWY_ATTR { return load(from); }, [](V v, auto* to) HWY_ATTR { store(v, to); });
  if (const size_t left = count - i; left > 0)
    update(
        i, [left](const auto* from) HWY_ATTR { return load_some(from, left); },
        [left](V v, auto* to) HWY_ATTR { store_some(v, to, left); });
}

template <class Gradient>
HWY_INLINE void adam(const AdamFactors& f, const Segment& s) {
  const Lanes d;
  const auto* const gradient = static_cast<const Gradient*>(s.gradient);
  const V scale = hn::Set(d, f.gradient_scale), l2 = hn::Set(d, f.l2), keep = hn::Set(d, f.keep);
  const V beta1 = hn::Set(d, f.beta1), rest1 = hn::Set(d, f.rest1);
  const V beta2 = hn::Set(d, f.beta2), rest2 = hn::Set(d, f.rest2);
  const V step_size = hn::Set(d, f.step_size), correction = hn::Set(d, f.root_correction), eps = hn::Set(d, f.eps);
  by_vectors(s.count, [&](size_t i, const auto& read, const auto& write) HWY_ATTR {
    const V theta = read(s.value + i);
    V g = hn::Mul(read(gradient + i), scale);
    if (f.l2 != 0) g = hn::MulAdd(l2, theta, g);
    const V m = hn::MulAdd(beta1, read(s.first + i), hn::Mul(rest1, g));
    const V v = hn::MulAdd(beta2, read(s.second + i), hn::Mul(rest2, hn::Mul(g, g)));
    const V root = hn::MulAdd(hn::Sqrt(v), correction, eps);
    write(m, s.first + i);
    write(v, s.second + i);
    write(hn::NegMulAdd(step_size, hn::Div(m, root), hn::Mul(theta, keep)), s.value + i);
  });
}

template <class Gradient>
HWY_INLINE void sgd(const SgdFactors& f, const Segment& s) {
  const Lanes d;
  const auto* const gradient = static_cast<const Gradient*>(s.gradient);
  const V scale = hn::Set(d, f.gradient_scale), l2 = hn::Set(d, f.l2);
  const V mu = hn::Set(d, f.momentum), lr = hn::Set(d, f.lr);
  by_vectors(s.count, [&](size_t i, const auto& read, const auto& write) HWY_ATTR {
    const V theta = read(s.value + i);
    V g = hn::Mul(read(gradient + i), scale);
    if (f.l2 != 0) g = hn::MulAdd(l2, theta, g);
    if (f.moves) {
      const V b = hn::MulAdd(mu, read(s.first + i), g);
      write(b, s.first + i);
      g = f.nesterov ? hn::MulAdd(mu, b, g) : b;
    }
    write(hn::NegMulAdd(lr, g, theta), s.value + i);
  });
}

void adam_segment(const AdamFactors& f, const Segment& s) { s.narrow ? adam<c10::BFloat16>(f, s) : adam<float>(f, s); }
void sgd_segment(const SgdFactors& f, const Segment& s) { s.narrow ? sgd<c10::BFloat16>(f, s) : sgd<float>(f, s); }

using Wide = hn::ScalableTag<double>;
HWY_INLINE hn::Vec<Wide> widened(const float* from) {
  return hn::PromoteTo(Wide(), hn::LoadU(hn::Rebind<float, Wide>(), from));
}
HWY_INLINE hn::Vec<Wide> widened(const c10::BFloat16* from) {
  const hn::Rebind<uint32_t, Wide> bits;
  const auto halves = hn::LoadU(hn::Rebind<uint16_t, Wide>(), reinterpret_cast<const uint16_t*>(from));
  const auto floats = hn::ShiftLeft<16>(hn::PromoteTo(bits, halves));
  return hn::PromoteTo(Wide(), hn::BitCast(hn::Rebind<float, Wide>(), floats));
}

template <class T>
HWY_INLINE double squares_of(const T* x, size_t count) {
  const Wide d;
  const size_t lanes = hn::Lanes(d);
  auto a = hn::Zero(d), b = hn::Zero(d), c = hn::Zero(d), e = hn::Zero(d);  // hide an addition's latency
  size_t i = 0;
  for (; i + 4 * lanes <= count; i += 4 * lanes) {
    const auto x0 = widened(x + i), x1 = widened(x + i + lanes);
    const auto x2 = widened(x + i + 2 * lanes), x3 = widened(x + i + 3 * lanes);
    a = hn::MulAdd(x0, x0, a);
    b = hn::MulAdd(x1, x1, b);
    c = hn::MulAdd(x2, x2, c);
    e = hn::MulAdd(x3, x3, e);
  }
  double sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(a, b), hn::Add(c, e))));
  for (; i < count; ++i) {
    const auto one = static_cast<double>(static_cast<float>(x[i]));
    sum += one * one;
  }
  return sum;
}

double squares_segment(const void* x, bool narrow, size_t count) {
  return narrow ? squares_of(static_cast<const c10::BFloat16*>(x), count)
                : squares_of(static_cast<const float*>(x), count);
}

}  // namespace etude::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace etude {

HWY_EXPORT(adam_segment);
HWY_EXPORT(sgd_segment);
HWY_EXPORT(squares_segment);

namespace {

constexpr int64_t kBlock = 4096;  ///< elements of the long row that stay with one thread
constexpr int64_t kGrain = 64;    ///< blocks that are worth a thread: some 100 us of an update

bool is_float(const at::Tensor& x) { return x.scalar_type() == at::kFloat; }
bool is_narrow(const at::Tensor& x) { return x.scalar_type() == at::kBFloat16; }
bool is_dense(const at::Tensor& x) {
  return x.device().is_cpu() && x.layout() == at::kStrided && x.is_non_overlapping_and_dense();
}

/// Where each tensor begins in the long row, and where the last one ends.
std::vector<int64_t> offsets_of(at::TensorList tensors) {
  std::vector<int64_t> offsets{0};
  for (const at::Tensor& t : tensors) offsets.push_back(offsets.back() + t.numel());
  return offsets;
}

/// Calls visit(tensor, first element in it, count) for the pieces of begin .. end-1 of the long row.
template <class Visit>
void walk(const std::vector<int64_t>& offsets, int64_t begin, int64_t end, const Visit& visit) {
  auto next = std::upper_bound(offsets.begin(), offsets.end(), begin);
  for (int64_t at = begin; at < end; ++next) {
    const int64_t stop = std::min(*next, end);
    if (stop == at) continue;  // an empty tensor
    visit(static_cast<size_t>(next - offsets.begin()) - 1, at - *(next - 1), stop - at);
    at = stop;
  }
}

/// Calls visit() for all pieces of the row, on as many threads as it is worth.
template <class Visit>
void walk_in_parallel(at::TensorList tensors, const Visit& visit) {
  const std::vector<int64_t> offsets = offsets_of(tensors);
  const int64_t all = offsets.back(), blocks = (all + kBlock - 1) / kBlock;
  at::parallel_for(0, blocks, kGrain, [&](int64_t first, int64_t last) {
    walk(offsets, first * kBlock, std::min(last * kBlock, all), visit);
  });
}

float* from(const at::Tensor& x, int64_t i) { return x.mutable_data_ptr<float>() + i; }

Segment segment(const at::Tensor& value, const at::Tensor& gradient, int64_t i, int64_t count) {
  const bool narrow = is_narrow(gradient);
  const auto* bytes = static_cast<const char*>(gradient.const_data_ptr());
  return {from(value, i), bytes + i * gradient.element_size(), narrow, nullptr, nullptr, static_cast<size_t>(count)};
}

}  // namespace

bool has_update_pass(at::TensorList value, at::TensorList gradient, const std::vector<at::TensorList>& states) {
  if (isa() == Isa::aten) return false;
  for (size_t i = 0; i < value.size(); ++i) {
    const auto fits = [&](const at::Tensor& x) { return is_dense(x) && x.strides() == value[i].strides(); };
    if (!is_float(value[i]) || !fits(value[i])) return false;
    if (!(is_float(gradient[i]) || is_narrow(gradient[i])) || !fits(gradient[i])) return false;
    for (const at::TensorList& column : states)
      if (!is_float(column[i]) || !fits(column[i])) return false;
  }
  return true;
}

void adam_pass(at::TensorList value, at::TensorList gradient, at::TensorList mean, at::TensorList square,
               const std::vector<double>& updates, const AdamPass& with) {
  ETUDE_CHECK(updates.size() == value.size(), "a count of updates for each tensor");
  std::vector<AdamFactors> factors;
  for (const double t : updates) {
    const double unbiased1 = 1 - std::pow(with.beta1, t), unbiased2 = 1 - std::pow(with.beta2, t);
    factors.push_back({.gradient_scale = static_cast<float>(with.gradient_scale),
                       .l2 = static_cast<float>(with.decoupled ? 0 : with.weight_decay),
                       .keep = static_cast<float>(with.decoupled ? 1 - with.lr * with.weight_decay : 1),
                       .beta1 = static_cast<float>(with.beta1),
                       .rest1 = static_cast<float>(1 - with.beta1),
                       .beta2 = static_cast<float>(with.beta2),
                       .rest2 = static_cast<float>(1 - with.beta2),
                       .step_size = static_cast<float>(with.lr / unbiased1),
                       .root_correction = static_cast<float>(1 / std::sqrt(unbiased2)),
                       .eps = static_cast<float>(with.eps)});
  }
  walk_in_parallel(value, [&](size_t k, int64_t i, int64_t count) {
    Segment s = segment(value[k], gradient[k], i, count);
    s.first = from(mean[k], i);
    s.second = from(square[k], i);
    HWY_DYNAMIC_DISPATCH(adam_segment)(factors[k], s);
  });
}

void sgd_pass(at::TensorList value, at::TensorList gradient, at::TensorList velocity, const SgdPass& with) {
  const bool moves = with.momentum != 0;
  const SgdFactors factors{.gradient_scale = static_cast<float>(with.gradient_scale),
                           .l2 = static_cast<float>(with.weight_decay),
                           .momentum = static_cast<float>(with.momentum),
                           .lr = static_cast<float>(with.lr),
                           .moves = moves,
                           .nesterov = with.nesterov};
  walk_in_parallel(value, [&](size_t k, int64_t i, int64_t count) {
    Segment s = segment(value[k], gradient[k], i, count);
    if (moves) s.first = from(velocity[k], i);
    HWY_DYNAMIC_DISPATCH(sgd_segment)(factors, s);
  });
}

bool has_norm_pass(const at::Tensor& x) {
  return isa() != Isa::aten && x.defined() && is_dense(x) && (is_float(x) || is_narrow(x));
}

double sum_of_squares(at::TensorList tensors) {
  const std::vector<int64_t> offsets = offsets_of(tensors);
  const int64_t all = offsets.back();
  std::vector<double> sums(static_cast<size_t>((all + kBlock - 1) / kBlock), 0.0);
  at::parallel_for(0, static_cast<int64_t>(sums.size()), kGrain, [&](int64_t first, int64_t last) {
    for (int64_t block = first; block < last; ++block)
      walk(offsets, block * kBlock, std::min((block + 1) * kBlock, all), [&](size_t k, int64_t i, int64_t count) {
        const auto* bytes = static_cast<const char*>(tensors[k].const_data_ptr()) + i * tensors[k].element_size();
        sums[static_cast<size_t>(block)] +=
            HWY_DYNAMIC_DISPATCH(squares_segment)(bytes, is_narrow(tensors[k]), static_cast<size_t>(count));
      });
  });
  double sum = 0;
  for (const double of_block : sums) sum += of_block;
  return sum;
}

}  // namespace etude
#endif
