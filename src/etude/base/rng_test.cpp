#include "etude/base/rng.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

namespace etude::rng_test {
namespace {

Rng test_rng(int64_t item = 0) { return Rng({42, Purpose::test, 0, item}); }

TEST(Philox, MatchesThePublishedVectors) {
  // Random123's kat_vectors, philox4x32 with 10 rounds.
  using Words = std::array<uint32_t, 4>;
  constexpr uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Rng, StoredRunsDependOnTheseNumbers) {
  // Not derived: they pin the mapping from keys to streams, which must never change.
  Rng rng({1, Purpose::shuffle, 2, 3});
  const std::array<uint32_t, 3> first = {rng.bits32(), rng.bits32(), rng.bits32()};
  EXPECT_EQ(first, (std::array<uint32_t, 3>{0x0b4a4e88, 0x02581467, 0x09503b0d}));
  EXPECT_EQ(stable_hash("etude"), 0x518becacb861b89eu);
  EXPECT_EQ(permuted(5, 1000, {1, Purpose::shuffle, 2, 3}), 13);
}

TEST(StableHash, IsFnv1aAndAFinaliser) {
  // FNV-1a of "a" is 0xaf63dc4c8601ec8c; the finaliser is Murmur3's.
  uint64_t x = 0xaf63dc4c8601ec8c;
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccd;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53;
  x ^= x >> 33;
  EXPECT_EQ(stable_hash("a"), x);
}

TEST(Rng, SameKeySameStream) {
  Rng a({7, Purpose::mask, 8, 9}), b({7, Purpose::mask, 8, 9});
  for (int i = 0; i < 100; ++i) EXPECT_EQ(a.bits64(), b.bits64());
}

/// Correlation of the uniforms of two streams.
double correlation(Rng a, Rng b) {
  constexpr int kDraws = 4000;
  double sum = 0;
  for (int i = 0; i < kDraws; ++i) sum += (a.uniform() - 0.5) * (b.uniform() - 0.5);
  return 12 * sum / kDraws;
}

TEST(Rng, KeysThatDifferInOneFieldAreIndependent) {
  const Key base{1, Purpose::mask, 100, 1000};
  std::vector<Key> keys = {base};
  for (int bit = 0; bit < 63; ++bit) {
    Key key = base;
    key.seed ^= uint64_t{1} << bit;
    keys.push_back(key);
    key = base;
    key.step ^= int64_t{1} << bit;
    keys.push_back(key);
    key = base;
    key.item ^= int64_t{1} << bit;
    keys.push_back(key);
  }
  for (uint32_t purpose = 1; purpose <= 12; ++purpose) {
    Key key = base;
    key.purpose = static_cast<Purpose>(purpose);
    if (key.purpose != base.purpose) keys.push_back(key);
  }
  std::set<uint64_t> first;
  for (const Key& key : keys) first.insert(Rng(key).bits64());
  EXPECT_EQ(first.size(), keys.size());
  for (size_t i = 1; i < keys.size(); ++i) {
    // One standard deviation is 1 / sqrt(4000) = 0.016.
    EXPECT_LT(std::abs(correlation(Rng(base), Rng(keys[i]))), 0.08) << i;
  }
}

TEST(Rng, StepAndItemAreNotInterchangeable) {
  EXPECT_NE(Rng({1, Purpose::mask, 2, 3}).bits64(), Rng({1, Purpose::mask, 3, 2}).bits64());
}

TEST(Rng, ForksAreIndependentAndDontAdvance) {
  Rng parent = test_rng();
  const uint64_t first = Rng(parent).bits64();
  EXPECT_EQ(parent.fork(1).bits64(), parent.fork(1).bits64());
  EXPECT_EQ(parent.bits64(), first);
  EXPECT_EQ(parent.fork(1).bits64(), test_rng().fork(1).bits64());  // wherever the parent stands
  EXPECT_EQ(parent.fork("a").bits64(), parent.fork(stable_hash("a")).bits64());
  std::set<uint64_t> seen = {first};
  for (uint64_t salt = 0; salt < 1000; ++salt) {
    seen.insert(parent.fork(salt).bits64());
    seen.insert(parent.fork(salt).fork(salt).bits64());
  }
  EXPECT_EQ(seen.size(), 2001u);
  for (uint64_t salt = 0; salt < 50; ++salt) {
    EXPECT_LT(std::abs(correlation(test_rng(), parent.fork(salt))), 0.08);
    EXPECT_LT(std::abs(correlation(parent.fork(salt), parent.fork(salt + 1))), 0.08);
  }
}

TEST(Rng, PurposesOfNamesAreTheirOwn) {
  EXPECT_EQ(purpose_of("noloco.pairing"), purpose_of("noloco.pairing"));
  EXPECT_NE(purpose_of("noloco.pairing"), purpose_of("diloco.pairing"));
  for (const char* name : {"a", "b", "noloco"}) EXPECT_GT(static_cast<uint32_t>(purpose_of(name)), 1000u);
}

TEST(Rng, SeekReturnsToAnyPosition) {
  Rng rng = test_rng();
  std::vector<uint32_t> words;
  for (int i = 0; i < 30; ++i) {
    EXPECT_EQ(rng.position(), static_cast<uint64_t>(i));
    words.push_back(rng.bits32());
  }
  for (const int i : {0, 1, 2, 3, 4, 7, 8, 29}) {
    rng.seek(static_cast<uint64_t>(i));
    EXPECT_EQ(rng.position(), static_cast<uint64_t>(i));
    EXPECT_EQ(rng.bits32(), words[static_cast<size_t>(i)]);
  }
  rng.seek(uint64_t{1} << 40);  // far beyond 32 bits of blocks
  const uint32_t far = rng.bits32();
  rng.seek((uint64_t{1} << 40) - 3);
  (void)rng.bits64();
  (void)rng.bits32();
  EXPECT_EQ(rng.bits32(), far);
}

struct Moments {
  double mean = 0, variance = 0, skew = 0, kurtosis = 0;
};

template <class Draw>
Moments moments(int n, Draw draw) {
  std::vector<double> xs(static_cast<size_t>(n));
  for (double& x : xs) x = draw();
  Moments m;
  for (const double x : xs) m.mean += x / n;
  for (const double x : xs) m.variance += (x - m.mean) * (x - m.mean) / n;
  for (const double x : xs) {
    const double z = (x - m.mean) / std::sqrt(m.variance);
    m.skew += z * z * z / n;
    m.kurtosis += z * z * z * z / n;
  }
  return m;
}

constexpr int kMany = 400000;  // bounds below are about five standard deviations

TEST(Rng, UniformHasItsMoments) {
  Rng rng = test_rng(1);
  double least = 1, most = 0;
  const Moments m = moments(kMany, [&] {
    const double x = rng.uniform();
    least = std::min(least, x);
    most = std::max(most, x);
    return x;
  });
  EXPECT_NEAR(m.mean, 0.5, 0.0023);
  EXPECT_NEAR(m.variance, 1 / 12.0, 0.0006);
  EXPECT_NEAR(m.kurtosis, 1.8, 0.01);
  EXPECT_GE(least, 0);
  EXPECT_LT(most, 1);
  EXPECT_LT(least, 1e-4);
  EXPECT_GT(most, 1 - 1e-4);
}

TEST(Rng, NormalHasItsMoments) {
  Rng rng = test_rng(2);
  const Moments m = moments(kMany, [&] { return rng.normal(); });
  EXPECT_NEAR(m.mean, 0, 0.008);
  EXPECT_NEAR(m.variance, 1, 0.011);
  EXPECT_NEAR(m.skew, 0, 0.02);
  EXPECT_NEAR(m.kurtosis, 3, 0.04);
}

TEST(Rng, NormalAndExponentialFollowTheirFormulas) {
  Rng rng = test_rng(8), twin = test_rng(8);
  for (int i = 0; i < 100; ++i) {
    const double u = twin.uniform(), v = twin.uniform();
    EXPECT_NEAR(rng.normal(), std::sqrt(-2 * std::log(1 - u)) * std::cos(6.283185307179586 * v), 1e-12);
    EXPECT_NEAR(rng.exponential(), -std::log(1 - twin.uniform()), 1e-12);
  }
  EXPECT_EQ(rng.position(), twin.position());
}

TEST(Rng, ExponentialHasItsMoments) {
  Rng rng = test_rng(3);
  const Moments m = moments(kMany, [&] { return rng.exponential(); });
  EXPECT_NEAR(m.mean, 1, 0.008);
  EXPECT_NEAR(m.variance, 1, 0.023);
  EXPECT_NEAR(m.skew, 2, 0.1);
}

TEST(Rng, BernoulliHitsItsRate) {
  Rng rng = test_rng(4);
  int hits = 0;
  for (int i = 0; i < kMany; ++i) hits += rng.bernoulli(0.3);
  EXPECT_NEAR(hits / double(kMany), 0.3, 0.0037);
  EXPECT_FALSE(rng.bernoulli(0));
  EXPECT_TRUE(rng.bernoulli(1));
}

/// Chi-square of equal cells, in standard deviations from its mean.
double surprise(const std::vector<int>& counts) {
  const double expected = std::accumulate(counts.begin(), counts.end(), 0.0) / double(counts.size());
  double chi = 0;
  for (const int c : counts) chi += (c - expected) * (c - expected) / expected;
  const double freedom = double(counts.size()) - 1;
  return (chi - freedom) / std::sqrt(2 * freedom);
}

std::vector<int> values(const std::map<std::vector<int64_t>, int>& counts) {
  std::vector<int> out;
  out.reserve(counts.size());
  for (const auto& [order, count] : counts) out.push_back(count);
  return out;
}

TEST(Rng, BelowIsUniformWithoutBias) {
  for (const int64_t n : {1, 2, 3, 7, 10, 100}) {
    Rng rng = test_rng(n);
    std::vector<int> counts(static_cast<size_t>(n));
    for (int i = 0; i < 100000; ++i) counts.at(static_cast<size_t>(rng.below(n)))++;
    if (n > 1) {
      EXPECT_LT(surprise(counts), 5) << n;
    }
  }
  // Of 2^64 draws, 8/3 fall on each value: without rejection a modulus favours the low values, and the
  // high word of the product favours two of three residues.
  const int64_t n = int64_t{3} << 61;
  Rng rng = test_rng();
  std::vector<int> thirds(3), residues(3);
  for (int i = 0; i < 30000; ++i) {
    const int64_t x = rng.below(n);
    thirds.at(static_cast<size_t>(x / (n / 3)))++;
    residues.at(static_cast<size_t>(x % 3))++;
  }
  EXPECT_LT(surprise(thirds), 5);
  EXPECT_LT(surprise(residues), 5);
}

TEST(Rng, PermutationsAreUniform) {
  Rng rng = test_rng(5);
  std::map<std::vector<int64_t>, int> seen;
  for (int i = 0; i < 24000; ++i) seen[rng.permutation(4)]++;
  ASSERT_EQ(seen.size(), 24u);
  EXPECT_LT(surprise(values(seen)), 5);
  EXPECT_TRUE(rng.permutation(0).empty());
}

TEST(Rng, FillsEqualSerialDraws) {
  constexpr uint64_t kCarry = (uint64_t{1} << 34) - 77;  // block 2^32 comes within the fill
  for (const uint64_t start : {uint64_t{0}, uint64_t{1}, uint64_t{2}, uint64_t{3}, uint64_t{5}, kCarry}) {
    for (const size_t n : {0u, 1u, 2u, 3u, 63u, 64u, 65u, 200u, 1023u, 1024u, 1025u, 5001u}) {
      Rng filled = test_rng(), serial = test_rng();
      filled.seek(start);
      serial.seek(start);
      std::vector<uint32_t> bits(n);
      std::vector<float> floats(n);
      std::vector<double> doubles(n), normals(n);
      filled.fill_bits(bits);
      filled.fill_uniform(std::span(floats));
      filled.fill_uniform(std::span(doubles));
      filled.fill_normal(std::span(normals));
      for (const uint32_t x : bits) ASSERT_EQ(x, serial.bits32());
      for (const float x : floats) ASSERT_EQ(x, static_cast<float>(serial.bits32() >> 8) / 16777216.0f);
      for (const double x : doubles) ASSERT_EQ(x, serial.uniform());
      for (const double x : normals) ASSERT_EQ(x, serial.normal());
      ASSERT_EQ(filled.position(), serial.position());
    }
  }
}

TEST(Rng, FillNormalOfFloatsIsBoxMuller) {
  constexpr double kPi = 3.14159265358979323846;
  for (const size_t n : {1u, 2u, 7u, 2048u, 2051u}) {
    Rng filled = test_rng(6), serial = test_rng(6);
    std::vector<float> xs(n);
    filled.fill_normal(std::span(xs));
    for (size_t i = 0; i < n; i += 2) {
      const double u = (serial.bits32() + 1.0) / 4294967296.0, v = (serial.bits32() >> 8) / 16777216.0;
      const double radius = std::sqrt(-2 * std::log(u));
      ASSERT_NEAR(xs[i], radius * std::cos(2 * kPi * v), 1e-5);
      if (i + 1 < n) {
        ASSERT_NEAR(xs[i + 1], radius * std::sin(2 * kPi * v), 1e-5);
      }
    }
    EXPECT_EQ(filled.position(), serial.position());
  }
  Rng rng = test_rng(7);
  std::vector<float> xs(kMany);
  rng.fill_normal(std::span(xs));
  size_t i = 0;
  const Moments m = moments(kMany, [&] { return double(xs[i++]); });
  EXPECT_NEAR(m.mean, 0, 0.008);
  EXPECT_NEAR(m.variance, 1, 0.011);
  EXPECT_NEAR(m.kurtosis, 3, 0.04);
  double neighbours = 0;
  for (size_t k = 1; k < xs.size(); ++k) neighbours += double(xs[k]) * xs[k - 1] / kMany;
  EXPECT_NEAR(neighbours, 0, 0.008);
}

TEST(Permuted, IsABijection) {
  for (const int64_t n :
       {1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 16, 17, 31, 32, 33, 97, 255, 256, 257, 1000, 1021, 4096, 10007}) {
    const Permutation permutation(n, {9, Purpose::shuffle, 1, 0});
    std::vector<bool> hit(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) {
      const int64_t j = permutation(i);
      ASSERT_GE(j, 0);
      ASSERT_LT(j, n);
      ASSERT_FALSE(hit[static_cast<size_t>(j)]) << n;
      hit[static_cast<size_t>(j)] = true;
    }
  }
  EXPECT_EQ(permuted(3, 97, {9, Purpose::shuffle, 1, 0}), Permutation(97, {9, Purpose::shuffle, 1, 0})(3));
}

TEST(Permuted, ReachesToTheLargestSets) {
  const int64_t n = INT64_MAX;
  const Permutation permutation(n, {1, Purpose::shuffle, 0, 0});
  std::set<int64_t> seen;
  for (int64_t i = 0; i < 1000; ++i) seen.insert(permutation(i));
  for (int64_t i = n - 1000; i < n; ++i) seen.insert(permutation(i));
  EXPECT_EQ(seen.size(), 2000u);
}

TEST(Permuted, SendsEveryElementEverywhereEquallyOften) {
  for (const int64_t n : {2, 3, 5, 8, 11, 16}) {
    std::vector<int> counts(static_cast<size_t>(n * n));
    for (int64_t key = 0; key < 4000; ++key) {
      const Permutation permutation(n, {3, Purpose::test, key, 0});
      for (int64_t i = 0; i < n; ++i) counts[static_cast<size_t>(i * n + permutation(i))]++;
    }
    EXPECT_LT(std::abs(surprise(counts)), 6) << n;
  }
}

TEST(Permuted, MakesNeighboursStrangers) {
  // Of pairs (p(i), p(i + 1)), as many ascend as descend, and few stay neighbours.
  const int64_t n = 50000;
  const Permutation permutation(n, {5, Purpose::test, 0, 0});
  int ascending = 0, close = 0, fixed = 0;
  for (int64_t i = 0; i + 1 < n; ++i) {
    const int64_t a = permutation(i), b = permutation(i + 1);
    ascending += a < b;
    close += std::abs(a - b) == 1;
    fixed += a == i;
  }
  EXPECT_NEAR(ascending / double(n), 0.5, 0.008);  // variance of ascents is n / 12
  EXPECT_LT(close, 14);                            // expected: 2
  EXPECT_LT(fixed, 9);                             // expected: 1
}

TEST(Permuted, SmallSetsSeeAllOrders) {
  std::map<std::vector<int64_t>, int> seen;
  for (int64_t key = 0; key < 24000; ++key) {
    std::vector<int64_t> order;
    const Permutation permutation(4, {3, Purpose::test, key, 0});
    for (int64_t i = 0; i < 4; ++i) order.push_back(permutation(i));
    seen[order]++;
  }
  ASSERT_EQ(seen.size(), 24u);
  EXPECT_LT(surprise(values(seen)), 6);
}

}  // namespace
}  // namespace etude::rng_test
