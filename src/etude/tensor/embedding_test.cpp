// V rows of the table, D width, N ids.

#include "etude/tensor/embedding.h"

#include "etude/base/error.h"
#include "etude/tensor/rows_testing.h"

namespace etude {
namespace {

using test::in_layout;
using test::normal_rows;
using test::relative_distance;

/// Half of them one and the same, as in texts; some never.
Tensor skewed_ids(at::IntArrayRef sizes, int64_t V, uint64_t seed) {
  const Tensor ids = at::empty(sizes, at::kLong);
  Rng rng(Key{.seed = seed, .purpose = Purpose::test});
  for (int64_t n = 0; n < ids.numel(); ++n) ids.data_ptr<int64_t>()[n] = rng.below(2) == 0 ? V / 3 : rng.below(V);
  return ids;
}

Tensor table_gradient_of(const Tensor& weight_VD, const Tensor& ids, const Tensor& gradient) {
  const Tensor leaf = weight_VD.detach().requires_grad_();
  embed_ids(leaf, ids).backward(gradient);
  return leaf.grad();
}

TEST(EmbedIds, GivesRowsAndTheirGradient) {
  struct Case {
    int64_t V, D;
    std::vector<int64_t> sizes;
  };
  const std::vector<Case> cases{{1, 1, {1}},       {7, 3, {2, 5}},    {50, 65, {0}},  {4, 64, {3, 1, 9}},
                                {1000, 130, {37}}, {300, 17, {4, 0}}, {9, 256, {700}}};
  uint64_t seed = 0;
  for (const Case& c : cases)
    for (int layout = 0; layout < 2; ++layout)
      test::with_each_isa([&] {
        SCOPED_TRACE(testing::Message() << c.V << " x " << c.D << ", layout " << layout);
        const Tensor weight_VD = in_layout(normal_rows({c.V, c.D}, at::kFloat, ++seed, "table"), layout);
        const Tensor ids = skewed_ids(c.sizes, c.V, seed);
        const Tensor got = embed_ids(weight_VD, ids);
        EXPECT_TRUE(at::equal(got, weight_VD.index({ids})));
        const Tensor g = in_layout(normal_rows(got.sizes(), at::kFloat, seed, "gradient"), layout);
        const Tensor expected_VD = at::zeros({c.V, c.D}, at::kDouble)
                                       .index_add_(0, ids.reshape({-1}), g.to(at::kDouble).reshape({ids.numel(), c.D}));
        EXPECT_LE(relative_distance(table_gradient_of(weight_VD, ids, g), expected_VD), 1e-6);
      });
}

TEST(EmbedIds, TakesIdsAndGradientsOfAnyStrides) {
  const Tensor weight_VD = normal_rows({11, 70}, at::kFloat, 1, "table"), ids = skewed_ids({5, 8}, 11, 2).t();
  EXPECT_TRUE(at::equal(embed_ids(weight_VD, ids), weight_VD.index({ids})));
  const Tensor one = at::ones({1, 1, 1}).expand({8, 5, 70});
  const Tensor counts_V = at::zeros({11}).index_add_(0, ids.reshape({-1}), at::ones({40}));
  EXPECT_TRUE(at::equal(table_gradient_of(weight_VD, ids, one), counts_V.unsqueeze(1).expand({11, 70})));
}

TEST(EmbedIds, TheGradientHasTheSameBitsForAnyNumberOfThreads) {
  const int threads = at::get_num_threads();
  for (const int64_t D : {256, 96, 40}) {
    const Tensor weight_VD = at::zeros({500, D}), ids = skewed_ids({4000}, 500, 3);
    const Tensor g = normal_rows({4000, D}, at::kFloat, 4, "gradient");
    at::set_num_threads(1);
    const Tensor alone = table_gradient_of(weight_VD, ids, g);
    for (const int count : {2, 3, 7}) {
      at::set_num_threads(count);
      EXPECT_TRUE(at::equal(table_gradient_of(weight_VD, ids, g), alone)) << count << " threads, width " << D;
    }
    at::set_num_threads(threads);
  }
}

TEST(EmbedIds, IsDifferentiableTwice) {
  const Tensor weight_VD = normal_rows({6, 4}, at::kFloat, 5, "table").requires_grad_();
  const Tensor ids = skewed_ids({9}, 6, 6);
  const auto cubes = [&](const Tensor& rows) { return rows.pow(3).sum(); };
  const auto gradient_of = [&](const Tensor& value) {
    return torch::autograd::grad({value}, {weight_VD}, {}, std::nullopt, /*create_graph=*/true).at(0);
  };
  const Tensor second = gradient_of(gradient_of(cubes(embed_ids(weight_VD, ids))).pow(2).sum());
  const Tensor expected = gradient_of(gradient_of(cubes(at::embedding(weight_VD, ids))).pow(2).sum());
  EXPECT_LE(relative_distance(second.detach(), expected.detach()), 1e-5);
}

TEST(EmbedIds, TakesTheOwnWayWhereItMay) {
  const auto one_backward = [](const Tensor& weight_VD) {
    return [=] { embed_ids(weight_VD.detach().requires_grad_(), at::arange(8)).sum().backward(); };
  };
  const auto own = std::map<std::string, int64_t>{{"own: float32", 1}};
  EXPECT_EQ(test::paths_of("embedding", one_backward(at::zeros({4096, 256}))), own);
  EXPECT_EQ(test::paths_of("embedding backward", one_backward(at::zeros({8192, 512}))), own);
  const auto wide = test::paths_of("embedding", one_backward(at::zeros({8, 4}, at::kDouble)));
  EXPECT_EQ(wide, (std::map<std::string, int64_t>{{"aten: type", 1}}));
  const Tensor meta =
      embed_ids(at::zeros({8, 4}, at::kMeta), at::zeros({3}, at::TensorOptions(at::kMeta).dtype(at::kLong)));
  EXPECT_EQ(meta.sizes(), (std::vector<int64_t>{3, 4}));
}

TEST(RequireBelow, NamesTheFirstValueOutside) {
  const Tensor values = at::arange(12).view({3, 4}).clone();
  EXPECT_NO_THROW(require_below(values, 12, "ids", ""));
  EXPECT_NO_THROW(require_below(values.narrow(1, 0, 0), 0, "ids", ""));
  const auto refused = [&](const Tensor& v, int64_t limit, std::optional<int64_t> except) {
    try {
      require_below(v, limit, "ids", "the hint", except);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Code::data);
      EXPECT_EQ(e.hint(), "the hint");
      return e.message() + " (" + e.where() + ")";
    }
    return std::string("nothing");
  };
  EXPECT_EQ(refused(values, 6, {}), "ids holds 6, outside 0 to 5 (ids[1, 2])");
  EXPECT_EQ(refused(values.t(), 6, {}), "ids holds 8, outside 0 to 5 (ids[0, 2])");
  values[2][1] = -1;
  EXPECT_EQ(refused(values, 12, {}), "ids holds -1, outside 0 to 11 (ids[2, 1])");
  EXPECT_EQ(refused(values, 12, -1), "nothing");
  values[2][1] = -2;
  EXPECT_EQ(refused(values, 12, -1), "ids holds -2, outside 0 to 11 (ids[2, 1])");
}

}  // namespace
}  // namespace etude
