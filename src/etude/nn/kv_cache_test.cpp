// S slots, R rows, T tokens, D model width, H query heads, G key/value heads, E head width, V vocabulary.

#include "etude/nn/kv_cache.h"

#include <algorithm>
#include <cmath>

#include "etude/nn/attention.h"
#include "etude/nn/decoder.h"
#include "etude/nn/testing.h"

namespace etude {
namespace {

using test::distance;
using test::random;

/// A sequence's queries, keys and values for n tokens, [1, n, heads, E].
struct Sequence {
  Tensor q, k, v;
  Sequence(const std::string& name, int64_t n, int64_t H, int64_t G, int64_t E)
      : q(random({1, n, H, E}, name + " q")),
        k(random({1, n, G, E}, name + " k")),
        v(random({1, n, G, E}, name + " v")) {}
  /// Token t attends to tokens 0 .. t: the formula, for one token.
  Tensor by_formula(int64_t t) const {
    const int64_t H = q.size(2), E = q.size(3), n = H / k.size(2);
    Tensor y_HE = at::empty({H, E}, at::kDouble);
    for (int64_t h = 0; h < H; ++h) {
      const Tensor keys = k[0].narrow(0, 0, t + 1).select(1, h / n), seen = v[0].narrow(0, 0, t + 1).select(1, h / n);
      const Tensor weight = (keys.mv(q[0][t][h]) / std::sqrt(static_cast<double>(E))).exp();
      y_HE[h] = weight.unsqueeze(1).mul(seen).sum(0) / weight.sum();
    }
    return y_HE;
  }
  Sequence part(int64_t begin, int64_t count) const {
    Sequence some = *this;
    for (Tensor* x : {&some.q, &some.k, &some.v}) *x = x->narrow(1, begin, count);
    return some;
  }
};

Tensor attend(KvCache& cache, const std::vector<Sequence>& rows, const std::string& layer = "layer") {
  const at::NoGradGuard no_grad;
  std::vector<Tensor> q, k, v;
  for (const Sequence& row : rows) {
    q.push_back(row.q);
    k.push_back(row.k);
    v.push_back(row.v);
  }
  return cache.attend(layer, at::cat(q), at::cat(k), at::cat(v));
}

class CachedHeads : public ::testing::TestWithParam<std::pair<int64_t, int64_t>> {};

TEST_P(CachedHeads, EveryTokenSeesItsOwnSequenceUpToItself) {
  const auto [H, G] = GetParam();
  const Sequence a("a", 150, H, G, 4), b("b", 90, H, G, 4);
  KvCache cache(3);
  EXPECT_TRUE(at::equal(cache.extend({2}, 60), at::arange(60).unsqueeze(0)));
  Tensor got = attend(cache, {a.part(0, 60)});
  for (const int64_t t : {0, 30, 59}) EXPECT_LT(distance(got[0][t], a.by_formula(t)), 1e-12);
  cache.extend({0}, 1);
  got = attend(cache, {b.part(0, 1)});
  EXPECT_LT(distance(got[0][0], b.by_formula(0)), 1e-12);
  // Both grow past a multiple of 64, at different times, and the room grows with them.
  for (int64_t i = 0; i < 80; ++i) {
    EXPECT_TRUE(at::equal(cache.extend({0, 2}, 1), at::tensor({1 + i, 60 + i}, at::kLong).unsqueeze(1)));
    got = attend(cache, {b.part(1 + i, 1), a.part(60 + i, 1)});
    ASSERT_LT(distance(got[0][0], b.by_formula(1 + i)), 1e-12) << i;
    ASSERT_LT(distance(got[1][0], a.by_formula(60 + i)), 1e-12) << i;
  }
  // Several tokens after what is there.
  cache.extend({2, 0}, 9);
  got = attend(cache, {a.part(140, 9), b.part(81, 9)});
  for (int64_t t = 0; t < 9; ++t) {
    EXPECT_LT(distance(got[0][t], a.by_formula(140 + t)), 1e-12);
    EXPECT_LT(distance(got[1][t], b.by_formula(81 + t)), 1e-12);
  }
  EXPECT_EQ(cache.length(0), 90);
  EXPECT_EQ(cache.length(1), 0);
  EXPECT_EQ(cache.length(2), 149);
}

INSTANTIATE_TEST_SUITE_P(All, CachedHeads,
                         ::testing::Values(std::pair<int64_t, int64_t>{2, 2}, std::pair<int64_t, int64_t>{4, 2},
                                           std::pair<int64_t, int64_t>{3, 1}),
                         [](const auto& example) {
                           return std::to_string(example.param.first) + "_queries_" +
                                  std::to_string(example.param.second) + "_keys";
                         });

TEST(KvCache, AClearedSlotForgetsItsSequence) {
  const Sequence a("a", 20, 2, 2, 4), b("b", 8, 2, 2, 4);
  KvCache cache(1);
  cache.extend({0}, 20);
  attend(cache, {a});
  cache.clear(0);
  cache.extend({0}, 3);
  attend(cache, {b.part(0, 3)});
  cache.extend({0}, 1);
  EXPECT_LT(distance(attend(cache, {b.part(3, 1)})[0][0], b.by_formula(3)), 1e-12);
}

TEST(KvCache, ARowHasTheSameBitsWhateverItsNeighboursAndSlot) {
  const auto grown = [](int64_t slots, int64_t own, int64_t others) {
    KvCache cache(slots);
    std::vector<Sequence> rows;
    std::vector<int64_t> all;
    for (int64_t s = 0; s < slots; ++s) {
      all.push_back(s);
      const Sequence sequence(s == own ? "own" : "other" + std::to_string(s), 140, 4, 2, 8);
      const int64_t prompt = s == own ? 61 : 1 + (others * (s + 1)) % 70;
      cache.extend({s}, prompt);
      attend(cache, {sequence.part(0, prompt)});
      rows.push_back(sequence);
    }
    std::vector<Tensor> got;
    for (int64_t i = 0; i < 9; ++i) {
      std::vector<Sequence> next;
      for (int64_t s = 0; s < slots; ++s) next.push_back(rows[static_cast<size_t>(s)].part(cache.length(s), 1));
      cache.extend(all, 1);
      got.push_back(attend(cache, next)[own]);
    }
    return at::cat(got);
  };
  const Tensor alone = grown(1, 0, 0);
  for (const int64_t own : {0, 2, 3})
    for (const int64_t others : {0, 11, 60}) EXPECT_TRUE(at::equal(grown(4, own, others), alone)) << own << others;
}

TEST(KvCache, TakesMemoryAsItGrows) {
  KvCache cache(2);
  EXPECT_EQ(cache.bytes(), 0);
  cache.extend({1}, 5);
  attend(cache, {Sequence("a", 5, 4, 2, 8)});
  EXPECT_EQ(cache.bytes(), 2 * 2 * 64 * 2 * 8 * 8);  // keys and values, slots, places, heads, width, float64
  cache.extend({1}, 60);
  attend(cache, {Sequence("b", 60, 4, 2, 8)});
  EXPECT_EQ(cache.bytes(), 2 * 2 * 128 * 2 * 8 * 8);
}

TEST(KvCache, MisuseIsAnError) {
  KvCache cache(2);
  EXPECT_NE(test::error_of([&] { attend(cache, {Sequence("a", 1, 1, 1, 2)}); }).message().find("extend() announces"),
            std::string::npos);
  EXPECT_NE(test::error_of([&] {
              cache.extend({1, 1}, 1);
            })
                .message()
                .find("a slot is in two rows"),
            std::string::npos);
  cache.extend({0}, 1);
  const Sequence one("a", 1, 1, 1, 2);
  EXPECT_NE(test::error_of([&] { cache.attend("layer", one.q, one.k, one.v); }).message().find("has no gradient"),
            std::string::npos);
}

std::shared_ptr<Decoder> small_decoder(at::ScalarType type) {
  DecoderOptions options;
  options.vocab = 19;
  options.dim = 16;
  options.heads = 4;
  options.kv_heads = 2;
  options.length = 96;
  options.init_std = 0.3;
  auto net = make_decoder(options);
  net->initialise(5);
  net->to(type);
  return net;
}

class CachedDecoder : public ::testing::TestWithParam<std::pair<at::ScalarType, double>> {};

TEST_P(CachedDecoder, GivesTheLogitsOfAllTokensAtOnce) {
  const auto [type, tolerance] = GetParam();
  const at::NoGradGuard no_grad;
  const auto net = small_decoder(type);
  const Tensor ids_BT = (at::arange(2 * 80).mul(7).remainder(19)).view({2, 80});
  Ctx plain;
  const Tensor expected_BTV = net->logits(ids_BT, {}, {}, plain);
  KvCache cache(2);
  Ctx ctx;
  ctx.cache = &cache;
  const auto ids = [&](int64_t b, int64_t begin, int64_t count) {
    return ids_BT.narrow(0, b, 1).narrow(1, begin, count);
  };
  const auto near = [&](const Tensor& a, const Tensor& b) { return distance(a.to(at::kDouble), b.to(at::kDouble)); };
  EXPECT_LT(near(net->next_logits(ids(0, 0, 50), cache.extend({0}, 50), ctx)[0], expected_BTV[0][49]), tolerance);
  EXPECT_LT(near(net->logits(ids(1, 0, 7), cache.extend({1}, 7), {}, ctx)[0], expected_BTV[1].narrow(0, 0, 7)),
            tolerance);
  for (int64_t i = 0; i < 30; ++i) {
    const Tensor next_21 = at::cat({ids(0, 50 + i, 1), ids(1, 7 + i, 1)});
    const Tensor logits_BV = net->next_logits(next_21, cache.extend({0, 1}, 1), ctx);
    ASSERT_LT(near(logits_BV[0], expected_BTV[0][50 + i]), tolerance) << i;
    ASSERT_LT(near(logits_BV[1], expected_BTV[1][7 + i]), tolerance) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(All, CachedDecoder,
                         ::testing::Values(std::pair{at::kDouble, 1e-12}, std::pair{at::kFloat, 2e-5},
                                           std::pair{at::kBFloat16, 0.25}),
                         [](const auto& example) { return std::string(at::toString(example.param.first)); });

TEST(CachedDecoder, RefusesPositionsBeyondItsLength) {
  const at::NoGradGuard no_grad;
  const auto net = small_decoder(at::kFloat);
  KvCache cache(1);
  Ctx ctx;
  ctx.cache = &cache;
  net->next_logits(at::zeros({1, 96}, at::kLong), cache.extend({0}, 96), ctx);
  const Error error = test::error_of([&] {
    net->next_logits(at::zeros({1, 1}, at::kLong), cache.extend({0}, 1), ctx);
  });
  EXPECT_NE(error.message().find("position_BT holds 96, outside 0 to 95"), std::string::npos) << error.what();
}

}  // namespace
}  // namespace etude
