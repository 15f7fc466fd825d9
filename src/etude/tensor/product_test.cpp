// M rows, N columns, K summed.

#include "etude/tensor/product.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <array>
#include <mutex>

#include "etude/base/error.h"
#include "etude/base/torch_pch.h"
#include "etude/tensor/paths.h"
#include "etude/tensor/processor.h"
#include "etude/tensor/tensor.h"

namespace etude {
namespace {

struct ProductCase {
  int64_t M, N, K;
};
// The block sizes of the engine are 128 rows, 64 columns, 256 or 512 deep: one less, one more, several and a rest.
const std::vector<ProductCase> kProducts{{1, 1, 1},      {16, 64, 2},     {17, 65, 3},     {64, 64, 64},
                                         {127, 63, 511}, {129, 130, 513}, {300, 200, 257}, {33, 7, 1500},
                                         {1024, 64, 64}, {64, 64, 1024},  {20, 1000, 31},  {256, 256, 4096},
                                         {15, 300, 100}, {5, 9, 0},       {0, 9, 5},       {70, 0, 5}};

/// A matrix of `type` in one of four layouts: rows contiguous, columns contiguous, rows within wider ones, neither.
Tensor laid_out(int layout, int64_t rows, int64_t cols, at::ScalarType type) {
  switch (layout) {
    case 0:
      return torch::randn({rows, cols}).to(type);
    case 1:
      return torch::randn({cols, rows}).to(type).t();
    case 2:
      return torch::randn({rows, cols + 3}).to(type).narrow(1, 1, cols);
    default:
      return torch::randn({rows, 2 * cols + 1}).to(type).slice(1, 0, 2 * cols, 2);
  }
}

double distance(const Tensor& got, const Tensor& expected) {
  const double norm = expected.to(at::kDouble).norm().item<double>();
  return (got.to(at::kDouble) - expected).norm().item<double>() / (norm > 0 ? norm : 1);
}

Tensor as_multiplied(const Tensor& x, Format format) { return x.to(storage_of(format)).to(at::kDouble); }

void expect_products(Format format) {
  torch::manual_seed(7);
  for (const auto& [M, N, K] : kProducts)
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16})
      for (const auto& [left, right] : {std::pair(0, 0), {0, 1}, {1, 0}, {1, 1}, {2, 2}, {3, 3}}) {
        const Tensor a = laid_out(left, M, K, type), b = laid_out(right, K, N, type);
        const Tensor expected = at::mm(as_multiplied(a, format), as_multiplied(b, format));
        const Tensor got = product(MatrixView::of(a), MatrixView::of(b), format);
        ASSERT_EQ(got.sizes(), expected.sizes());
        EXPECT_LT(distance(got, expected), 1e-6) << M << "x" << N << "x" << K << " layouts " << left << right << " of "
                                                 << c10::toString(type) << " in " << c10::toString(storage_of(format));
      }
}

TEST(Product, EqualsFloat64InFloat32) { expect_products(Format::float32); }
TEST(Product, RoundsOperandsAndNothingElseInBfloat16) { expect_products(Format::bfloat16); }

TEST(Product, OfWholeMatricesGivesTheSame) {
  const Isa best = isa();
  force_isa(Isa::avx2);
  expect_products(Format::float32);
  expect_products(Format::bfloat16);
  force_isa(best);
}

TEST(Product, BlocksCoverEachElementOnce) {
  const Tensor a = torch::randn({333, 700}), b = torch::randn({700, 200});
  Tensor seen = torch::zeros({333, 200}), c = torch::empty({333, 200});
  std::mutex guard;
  multiply(MatrixView::of(a), MatrixView::of(b), Format::float32, [&](const ProductBlock& block) {
    const std::lock_guard lock(guard);
    seen.narrow(0, block.row, block.rows).narrow(1, block.col, block.cols) += 1;
    c.narrow(0, block.row, block.rows)
        .narrow(1, block.col, block.cols)
        .copy_(at::from_blob(block.data, {block.rows, block.cols}, {block.stride, 1}));
  });
  EXPECT_TRUE(seen.eq(1).all().item<bool>());
  EXPECT_LT(distance(c, at::mm(a.to(at::kDouble), b.to(at::kDouble))), 1e-6);
}

TEST(Product, SameBitsAgainAndOnOtherCuts) {
  const Tensor a = torch::randn({1000, 513}), b = torch::randn({513, 190});
  for (const Format format : {Format::float32, Format::bfloat16}) {
    const auto once = [&] { return product(MatrixView::of(a), MatrixView::of(b), format); };
    const Tensor first = once();
    EXPECT_TRUE(first.equal(once()));
    const PackedMatrix packed(MatrixView::of(b), format);
    Tensor kept = torch::empty_like(first);
    multiply(MatrixView::of(a), packed, [&](const ProductBlock& block) {
      copy_rows({block.data, at::kFloat, block.rows, block.cols, block.stride, 1},
                kept.mutable_data_ptr<float>() + block.row * 190 + block.col, 190, 0);
    });
    EXPECT_TRUE(first.equal(kept)) << "packed before";
  }
}

TEST(Product, RunsInsideOfAParallelRegion) {
  const Tensor a = torch::randn({200, 100}), b = torch::randn({100, 90});
  const Tensor alone = product(MatrixView::of(a), MatrixView::of(b), Format::float32);
  std::array<Tensor, 4> each;
  at::parallel_for(0, 4, 1, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i)
      each[static_cast<size_t>(i)] = product(MatrixView::of(a), MatrixView::of(b), Format::float32);
  });
  for (const Tensor& c : each) EXPECT_LT(distance(c, alone.to(at::kDouble)), 1e-6);
}

TEST(Product, RoundsResultsToNearest) {
  const Tensor a = torch::randn({100, 64}), b = torch::randn({64, 64});
  const Tensor wide = product(MatrixView::of(a), MatrixView::of(b), Format::float32);
  EXPECT_TRUE(
      product(MatrixView::of(a), MatrixView::of(b), Format::float32, at::kBFloat16).equal(wide.to(at::kBFloat16)));
}

TEST(Product, TakesItsOwnPathWhereTheProcessorHasIt) {
  if (!has_block_kernels()) GTEST_SKIP() << "no AVX-512";
  watch_paths(true);
  for (const auto& [M, N, K] : {ProductCase{1024, 64, 64}, {4096, 256, 256}, {2048, 512, 512}})
    for (const Format format : {Format::float32, Format::bfloat16}) {
      const Tensor a = torch::randn({M, K}), b = torch::randn({K, N});
      product(MatrixView::of(a), MatrixView::of(b), format);
    }
  const auto paths = paths_taken();
  watch_paths(false);
  EXPECT_EQ(paths.at("product"), (std::map<std::string, int64_t>{{"own: float32", 3}, {"own: bfloat16", 3}}));
}

TEST(ProductCopies, RowsAndPanels) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16})
    for (int layout = 0; layout < 4; ++layout)
      for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>(1, 1), {7, 5}, {16, 16}, {131, 35}, {34, 300}}) {
        const Tensor m = laid_out(layout, rows, cols, type);
        const int64_t wide = cols + 4, pairs = (rows + 1) / 2;
        const auto padded = [&](at::ScalarType to, int64_t height) {
          Tensor all = torch::zeros({height, wide}, at::TensorOptions().dtype(to));
          all.narrow(0, 0, rows).narrow(1, 0, cols).copy_(m);
          return all;
        };
        Tensor plain = torch::full({rows, wide}, -1, at::kFloat);
        copy_rows(MatrixView::of(m), plain.mutable_data_ptr<float>(), wide, wide);
        EXPECT_TRUE(plain.equal(padded(at::kFloat, rows)));
        Tensor narrow = torch::full({rows, wide}, -1, at::kBFloat16);
        copy_rows(MatrixView::of(m), narrow.mutable_data_ptr<c10::BFloat16>(), wide, wide);
        EXPECT_TRUE(narrow.equal(padded(at::kBFloat16, rows)));
        Tensor panel = torch::full({pairs, wide, 2}, -1, at::kBFloat16);
        copy_panel(MatrixView::of(m), panel.mutable_data_ptr<c10::BFloat16>(), wide, wide);
        EXPECT_TRUE(panel.equal(padded(at::kBFloat16, 2 * pairs).view({pairs, 2, wide}).transpose(1, 2)))
            << layout << " " << rows << "x" << cols;
      }
}

TEST(Processor, RefusesWhatItDoesNotHave) {
  EXPECT_EQ(available_isas().back(), detected_isa());
  EXPECT_EQ(isa_name(Isa::avx512_bf16), "avx512_bf16");
  if (detected_isa() == Isa::amx) return;
  EXPECT_THROW(force_isa(Isa::amx), Error);
}

}  // namespace
}  // namespace etude
