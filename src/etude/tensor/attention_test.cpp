// B batch, T queries, S keys, H query heads, G key/value heads, E head width.

#include "etude/tensor/attention.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <functional>
#include <limits>

#include "etude/base/torch_pch.h"
#include "etude/tensor/attention_blocks.h"
#include "etude/tensor/paths.h"
#include "etude/tensor/processor.h"

namespace etude {
namespace {

struct HeadsShape {
  int64_t B, T, S, H, G, E;
};

struct HeadsAndOptions {
  Tensor q, k, v, gradient;
  AttentionOptions options;
};

/// Which of the options are set.
enum Sets : unsigned {
  kCausal = 1,
  kWindow = 2,
  kLength = 4,
  kFirst = 8,
  kEnd = 16,
  kBias = 32,
  kAllSets = 64,
};

HeadsAndOptions heads_of(const HeadsShape& n, unsigned sets, Format format, at::ScalarType type, uint64_t seed) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  const auto normal = [&](at::IntArrayRef sizes) { return at::randn(sizes, generator, at::kFloat); };
  const auto integers = [&](int64_t low, int64_t high, at::IntArrayRef sizes) {
    return at::randint(low, high, sizes, generator, at::kLong);
  };
  HeadsAndOptions in{normal({n.B, n.T, n.H, n.E}), normal({n.B, n.S, n.G, n.E}), normal({n.B, n.S, n.G, n.E}),
                     normal({n.B, n.T, n.H, n.E}), AttentionOptions{.format = format, .causal = (sets & kCausal) != 0}};
  // What bfloat16 can hold, so that the oracle reads the same numbers.
  for (Tensor* x : {&in.q, &in.k, &in.v, &in.gradient})
    *x = x->to(format == Format::bfloat16 ? at::kBFloat16 : at::kFloat).to(type);
  if (sets & kWindow) in.options.window = 1 + n.S / 2;
  if (sets & kLength) in.options.length_B = integers(0, n.S + 1, {n.B});
  if (sets & kFirst) in.options.first_BT = at::clamp_max(integers(-2, n.S, {n.B, n.T}), at::arange(n.T));
  if (sets & kEnd) in.options.end_BT = integers(n.S / 3, n.S + 2, {n.B, n.T});
  if (sets & kBias) {
    in.options.bias = normal({n.B, n.H, n.T, n.S});
    in.options.bias.masked_fill_(in.options.bias.gt(1.5), -std::numeric_limits<float>::infinity());
  }
  return in;
}

bool is_key_seen(const AttentionOptions& o, int64_t b, int64_t t, int64_t s) {
  const auto bound = [&](const Tensor& bound_BT) {
    return bound_BT.const_data_ptr<int64_t>()[b * bound_BT.size(1) + t];
  };
  if (o.causal && s > t) return false;
  if (o.window > 0 && s <= t - o.window) return false;
  if (o.length_B.defined() && s >= o.length_B.const_data_ptr<int64_t>()[b]) return false;
  if (o.first_BT.defined() && s < bound(o.first_BT)) return false;
  return !o.end_BT.defined() || s < bound(o.end_BT);
}

/// By the definition, in the type of q.
Tensor attention_by_definition(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& o) {
  const int64_t B = q.size(0), T = q.size(1), S = k.size(1), per_key_head = q.size(2) / k.size(2);
  Tensor hidden = at::zeros({B, 1, T, S}, at::kBool);
  auto put = hidden.accessor<bool, 4>();
  for (int64_t b = 0; b < B; ++b)
    for (int64_t t = 0; t < T; ++t)
      for (int64_t s = 0; s < S; ++s) put[b][0][t][s] = !is_key_seen(o, b, t, s);
  const double scale = o.scale > 0 ? o.scale : 1 / std::sqrt(static_cast<double>(q.size(3)));
  Tensor scores = at::einsum("bthe,bshe->bhts", {q, k.repeat_interleave(per_key_head, 2)}) * scale;
  if (o.bias.defined()) scores = scores + o.bias.to(q.scalar_type());
  scores = scores.masked_fill(hidden, -std::numeric_limits<double>::infinity());
  const Tensor blind = scores.detach().isneginf().all(-1, true);
  const Tensor weights = at::softmax(scores.masked_fill(blind, 0), -1).masked_fill(blind, 0);
  return at::einsum("bhts,bshe->bthe", {weights, v.repeat_interleave(per_key_head, 2)});
}

struct HeadsResults {
  Tensor out;
  torch::autograd::variable_list gradients;  ///< of q, k, v, and the bias if there is one
};
using AttentionFunction = std::function<Tensor(const Tensor&, const Tensor&, const Tensor&, const AttentionOptions&)>;

HeadsResults attention_results(const AttentionFunction& f, const HeadsAndOptions& in, at::ScalarType type) {
  torch::autograd::variable_list x;
  for (const Tensor& input : {in.q, in.k, in.v}) x.push_back(input.detach().to(type).requires_grad_());
  AttentionOptions o = in.options;
  if (o.bias.defined()) {
    o.bias = o.bias.detach().to(type == at::kBFloat16 ? at::kFloat : type).requires_grad_();
    x.push_back(o.bias);
  }
  const Tensor out = f(x[0], x[1], x[2], o);
  return {out.detach(), torch::autograd::grad({out}, x, {in.gradient.to(type)})};
}

double attention_error(const Tensor& found, const Tensor& expected) {
  const Tensor wide = found.to(at::kDouble);
  if (expected.numel() == 0) return found.sizes() == expected.sizes() ? 0 : 1;
  const double norm = expected.norm().item<double>();
  return (wide - expected).norm().item<double>() / (norm > 0 ? norm : 1);
}

void expect_attention(const HeadsAndOptions& in, double tolerance) {
  const HeadsResults found = attention_results(fused_attention, in, in.q.scalar_type());
  const HeadsResults expected = attention_results(attention_by_definition, in, at::kDouble);
  EXPECT_EQ(found.out.scalar_type(), in.q.scalar_type());
  EXPECT_LT(attention_error(found.out, expected.out), tolerance);
  for (size_t i = 0; i < expected.gradients.size(); ++i)
    EXPECT_LT(attention_error(found.gradients[i], expected.gradients[i]), tolerance) << "gradient " << i;
}

double attention_tolerance(Format format) { return format == Format::float32 ? 1e-5 : 1e-2; }

class FusedAttentionFormats : public ::testing::TestWithParam<Format> {};

TEST_P(FusedAttentionFormats, EveryCombinationOfOptionsIsTheDefinition) {
  for (unsigned sets = 0; sets < kAllSets; ++sets) {
    SCOPED_TRACE(sets);
    const HeadsShape shape = sets % 2 == 0 ? HeadsShape{2, 37, 37, 4, 2, 20} : HeadsShape{3, 41, 41, 3, 3, 33};
    expect_attention(heads_of(shape, sets, GetParam(), at::kFloat, sets), attention_tolerance(GetParam()));
  }
}

TEST_P(FusedAttentionFormats, ShapesOfAllKinds) {
  const HeadsShape shapes[] = {{2, 64, 64, 2, 2, 32},  {1, 256, 256, 4, 1, 64},  {2, 131, 131, 2, 1, 16},
                               {2, 40, 300, 2, 1, 32}, {1, 150, 33, 2, 2, 48},   {1, 129, 257, 6, 2, 8},
                               {1, 300, 300, 1, 1, 1}, {3, 17, 16, 2, 2, 7},     {1, 63, 65, 2, 2, 100},
                               {2, 2, 90, 2, 2, 24},   {1, 200, 513, 1, 1, 160}, {1, 513, 513, 2, 1, 3}};
  uint64_t seed = 100;
  for (const HeadsShape& shape : shapes)
    for (const unsigned sets : {0U, unsigned{kCausal}, kCausal | kFirst, kWindow | kLength | kBias}) {
      SCOPED_TRACE(::testing::Message() << "T " << shape.T << " S " << shape.S << " E " << shape.E << " sets " << sets);
      expect_attention(heads_of(shape, sets, GetParam(), at::kFloat, ++seed), attention_tolerance(GetParam()));
    }
}

TEST_P(FusedAttentionFormats, ActivationsInBfloat16) {
  for (const unsigned sets : {unsigned{kCausal}, kLength | kBias})
    expect_attention(heads_of({2, 100, 100, 4, 2, 32}, sets, GetParam(), at::kBFloat16, sets), 1e-2);
}

TEST_P(FusedAttentionFormats, ViewsOfWiderProjections) {
  const int64_t B = 2, T = 70, H = 4, G = 2, E = 24;
  for (const bool batch_inside : {false, true}) {
    HeadsAndOptions in = heads_of({B, T, T, H, G, E}, kCausal, GetParam(), at::kFloat, 5);
    const Tensor wide = batch_inside ? at::cat({in.q, in.k, in.v}, 2).transpose(0, 1).contiguous().transpose(0, 1)
                                     : at::cat({in.q, in.k, in.v}, 2);
    const auto parts = wide.split_with_sizes({H, G, G}, 2);
    in.gradient = in.gradient.transpose(1, 3).contiguous().transpose(1, 3);
    const Tensor fused = fused_attention(parts[0], parts[1], parts[2], in.options);
    EXPECT_TRUE(at::equal(fused, fused_attention(in.q, in.k, in.v, in.options)));
    const Tensor turned = in.k.transpose(1, 3).contiguous().transpose(1, 3);
    EXPECT_TRUE(at::equal(fused_attention(in.q, turned, in.v, in.options), fused));
    expect_attention(in, attention_tolerance(GetParam()));
  }
}

TEST_P(FusedAttentionFormats, ABiasMayBeBroadcastInAnyDimension) {
  const HeadsShape n{3, 20, 50, 4, 2, 16};
  const std::vector<std::vector<int64_t>> shapes{{n.B, 1, n.T, n.S},
                                                 {1, n.H, n.T, n.S},
                                                 {n.T, n.S},
                                                 {n.B, n.H, 1, n.S},
                                                 {n.B, 1, 1, n.S},
                                                 {n.H, 1, 1},
                                                 {n.B, 1, n.T, 1},
                                                 {1},
                                                 {}};
  for (const auto& sizes : shapes) {
    SCOPED_TRACE(::testing::Message() << at::IntArrayRef(sizes));
    HeadsAndOptions in = heads_of(n, kLength, GetParam(), at::kFloat, 9);
    in.options.bias = at::randn(sizes, at::make_generator<at::CPUGeneratorImpl>(3), at::kFloat);
    const HeadsResults found = attention_results(fused_attention, in, at::kFloat);
    const HeadsResults expected = attention_results(attention_by_definition, in, at::kDouble);
    EXPECT_LT(attention_error(found.out, expected.out), attention_tolerance(GetParam()));
    EXPECT_EQ(found.gradients[3].sizes(), at::IntArrayRef(sizes));
    // Where all keys of a query get the same bias, it has no influence and its gradient is 0.
    const bool counts = !sizes.empty() && sizes.back() == n.S;
    const double scale = counts ? expected.gradients[3].norm().item<double>() : 100;
    EXPECT_LT((found.gradients[3] - expected.gradients[3]).norm().item<double>(),
              2 * attention_tolerance(GetParam()) * scale);
  }
}

TEST_P(FusedAttentionFormats, WhoSeesNothingGivesZerosAndNoGradient) {
  HeadsAndOptions in = heads_of({3, 70, 70, 2, 1, 32}, kCausal, GetParam(), at::kFloat, 7);
  in.options.length_B = at::tensor({0, 5, 70}, at::kLong);
  in.options.first_BT = at::arange(70).expand({3, 70}).clone();
  in.options.first_BT[2].fill_(60);
  in.options.bias = at::zeros({3, 1, 70, 70});
  in.options.bias[1].fill_(-std::numeric_limits<float>::infinity());
  in.options.bias[1][0][3][3] = 1;
  expect_attention(in, attention_tolerance(GetParam()));
  const HeadsResults found = attention_results(fused_attention, in, at::kFloat);
  EXPECT_EQ(found.out[0].abs().max().item<float>(), 0);
  EXPECT_EQ(found.out[2].narrow(0, 0, 60).abs().max().item<float>(), 0);
  EXPECT_TRUE(at::equal(found.out[1][3], in.v[1][3].expand({2, 32})));
  EXPECT_EQ(found.out[1].norm().item<float>(), found.out[1][3].norm().item<float>());
  for (const Tensor& gradient : found.gradients) {
    EXPECT_TRUE(gradient.isfinite().all().item<bool>());
    EXPECT_EQ(gradient[0].abs().max().item<float>(), 0);
  }
}

TEST_P(FusedAttentionFormats, OneTokenIsItsOwnValue) {
  const HeadsAndOptions in = heads_of({2, 1, 1, 4, 2, 20}, kCausal, GetParam(), at::kFloat, 1);
  const HeadsResults found = attention_results(fused_attention, in, at::kFloat);
  EXPECT_LT(attention_error(found.out, in.v.repeat_interleave(2, 2).to(at::kDouble)), 1e-6);
  EXPECT_LT(found.gradients[0].abs().max().item<double>(), 1e-5);
  EXPECT_LT(found.gradients[1].abs().max().item<double>(), 1e-5);
  EXPECT_LT(attention_error(found.gradients[2], in.gradient.view({2, 1, 2, 2, 20}).sum(3).to(at::kDouble)),
            attention_tolerance(GetParam()));
}

TEST_P(FusedAttentionFormats, NothingOfSomething) {
  for (const HeadsShape& n : {HeadsShape{0, 5, 5, 2, 1, 8}, HeadsShape{2, 0, 5, 2, 1, 8}, HeadsShape{2, 5, 0, 2, 1, 8},
                              HeadsShape{2, 5, 5, 2, 1, 0}}) {
    const HeadsAndOptions in = heads_of(n, 0, GetParam(), at::kFloat, 2);
    const HeadsResults found = attention_results(fused_attention, in, at::kFloat);
    EXPECT_EQ(found.out.sizes(), in.q.sizes());
    EXPECT_EQ(found.out.abs().sum().item<float>(), 0);
    for (size_t i = 0; i < 3; ++i) EXPECT_EQ(found.gradients[i].abs().sum().item<float>(), 0);
    EXPECT_EQ(found.gradients[1].sizes(), in.k.sizes());
  }
}

TEST_P(FusedAttentionFormats, LargeScoresStayFinite) {
  HeadsAndOptions in = heads_of({1, 130, 130, 1, 1, 32}, kCausal, GetParam(), at::kFloat, 4);
  in.q = in.q * 64;
  const HeadsResults found = attention_results(fused_attention, in, at::kFloat);
  const HeadsResults expected = attention_results(attention_by_definition, in, at::kDouble);
  EXPECT_LT(attention_error(found.out, expected.out), 1e-2);
  for (const Tensor& gradient : found.gradients) EXPECT_TRUE(gradient.isfinite().all().item<bool>());
}

TEST_P(FusedAttentionFormats, NotANumberIsNotHidden) {
  HeadsAndOptions in = heads_of({1, 70, 70, 1, 1, 16}, kCausal, GetParam(), at::kFloat, 4);
  in.k[0][30][0][2] = std::numeric_limits<float>::quiet_NaN();
  const Tensor out = fused_attention(in.q, in.k, in.v, in.options);
  EXPECT_TRUE(out[0].narrow(0, 0, 30).isfinite().all().item<bool>());
  EXPECT_TRUE(out[0].narrow(0, 30, 40).isnan().all().item<bool>());
}

TEST_P(FusedAttentionFormats, TheSameBitsEachTime) {
  const HeadsAndOptions in = heads_of({1, 200, 200, 2, 1, 32}, kCausal | kWindow, GetParam(), at::kFloat, 8);
  const HeadsResults once = attention_results(fused_attention, in, at::kFloat);
  const HeadsResults again = attention_results(fused_attention, in, at::kFloat);
  EXPECT_TRUE(at::equal(once.out, again.out));
  for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(at::equal(once.gradients[i], again.gradients[i]));
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const HeadsResults alone = attention_results(fused_attention, in, at::kFloat);
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(once.out, alone.out));
}

TEST_P(FusedAttentionFormats, GradientsCanBeDifferentiatedAgain) {
  const HeadsAndOptions in = heads_of({1, 9, 9, 2, 1, 8}, kCausal | kBias, GetParam(), at::kFloat, 6);
  const auto second = [&](const AttentionFunction& f, at::ScalarType type) {
    torch::autograd::variable_list x;
    for (const Tensor& input : {in.q, in.k, in.v}) x.push_back(input.detach().to(type).requires_grad_());
    AttentionOptions o = in.options;
    o.bias = o.bias.to(type).requires_grad_();
    x.push_back(o.bias);
    const auto first = torch::autograd::grad({f(x[0], x[1], x[2], o)}, x, {in.gradient.to(type)}, true, true);
    Tensor sum;
    for (const Tensor& g : first) sum = sum.defined() ? sum + g.square().sum() : g.square().sum();
    return torch::autograd::grad({sum}, x);
  };
  const auto found = second(fused_attention, at::kFloat), expected = second(attention_by_definition, at::kDouble);
  for (size_t i = 0; i < expected.size(); ++i)
    EXPECT_LT(attention_error(found[i], expected[i]), attention_tolerance(GetParam())) << i;
}

TEST_P(FusedAttentionFormats, TakesItsOwnPathAtTheShapesThatCount) {
  if (!has_block_kernels()) GTEST_SKIP() << "this processor has no AVX-512";
  const char* const own = GetParam() == Format::float32 ? "own: float32" : "own: bfloat16";
  for (const auto& [n, sets] : {std::pair<HeadsShape, unsigned>{{1, 64, 64, 2, 2, 32}, kCausal},
                                {{1, 256, 256, 4, 4, 64}, kCausal},
                                {{1, 512, 512, 2, 2, 64}, kCausal | kFirst},
                                {{2, 128, 128, 4, 4, 64}, kLength}}) {
    watch_paths(true);
    attention_results(fused_attention, heads_of(n, sets, GetParam(), at::kFloat, 3), at::kFloat);
    const auto taken = paths_taken();
    watch_paths(false);
    EXPECT_EQ(taken.at("attention"), (std::map<std::string, int64_t>{{own, 1}}));
    EXPECT_EQ(taken.at("attention backward"), (std::map<std::string, int64_t>{{own, 1}}));
  }
}

INSTANTIATE_TEST_SUITE_P(Both, FusedAttentionFormats, ::testing::Values(Format::float32, Format::bfloat16),
                         [](const auto& format) { return format.param == Format::float32 ? "float32" : "bfloat16"; });

TEST(FusedAttention, EveryInstructionSetGivesTheSame) {
  for (const Isa choice : available_isas()) {
    SCOPED_TRACE(std::string(isa_name(choice)));
    force_isa(choice);
    for (const unsigned sets : {unsigned{kCausal}, kAllSets - 1, 0U})
      expect_attention(heads_of({2, 45, 45, 4, 2, 20}, sets, Format::float32, at::kFloat, sets), 1e-5);
  }
  force_isa(detected_isa());
}

TEST(FusedAttention, OtherTypesAndDevicesGoByAten) {
  const HeadsAndOptions in = heads_of({2, 9, 11, 4, 2, 5}, kAllSets - 1, Format::float32, at::kDouble, 2);
  expect_attention(in, 1e-12);
  AttentionOptions o = in.options;
  for (Tensor* x : {&o.length_B, &o.first_BT, &o.end_BT, &o.bias}) *x = x->to(at::kMeta);
  EXPECT_EQ(fused_attention(in.q.to(at::kMeta), in.k.to(at::kMeta), in.v.to(at::kMeta), o).sizes(), in.q.sizes());
}

TEST(FusedAttention, WeightsAreTheRowsOfTheMatrix) {
  const HeadsAndOptions in = heads_of({2, 9, 11, 4, 2, 5}, kCausal | kLength | kBias, Format::float32, at::kDouble, 3);
  const Tensor weights = attention_weights(in.q, in.k, in.options);
  const Tensor identity = at::eye(11, at::kDouble).view({1, 11, 1, 11}).expand({2, 11, 2, 11});
  AttentionOptions o = in.options;
  o.scale = 1 / std::sqrt(5.0);
  // Values that are unit vectors show the weights; q and k are filled up to their width with zeros.
  const auto wide = [](const Tensor& x) { return at::constant_pad_nd(x, {0, 6}); };
  const Tensor shown = attention_by_definition(wide(in.q), wide(in.k), identity, o).transpose(1, 2);
  EXPECT_LT(attention_error(weights, shown), 1e-12);
}

TEST(FusedAttention, ItsExponentialIsExactToSevenDigits) {
  const int64_t P = kKeyBlock, W = kQueryBlock;
  auto generator = at::make_generator<at::CPUGeneratorImpl>(17);
  const Tensor scores = at::rand({P, W}, generator, at::kFloat) * -100;
  scores[0].zero_();
  scores[1].fill_(-std::numeric_limits<float>::infinity());
  const Tensor expected = scores.to(at::kDouble).exp(), found = scores.clone();
  Tensor largest = at::full({W}, -std::numeric_limits<float>::infinity()), sum = at::zeros({W}), factor = at::ones({W});
  softmax_block({found.mutable_data_ptr<float>(), P, W, 0}, 1, largest.mutable_data_ptr<float>(),
                sum.mutable_data_ptr<float>(), factor.mutable_data_ptr<float>());
  const Tensor normal = scores.gt(-86.9F), error = (found.to(at::kDouble) / expected - 1).abs();
  EXPECT_LT(error.masked_select(normal).max().item<double>(), 4e-7);
  EXPECT_LT(found.masked_select(scores.lt(-86.9F)).max().item<double>(), 2e-38);
  EXPECT_EQ(found[1].max().item<float>(), 0);
  EXPECT_LT(attention_error(sum, expected.sum(0)), 1e-6);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kAttentionShadowed = true;  // sanitizers keep memory of their own for each byte that was touched
#else
constexpr bool kAttentionShadowed = false;
#endif

/// By how much the process's peak memory rises above what it holds before.
int64_t attention_peak_growth(const std::function<void()>& work) {
  const auto kilobytes = [](const std::string& key) {
    std::ifstream status("/proc/self/status");
    for (std::string word; status >> word;)
      if (int64_t value = 0; word == key && status >> value) return value;
    return int64_t{0};
  };
  std::ofstream("/proc/self/clear_refs") << "5" << std::flush;
  const int64_t before = kilobytes("VmRSS:");
  work();
  return (kilobytes("VmHWM:") - before) * 1024;
}

TEST(FusedAttention, MemoryGrowsWithTheLengthAndNotWithItsSquare) {
  if (!has_block_kernels() || kAttentionShadowed) GTEST_SKIP() << "no AVX-512, or a sanitizer";
  const int64_t T = 4096, matrix = T * T * 4;
  const HeadsAndOptions in = heads_of({1, T, T, 1, 1, 32}, kCausal, Format::float32, at::kFloat, 3);
  EXPECT_GT(attention_peak_growth([&] { attention_weights(in.q, in.k, in.options); }), matrix);
  EXPECT_LT(attention_peak_growth([&] { attention_results(fused_attention, in, at::kFloat); }), matrix / 4);
}

}  // namespace
}  // namespace etude
