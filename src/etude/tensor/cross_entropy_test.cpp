// N tokens, D width, V vocabulary.

#include "etude/tensor/cross_entropy.h"

#include <c10/core/CPUAllocator.h>
#include <gmock/gmock.h>

#include <atomic>
#include <cmath>

#include "etude/base/error.h"
#include "etude/tensor/cross_entropy_blocks.h"
#include "etude/tensor/rows_testing.h"

namespace etude {
namespace {

using test::in_layout;
using test::normal_rows;
using test::relative_distance;

struct HeadCase {
  Tensor x_ND, weight_VD, labels_N, upstream_N;
  CrossEntropyOptions options;
};

/// `ignored` of 1: all tokens.
HeadCase head_case(int64_t N, int64_t V, int64_t D, Format format, double ignored, uint64_t seed) {
  HeadCase c;
  c.x_ND = normal_rows({N, D}, storage_of(format), seed, "x");
  c.weight_VD = normal_rows({V, D}, at::kFloat, seed, "weight") / std::sqrt(static_cast<double>(D)) * 2;
  c.labels_N = at::empty({N}, at::kLong);
  Rng rng = Rng(Key{.seed = seed, .purpose = Purpose::test}).fork("labels");
  for (int64_t n = 0; n < N; ++n) c.labels_N.data_ptr<int64_t>()[n] = rng.uniform() < ignored ? -1 : rng.below(V);
  c.upstream_N = at::full({N}, 0.25);
  c.options.format = format;
  return c;
}

struct HeadResult {
  Tensor item_N, x_ND, weight_VD, bias_V;
};

/// Items and gradients of sum(item * upstream).
HeadResult head_result(const HeadCase& c) {
  const auto leaf = [](const Tensor& t) { return t.defined() ? t.detach().requires_grad_() : t; };
  const Tensor x_ND = leaf(c.x_ND), weight_VD = leaf(c.weight_VD);
  CrossEntropyOptions options = c.options;
  options.bias_V = leaf(options.bias_V);
  const Tensor item_N = linear_cross_entropy(x_ND, weight_VD, c.labels_N, options);
  item_N.backward(c.upstream_N);
  return {item_N.detach(), x_ND.grad(), weight_VD.grad(), options.bias_V.defined() ? options.bias_V.grad() : Tensor()};
}

HeadResult head_oracle(const HeadCase& c) {
  const auto wide = [](const Tensor& t) {
    return t.defined() ? t.detach().to(at::kDouble).contiguous().clone().requires_grad_() : t;
  };
  const Tensor x_ND = wide(c.x_ND), weight_VD = wide(c.weight_VD), bias_V = wide(c.options.bias_V);
  Tensor logits_NV = x_ND.matmul(weight_VD.t());
  if (bias_V.defined()) logits_NV = logits_NV + bias_V;
  Tensor item_N = at::cross_entropy_loss(logits_NV.reshape({-1, weight_VD.size(0)}), c.labels_N.reshape({-1}), {},
                                         at::Reduction::None, c.options.ignored, c.options.smoothing)
                      .view(c.labels_N.sizes());
  if (c.options.weight_N.defined()) item_N = item_N * c.options.weight_N;
  item_N.backward(c.upstream_N.to(at::kDouble));
  return {item_N.detach(), x_ND.grad(), weight_VD.grad(), bias_V.defined() ? bias_V.grad() : Tensor()};
}

void expect_near(const HeadResult& got, const HeadResult& expected, double allowed) {
  EXPECT_LE(relative_distance(got.item_N, expected.item_N), allowed);
  EXPECT_LE(relative_distance(got.x_ND, expected.x_ND), allowed);
  EXPECT_LE(relative_distance(got.weight_VD, expected.weight_VD), allowed);
  if (expected.bias_V.defined()) {
    EXPECT_LE(relative_distance(got.bias_V, expected.bias_V), allowed);
  }
}

double allowed_for(Format format) { return format == Format::bfloat16 ? 1e-2 : 1e-5; }

TEST(LinearCrossEntropy, MatchesFloat64) {
  struct Shape {
    int64_t N, V, D;
  };
  const std::vector<Shape> shapes{{1, 1, 1},     {1, 2, 3},     {0, 5, 4},  {5, 257, 17},    {64, 64, 64},
                                  {130, 33, 48}, {65, 4097, 8}, {7, 96, 1}, {1300, 130, 21}, {200, 700, 129}};
  uint64_t seed = 0;
  for (const Shape& s : shapes)
    for (const Format format : {Format::float32, Format::bfloat16})
      for (int kind = 0; kind < 6; ++kind) {
        HeadCase c = head_case(s.N, s.V, s.D, format, kind == 1 || kind == 4 ? 0.3 : kind == 5 ? 1 : 0, ++seed);
        // The rounding of a handful of weights does not average out.
        if (s.N == 1) c.weight_VD = c.weight_VD.to(at::kBFloat16).to(at::kFloat);
        if (kind >= 2) c.options.smoothing = 0.1;
        if (kind % 2 == 1) c.options.bias_V = normal_rows({s.V}, at::kFloat, seed, "bias");
        if (kind >= 3) c.options.weight_N = normal_rows({s.N}, at::kFloat, seed, "weights").abs();
        if (kind == 4) c.upstream_N = normal_rows({s.N}, at::kFloat, seed, "upstream");
        if (kind == 2) c.x_ND = in_layout(c.x_ND, 2), c.weight_VD = in_layout(c.weight_VD, 1);
        const HeadResult expected = head_oracle(c);
        test::with_each_isa([&] {
          SCOPED_TRACE(testing::Message() << "N " << s.N << " V " << s.V << " D " << s.D << " bfloat16 "
                                          << (format == Format::bfloat16) << " kind " << kind);
          expect_near(head_result(c), expected, allowed_for(format));
        });
      }
}

TEST(LinearCrossEntropy, HasTheSameBitsForTheSameNumberOfThreads) {
  const int threads = at::get_num_threads();
  for (const Format format : {Format::float32, Format::bfloat16})
    for (const int count : {1, 2, 5}) {
      at::set_num_threads(count);
      const HeadCase c = head_case(300, 1000, 64, format, 0.1, 7);
      const HeadResult one = head_result(c), two = head_result(c);
      EXPECT_TRUE(at::equal(one.item_N, two.item_N) && at::equal(one.x_ND, two.x_ND) &&
                  at::equal(one.weight_VD, two.weight_VD));
      expect_near(one, head_oracle(c), allowed_for(format));
    }
  at::set_num_threads(threads);
}

TEST(LinearCrossEntropy, TakesAnyLeadingDimensions) {
  HeadCase c = head_case(30, 50, 16, Format::float32, 0.2, 8);
  c.x_ND = c.x_ND.view({5, 6, 16});
  c.labels_N = c.labels_N.view({5, 6});
  c.upstream_N = normal_rows({6, 5}, at::kFloat, 8, "upstream").t();
  expect_near(head_result(c), head_oracle(c), 1e-5);
}

TEST(LinearCrossEntropy, BearsLogitsThatAreFarApart) {
  // Logits rise by 64 from panel to panel of words, or fall: whole numbers, exact in bfloat16.
  for (const Format format : {Format::float32, Format::bfloat16})
    for (const double slope : {1.0, -1.0}) {
      HeadCase c = head_case(70, 1024, 2, format, 0, 9);
      c.x_ND = at::ones({70, 2}, storage_of(format));
      c.x_ND.select(1, 1).mul_(0.5);
      c.weight_VD = at::stack({at::arange(1024).div(4, "floor") * slope, at::arange(1024) % 3}, 1).to(at::kFloat);
      c.upstream_N = normal_rows({70}, at::kFloat, 9, "upstream");
      const HeadResult got = head_result(c);
      EXPECT_TRUE(got.item_N.isfinite().all().item<bool>());
      expect_near(got, head_oracle(c), allowed_for(format));
    }
}

TEST(LinearCrossEntropy, WordsThatAMaskRulesOutHaveNoShare) {
  HeadCase c = head_case(40, 300, 8, Format::float32, 0, 10);
  c.labels_N.fill_(299);
  c.options.bias_V = at::zeros({300});
  c.options.bias_V.narrow(0, 0, 290).fill_(-INFINITY);
  const HeadResult got = head_result(c);
  EXPECT_EQ(got.weight_VD.narrow(0, 0, 290).abs().max().item<float>(), 0);
  expect_near(got, head_oracle(c), 1e-5);
}

TEST(LinearCrossEntropy, TheGradientOfASureModelKeepsItsDigits) {
  // One bit of bfloat16's softmax at the label, 0.4 % of it, would be a third of what is left to learn.
  HeadCase c = head_case(64, 64, 64, Format::bfloat16, 0, 11);
  c.x_ND = at::eye(64, at::kBFloat16) * 8;
  c.weight_VD = at::eye(64) + normal_rows({64, 64}, at::kBFloat16, 11, "noise").to(at::kFloat) / 16;
  c.labels_N = at::arange(64);
  c.weight_VD = c.weight_VD.to(at::kBFloat16).to(at::kFloat);
  const HeadResult expected = head_oracle(c);
  EXPECT_LT(expected.item_N.mean().item<double>(), 0.05);
  expect_near(head_result(c), expected, 1e-2);
}

TEST(LinearCrossEntropy, WhatIsNotANumberStaysSo) {
  for (const Format format : {Format::float32, Format::bfloat16}) {
    HeadCase c = head_case(10, 90, 8, format, 0, 12);
    c.x_ND[3][1] = NAN;
    const Tensor item_N = linear_cross_entropy(c.x_ND, c.weight_VD, c.labels_N, c.options);
    EXPECT_EQ(item_N.isnan().sum().item<int64_t>(), 1);
    c.x_ND[3][1] = 0;
    c.weight_VD[80][0] = NAN;
    EXPECT_TRUE(linear_cross_entropy(c.x_ND, c.weight_VD, c.labels_N, c.options).isnan().all().item<bool>());
  }
}

TEST(LinearCrossEntropy, ASecondBackwardGivesTheSame) {
  const HeadCase c = head_case(50, 80, 16, Format::float32, 0.2, 13);
  const Tensor x_ND = c.x_ND.detach().requires_grad_(), weight_VD = c.weight_VD.detach().requires_grad_();
  const Tensor item_N = linear_cross_entropy(x_ND, weight_VD, c.labels_N, c.options);
  const auto once = [&] {
    return torch::autograd::grad({item_N}, {x_ND, weight_VD}, {c.upstream_N}, /*retain_graph=*/true);
  };
  const auto first = once(), second = once();
  const HeadResult expected = head_oracle(c);
  for (const auto& got : {first, second}) {
    EXPECT_LE(relative_distance(got[0], expected.x_ND), 1e-5);
    EXPECT_LE(relative_distance(got[1], expected.weight_VD), 1e-5);
  }
}

TEST(LinearCrossEntropy, ComputesOnlyWhatIsWanted) {
  HeadCase c = head_case(40, 60, 8, Format::float32, 0, 14);
  const HeadResult expected = head_oracle(c);
  const Tensor x_ND = c.x_ND.detach().requires_grad_(), weight_VD = c.weight_VD.detach().requires_grad_();
  linear_cross_entropy(x_ND, c.weight_VD, c.labels_N, c.options).backward(c.upstream_N);
  linear_cross_entropy(c.x_ND, weight_VD, c.labels_N, c.options).backward(c.upstream_N);
  EXPECT_LE(relative_distance(x_ND.grad(), expected.x_ND), 1e-5);
  EXPECT_LE(relative_distance(weight_VD.grad(), expected.weight_VD), 1e-5);
  const at::NoGradGuard no_grad;
  const Tensor item_N = linear_cross_entropy(x_ND, weight_VD, c.labels_N, c.options);
  EXPECT_FALSE(item_N.requires_grad());
  EXPECT_LE(relative_distance(item_N, expected.item_N), 1e-5);
}

TEST(LinearCrossEntropy, IsDifferentiableTwice) {
  HeadCase c = head_case(12, 20, 6, Format::float32, 0.2, 15);
  c.options.smoothing = 0.1;
  const auto second = [&](at::ScalarType type) {
    const Tensor x_ND = c.x_ND.to(type).requires_grad_(), weight_VD = c.weight_VD.to(type).requires_grad_();
    const Tensor item_N = linear_cross_entropy(x_ND, weight_VD, c.labels_N, c.options);
    const Tensor first = torch::autograd::grad({item_N.sum()}, {weight_VD}, {}, std::nullopt, true).at(0);
    return torch::autograd::grad({first.pow(2).sum()}, {x_ND, weight_VD});
  };
  const auto got = second(at::kFloat), expected = second(at::kDouble);
  for (size_t i = 0; i < 2; ++i) EXPECT_LE(relative_distance(got[i], expected[i]), 1e-5);
}

TEST(LinearCrossEntropy, TheComposedGradientIsThatOfDifferences) {
  HeadCase c = head_case(6, 9, 4, Format::float32, 0.2, 16);
  c.x_ND = c.x_ND.to(at::kDouble);
  c.weight_VD = c.weight_VD.to(at::kDouble);
  c.options.smoothing = 0.2;
  const HeadResult got = head_result(c);
  const auto value = [&] {
    return (linear_cross_entropy(c.x_ND, c.weight_VD, c.labels_N, c.options) * c.upstream_N).sum().item<double>();
  };
  for (const auto& [input, gradient] : {std::pair(c.x_ND, got.x_ND), std::pair(c.weight_VD, got.weight_VD)})
    for (int64_t i = 0; i < input.numel(); ++i) {
      constexpr double kStep = 1e-5;
      double& at = input.data_ptr<double>()[i];
      const double before = at;
      at = before + kStep;
      const double above = value();
      at = before - kStep;
      const double below = value();
      at = before;
      EXPECT_NEAR(gradient.reshape({-1})[i].item<double>(), (above - below) / (2 * kStep), 1e-8);
    }
}

TEST(LinearCrossEntropy, RefusesALabelBeforeAnythingIsComputed) {
  HeadCase c = head_case(6, 9, 4, Format::float32, 0, 17);
  c.labels_N[4] = 9;
  const auto paths = test::paths_of("cross_entropy", [&] {
    try {
      linear_cross_entropy(c.x_ND, c.weight_VD, c.labels_N, c.options);
      ADD_FAILURE() << "no Error was thrown";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Code::data);
      EXPECT_EQ(e.message(), "labels holds 9, outside 0 to 8");
      EXPECT_EQ(e.where(), "labels[4]");
      EXPECT_THAT(e.hint(), testing::HasSubstr("vocab"));
    }
  });
  EXPECT_TRUE(paths.empty());
  c.labels_N[4] = -100;
  EXPECT_THROW(linear_cross_entropy(c.x_ND, c.weight_VD, c.labels_N, c.options), Error);
  c.options.ignored = -100;
  EXPECT_EQ(linear_cross_entropy(c.x_ND, c.weight_VD, c.labels_N, c.options)[4].item<float>(), 0);
}

TEST(LinearCrossEntropy, WorksOnMeta) {
  const auto on_meta = [](at::IntArrayRef sizes, at::ScalarType type) {
    return at::empty(sizes, at::TensorOptions(at::kMeta).dtype(type));
  };
  const Tensor item = linear_cross_entropy(on_meta({4, 5, 8}, at::kFloat), on_meta({16, 8}, at::kFloat),
                                           on_meta({4, 5}, at::kLong), {.format = Format::bfloat16});
  EXPECT_EQ(item.sizes(), (std::vector<int64_t>{4, 5}));
  EXPECT_EQ(item.scalar_type(), at::kFloat);
}

/// Counts what LibTorch's allocator gives out between its making and its end.
class CountedMemory : public c10::Allocator {
 public:
  CountedMemory() : before_(c10::GetCPUAllocator()) { c10::SetCPUAllocator(this, kPriority); }
  ~CountedMemory() override { c10::SetCPUAllocator(before_, kPriority); }
  CountedMemory(const CountedMemory&) = delete;
  CountedMemory& operator=(const CountedMemory&) = delete;

  int64_t peak() const { return peak_; }
  c10::DataPtr allocate(size_t bytes) override {
    auto* block = new Block{before_->allocate(bytes), static_cast<int64_t>(bytes)};
    const int64_t now = live_ += block->bytes;
    for (int64_t most = peak_; most < now && !peak_.compare_exchange_weak(most, now);) {
    }
    return {block->memory.get(), block, &release, at::kCPU};
  }
  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }

 private:
  static constexpr uint8_t kPriority = 255;
  struct Block {
    c10::DataPtr memory;
    int64_t bytes;
  };
  static void release(void* block) {
    auto* b = static_cast<Block*>(block);
    live_ -= b->bytes;
    delete b;
  }
  c10::Allocator* before_;
  static inline std::atomic<int64_t> live_{0};
  std::atomic<int64_t> peak_{0};
};

TEST(LinearCrossEntropy, TakesTheOwnWayAndBoundedMemoryAtTheHeadlineShapes) {
  struct Shape {
    int64_t N, V, D;
  };
  for (const Shape& s : {Shape{1024, 256, 64}, Shape{4096, 4096, 256}, Shape{2048, 8192, 512}})
    for (const Format format : {Format::float32, Format::bfloat16}) {
      const bool narrow = format == Format::bfloat16 && has_block_kernels();
      HeadCase c = head_case(s.N, s.V, s.D, format, 0, 18);
      int64_t peak = 0;
      const auto step = [&] {
        CountedMemory memory;
        head_result(c);
        peak = memory.peak();
      };
      const auto own = std::map<std::string, int64_t>{{narrow ? "own: bfloat16" : "own: float32", 1}};
      EXPECT_EQ(test::paths_of("cross_entropy", step), own);
      EXPECT_EQ(test::paths_of("cross_entropy backward", step), (std::map<std::string, int64_t>{{"own: scaled", 1}}));
      const int64_t x_bytes = static_cast<int64_t>(c.x_ND.nbytes()), item_bytes = s.N * 4;
      const int64_t results = x_bytes + s.V * s.D * 4 + item_bytes;
      const HeadWants all{.x = true, .weight = true};
      const int64_t workspace = head_workspace_bytes(s.N, s.D, s.V, format, all, at::get_num_threads());
      EXPECT_GT(peak, results);
      EXPECT_LE(peak, results + workspace + (64 << 10));
      EXPECT_LE(workspace, 32 << 20);
      // Half of the logits, their softmax and its gradient, where that is more than a cache holds.
      if (s.V >= 4096) {
        EXPECT_LE(peak, 3 * s.N * s.V * 4 / 2);
      }
    }
}

}  // namespace
}  // namespace etude
