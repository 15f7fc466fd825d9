// B batch, T time, D model width, H query heads, G key/value heads, E head width.

#include "etude/nn/attention.h"

#include <cmath>

#include "etude/nn/testing.h"

namespace etude {
namespace {

using test::distance;
using test::random;

/// Softmax attention by its formula, one query at a time.
Tensor by_formula(const Tensor& q_BTHE, const Tensor& k_BTGE, const Tensor& v_BTGE, const Tensor& segment_BT) {
  const int64_t B = q_BTHE.size(0), T = q_BTHE.size(1), H = q_BTHE.size(2), E = q_BTHE.size(3);
  const int64_t per_group = H / k_BTGE.size(2);
  const Tensor y = at::zeros_like(q_BTHE);
  for (int64_t b = 0; b < B; ++b)
    for (int64_t h = 0; h < H; ++h)
      for (int64_t t = 0; t < T; ++t) {
        const int64_t g = h / per_group;
        double sum = 0;
        Tensor value = at::zeros({E}, at::kDouble);
        for (int64_t s = 0; s <= t; ++s) {
          if (segment_BT.defined() && segment_BT[b][s].item<int64_t>() != segment_BT[b][t].item<int64_t>()) continue;
          const double score = q_BTHE[b][t][h].dot(k_BTGE[b][s][g]).item<double>() / std::sqrt(static_cast<double>(E));
          sum += std::exp(score);
          value += std::exp(score) * v_BTGE[b][s][g];
        }
        y[b][t][h].copy_(value / sum);
      }
  return y;
}

struct Case {
  int64_t H, G;
  bool packed;
};

class AttentionCases : public ::testing::TestWithParam<Case> {};

TEST_P(AttentionCases, IsSoftmaxOfScaledProducts) {
  const auto [H, G, packed] = GetParam();
  const Tensor q = random({2, 6, H, 4}, "q"), k = random({2, 6, G, 4}, "k"), v = random({2, 6, G, 4}, "v");
  const Tensor segment = packed ? at::tensor({0, 0, 1, 1, 1, 2, 3, 3, 3, 3, 3, 3}, at::kLong).view({2, 6}) : Tensor();
  const AttentionMask mask = causal_mask(segment);
  EXPECT_EQ(mask.first_BT.defined(), packed);
  EXPECT_LT(distance(attention(q, k, v, mask), by_formula(q, k, v, segment)), 1e-12);
  test::expect_gradients([&] { return attention(q, k, v, mask); }, {q, k, v});
}

INSTANTIATE_TEST_SUITE_P(All, AttentionCases,
                         ::testing::Values(Case{2, 2, false}, Case{4, 2, false}, Case{3, 1, false}, Case{2, 2, true},
                                           Case{4, 2, true}),
                         [](const auto& example) {
                           return std::to_string(example.param.H) + "_queries_" + std::to_string(example.param.G) +
                                  "_keys" + (example.param.packed ? "_packed" : "");
                         });

Tensor table(at::IntArrayRef numbers, int64_t rows) { return at::tensor(numbers, at::kLong).view({rows, -1}); }

TEST(Attention, DocumentsBeginAndEndWhereTheNumberChanges) {
  const Tensor segment = table({5, 5, 2, 2, 2, 7, 0, 1, 1, 0, 0, 0}, 2);
  const Tensor first = table({0, 0, 2, 2, 2, 5, 0, 1, 1, 3, 3, 3}, 2);
  const Tensor end = table({2, 2, 5, 5, 5, 6, 1, 3, 3, 6, 6, 6}, 2);
  for (const Tensor& same : {segment, segment.to(at::kInt), segment.t().contiguous().t()}) {
    const Documents found = documents(same);
    EXPECT_TRUE(at::equal(found.first_BT, first));
    EXPECT_TRUE(at::equal(found.end_BT, end));
  }
  EXPECT_EQ(documents(at::zeros({2, 0}, at::kLong)).end_BT.sizes(), at::IntArrayRef({2, 0}));
  EXPECT_EQ(documents(segment.to(at::kMeta)).first_BT.sizes(), segment.sizes());
}

TEST(Attention, OneSegmentPerRowNeedsNoMask) {
  const Tensor segment = table({3, 3, 3, 0, 0, 0}, 2);
  EXPECT_FALSE(causal_mask(segment).first_BT.defined());
  EXPECT_FALSE(causal_mask(Tensor()).first_BT.defined());
  EXPECT_FALSE(causal_mask(at::zeros({2, 0}, at::kLong)).first_BT.defined());
  EXPECT_TRUE(causal_mask(segment.t().contiguous()).first_BT.defined());
}

TEST(Attention, BlockIsProjectionsRotationAndHeadsSideBySide) {
  const int64_t D = 8, H = 4, G = 2, E = 2, T = 5;
  auto block = std::make_shared<Attention>("self_attn", AttentionShape{.dim = D, .heads = H, .kv_heads = G});
  block->to(at::kDouble);
  {
    at::NoGradGuard no_grad;
    for (const auto& p : block->named_parameters()) p.value().copy_(random(p.value().sizes(), p.key(), 0.5));
  }
  EXPECT_EQ(block->named_parameters().keys(),
            (std::vector<std::string>{"q_proj.weight", "k_proj.weight", "v_proj.weight", "o_proj.weight"}));
  Rotary rotary(E, T, 10000);
  const Tensor x = random({2, T, D}, "x");
  const Rotation rotation = rotary.from_start(T, x.options());
  Taps taps;
  taps.wanted = {"self_attn.q_proj.output", "self_attn.o_proj.input"};
  Ctx ctx;
  ctx.taps = &taps;
  const Tensor y = block->forward(x, rotation, {}, ctx);
  const Tensor q = rotate(at::linear(x, block->q_proj->weight).view({2, T, H, E}), rotation);
  const Tensor k = rotate(at::linear(x, block->k_proj->weight).view({2, T, G, E}), rotation);
  const Tensor v = at::linear(x, block->v_proj->weight).view({2, T, G, E});
  const Tensor heads = by_formula(q.detach(), k.detach(), v.detach(), Tensor()).reshape({2, T, D});
  EXPECT_LT(distance(y, at::linear(heads, block->o_proj->weight)), 1e-12);
  EXPECT_LT(distance(taps.got.at("self_attn.o_proj.input"), heads), 1e-12);
  EXPECT_EQ(taps.got.size(), 2u);
  EXPECT_EQ(block->flops_per_token(), 2.0 * (64 + 32 + 32 + 64));
  std::vector<Tensor> inputs = block->parameters();
  inputs.push_back(x);
  test::expect_gradients([&] { return block->forward(x, rotation, {}, ctx); }, inputs);
}

}  // namespace
}  // namespace etude
