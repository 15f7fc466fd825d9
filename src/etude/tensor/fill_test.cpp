#include "etude/tensor/fill.h"

#include "etude/base/torch_pch.h"

#include <gtest/gtest.h>

#include <cmath>

namespace etude {
namespace {

Rng stream() { return Rng(Key{.seed = 9, .purpose = Purpose::test}); }

TEST(Fill, IsTheStreamInLogicalOrder) {
  Rng a = stream(), b = stream();
  const Tensor x = at::empty({3, 4});
  fill_uniform_(x, a, -1, 3);
  std::vector<float> expected(12);
  b.fill_uniform(std::span<float>(expected));
  for (int64_t i = 0; i < 12; ++i)
    EXPECT_EQ(x.flatten()[i].item<float>(), expected[static_cast<size_t>(i)] * 4.0f - 1.0f);
  EXPECT_EQ(a.position(), b.position());
}

TEST(Fill, DoesNotDependOnStrides) {
  Rng a = stream(), b = stream();
  const Tensor plain = at::empty({3, 4}, at::kDouble), turned = at::empty({4, 3}, at::kDouble).t();
  fill_normal_(plain, a, 1, 2);
  fill_normal_(turned, b, 1, 2);
  EXPECT_TRUE(at::equal(plain, turned));
}

TEST(Fill, NarrowTypesRoundWhatFloatsDraw) {
  Rng a = stream(), b = stream();
  const Tensor wide = at::empty({50}), narrow = at::empty({50}, at::kBFloat16);
  fill_normal_(wide, a);
  fill_normal_(narrow, b);
  EXPECT_TRUE(at::equal(wide.to(at::kBFloat16), narrow));
}

TEST(Fill, HasTheMomentsAskedFor) {
  for (const auto type : {at::kFloat, at::kDouble}) {
    Rng rng = stream();
    const Tensor x = at::empty({200000}, type);
    fill_normal_(x, rng, 3, 0.5);
    EXPECT_NEAR(x.mean().item<double>(), 3, 0.006);
    EXPECT_NEAR(x.std().item<double>(), 0.5, 0.005);
    fill_uniform_(x, rng, 2, 4);
    EXPECT_NEAR(x.mean().item<double>(), 3, 0.01);
    EXPECT_NEAR(x.std().item<double>(), 2 / std::sqrt(12.0), 0.006);
    EXPECT_GE(x.min().item<double>(), 2);
    EXPECT_LT(x.max().item<double>(), 4);
  }
}

TEST(Fill, WorksOnParametersAndEmptyTensors) {
  Rng rng = stream();
  const Tensor leaf = at::zeros({2}).requires_grad_(true);
  fill_normal_(leaf, rng);
  EXPECT_TRUE(leaf.is_leaf());
  EXPECT_FALSE(leaf.eq(0).any().item<bool>());
  fill_normal_(at::empty({0}), rng);
}

TEST(TensorHash, IsOfValuesShapeAndDtype) {
  const Tensor x = at::arange(6, at::kFloat).view({2, 3});
  EXPECT_EQ(tensor_hash(x), tensor_hash(x.t().contiguous().t()));
  EXPECT_EQ(tensor_hash(x).size(), 64u);
  EXPECT_NE(tensor_hash(x), tensor_hash(x.view({3, 2})));
  EXPECT_NE(tensor_hash(x), tensor_hash(x.to(at::kDouble)));
  EXPECT_NE(tensor_hash(at::zeros({2})), tensor_hash(-at::zeros({2})));
  EXPECT_NE(tensor_hash(x), tensor_hash(x + 1));
}

TEST(DtypeName, IsPyTorchs) {
  EXPECT_EQ(dtype_name(at::kFloat), "float32");
  EXPECT_EQ(dtype_name(at::kLong), "int64");
  EXPECT_EQ(dtype_name(at::kBFloat16), "bfloat16");
  EXPECT_EQ(dtype_name(at::kBool), "bool");
}

}  // namespace
}  // namespace etude
