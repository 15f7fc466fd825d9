#include "etude/rl/sampling.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <nlohmann/json.hpp>

#include "etude/base/file.h"
#include "etude/base/rng.h"

namespace etude {
namespace {

using Values = std::vector<double>;

constexpr double kGone = -std::numeric_limits<double>::infinity();

Values logs(Values probabilities) {
  for (double& p : probabilities) p = std::log(p);
  return probabilities;
}

/// The ids that a filter leaves.
template <class Filter>
std::vector<int64_t> left(Values logits, const Filter& filter) {
  filter(logits);
  std::vector<int64_t> ids;
  for (size_t i = 0; i < logits.size(); ++i)
    if (logits[i] != kGone) ids.push_back(static_cast<int64_t>(i));
  return ids;
}

using Ids = std::vector<int64_t>;

TEST(Sampling, TopKKeepsTheLikeliestAndTheirEquals) {
  const auto keep = [](int64_t k) { return [k](Values& x) { keep_top_k(x, k); }; };
  EXPECT_EQ(left({1, 4, 2, 3}, keep(2)), (Ids{1, 3}));
  EXPECT_EQ(left({1, 4, 2, 4}, keep(1)), (Ids{1, 3}));
  EXPECT_EQ(left({1, 4, 2, 3}, keep(4)), (Ids{0, 1, 2, 3}));
  EXPECT_EQ(left({1, 4, 2, 3}, keep(100)), (Ids{0, 1, 2, 3}));
}

TEST(Sampling, TopPKeepsTheFewestThatHaveTheProbability) {
  const auto keep = [](double p) { return [p](Values& x) { keep_top_p(x, p); }; };
  const Values logits = logs({0.15, 0.5, 0.05, 0.3});
  EXPECT_EQ(left(logits, keep(0)), (Ids{1}));
  EXPECT_EQ(left(logits, keep(0.49)), (Ids{1}));
  EXPECT_EQ(left(logits, keep(0.51)), (Ids{1, 3}));
  EXPECT_EQ(left(logits, keep(0.81)), (Ids{0, 1, 3}));
  EXPECT_EQ(left(logits, keep(0.96)), (Ids{0, 1, 2, 3}));
  EXPECT_EQ(left(logits, keep(1)), (Ids{0, 1, 2, 3}));
  EXPECT_EQ(left(logs({0.25, 0.25, 0.25, 0.25}), keep(0.3)), (Ids{0, 1}));  // equals: the lower ids
}

TEST(Sampling, MinPIsAShareOfTheLikeliest) {
  const auto keep = [](double p) { return [p](Values& x) { keep_min_p(x, p); }; };
  const Values logits = logs({0.12, 0.6, 0.08, 0.2});
  EXPECT_EQ(left(logits, keep(0)), (Ids{0, 1, 2, 3}));
  EXPECT_EQ(left(logits, keep(0.19)), (Ids{0, 1, 3}));
  EXPECT_EQ(left(logits, keep(0.25)), (Ids{1, 3}));
  EXPECT_EQ(left(logits, keep(1)), (Ids{1}));
}

TEST(Sampling, FiltersComeInTheirOrder) {
  const auto all = [](Sampling sampling) { return [sampling](Values& x) { filter(x, sampling); }; };
  const Values logits = logs({0.4, 0.3, 0.2, 0.1});
  // Of {0.4, 0.3}, 0.4 has 4/7 = 0.571 of what top-k leaves: top-p 0.5 keeps it alone, of all it would keep two.
  EXPECT_EQ(left(logits, all({.top_k = 2, .top_p = 0.5})), (Ids{0}));
  EXPECT_EQ(left(logits, all({.top_p = 0.5})), (Ids{0, 1}));
  // Temperature comes first: at 0.5 the probabilities are 16/30, 9/30, 4/30, 1/30.
  EXPECT_EQ(left(logits, all({.temperature = 0.5, .top_p = 0.6})), (Ids{0, 1}));
  EXPECT_EQ(left(logits, all({.temperature = 0.5, .top_p = 0.5})), (Ids{0}));
  EXPECT_EQ(left(logits, all({.temperature = 0.5, .min_p = 0.3})), (Ids{0, 1}));
  EXPECT_EQ(left(logits, all({.min_p = 0.3})), (Ids{0, 1, 2}));
}

TEST(Sampling, FiltersAreThoseOfTransformers) {
  const std::string path = std::string(std::getenv("ETUDE_SOURCE")) + "/tests/interop/fixtures/sampling.json";
  const nlohmann::json fixture = nlohmann::json::parse(file::read(path));
  for (const auto& entry : fixture.at("cases")) {
    const auto& written = entry.at("sampling");
    Sampling sampling;
    sampling.temperature = written.value("temperature", 1.0);
    sampling.top_k = written.value("top_k", int64_t{0});
    sampling.top_p = written.value("top_p", 1.0);
    sampling.min_p = written.value("min_p", 0.0);
    for (size_t row = 0; row < fixture.at("logits").size(); ++row) {
      auto logits = fixture.at("logits")[row].get<Values>();
      filter(logits, sampling);
      const auto& expected = entry.at("left")[row];
      ASSERT_EQ(logits.size(), expected.size());
      for (size_t i = 0; i < logits.size(); ++i) {
        if (expected[i].is_null())
          EXPECT_EQ(logits[i], kGone) << written << " token " << i;
        else
          EXPECT_NEAR(logits[i], expected[i].get<double>(), 1e-6) << written << " token " << i;
      }
    }
  }
}

TEST(Sampling, TheLikeliestIsTheLowestOfEquals) {
  EXPECT_EQ(likeliest(Values{1, 3, 3, 2}), 1);
  EXPECT_EQ(largest(Values{1, 3, 3, 2}, 3), (Ids{1, 2, 3}));
  EXPECT_EQ(largest(Values{1, 3}, 5), (Ids{1, 0}));
}

TEST(Sampling, DrawsInvertTheCumulativeDistribution) {
  const Values logits = {std::log(0.5) + 7, kGone, std::log(0.2) + 7, std::log(0.3) + 7};
  EXPECT_EQ(draw(logits, 0), 0);
  EXPECT_EQ(draw(logits, 0.499), 0);
  EXPECT_EQ(draw(logits, 0.501), 2);
  EXPECT_EQ(draw(logits, 0.699), 2);
  EXPECT_EQ(draw(logits, 0.701), 3);
  EXPECT_EQ(draw(logits, 0.999999999), 3);
  EXPECT_EQ(draw(Values{kGone, 0, kGone}, 1 - 1e-16), 1);
  EXPECT_EQ(draw(Values{kGone, 0, kGone}, 0), 1);
}

TEST(Sampling, DrawnFrequenciesAreTheProbabilities) {
  const Values logits = logs({0.1, 0.2, 0.7});
  std::vector<double> count(3);
  Rng rng(Key{.seed = 3, .purpose = Purpose::test});
  const int n = 20000;
  for (int i = 0; i < n; ++i) ++count[static_cast<size_t>(draw(logits, rng.uniform()))];
  for (size_t v = 0; v < 3; ++v) {
    const double p = std::exp(logits[v]);
    EXPECT_NEAR(count[v] / n, p, 4 * std::sqrt(p * (1 - p) / n));
  }
}

TEST(Sampling, NormaliserStandsLargeLogits) {
  EXPECT_NEAR(log_normaliser(Values{1000, 1000 + std::log(3.0)}), 1000 + std::log(4.0), 1e-9);
  EXPECT_NEAR(log_normaliser(Values{-1000, kGone}), -1000, 1e-9);
}

TEST(Sampling, OptionsAreReadAndChecked) {
  Config table = Config::table();
  table.set("temperature", Config(0.5));
  table.set("top_p", Config(1.5));
  Sampling sampling;
  EXPECT_THROW(read_options(table, sampling, "sampling"), Error);
  table.set("top_p", Config(0.5));
  read_options(table, sampling, "sampling");
  EXPECT_EQ(sampling.temperature, 0.5);
  EXPECT_EQ(sampling.top_p, 0.5);
}

}  // namespace
}  // namespace etude
