#include "etude/data/mixture.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "etude/base/error.h"
#include "etude/base/text.h"

namespace etude {
namespace {

constexpr int64_t kLongestExact = int64_t{1} << 16, kLongest = int64_t{1} << 20;
constexpr double kExact = 1e-9, kSmallest = 1e-6;

/// Whole samples of each source in a period; empty if the weights don't come out even.
std::vector<int64_t> even_shares(const std::vector<double>& parts, int64_t period) {
  std::vector<int64_t> shares;
  for (const double part : parts) {
    const double exact = part * static_cast<double>(period);
    shares.push_back(std::llround(exact));
    if (shares.back() < 1 || std::abs(exact - static_cast<double>(shares.back())) > kExact) return {};
  }
  return std::accumulate(shares.begin(), shares.end(), int64_t{0}) == period ? shares : std::vector<int64_t>{};
}

/// By largest remainder.
std::vector<int64_t> rounded_shares(const std::vector<double>& parts) {
  std::vector<int64_t> shares;
  std::vector<std::pair<double, size_t>> remainders;
  for (size_t s = 0; s < parts.size(); ++s) {
    const double exact = parts[s] * static_cast<double>(kLongest);
    shares.push_back(static_cast<int64_t>(exact));
    remainders.emplace_back(static_cast<double>(shares.back()) - exact, s);
  }
  std::sort(remainders.begin(), remainders.end());
  int64_t missing = kLongest - std::accumulate(shares.begin(), shares.end(), int64_t{0});
  for (size_t i = 0; missing > 0; ++i, --missing) ++shares[remainders[i % remainders.size()].second];
  return shares;
}

std::vector<int64_t> shares_of(const std::vector<double>& weights) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<double> parts;
  for (size_t s = 0; s < weights.size(); ++s) {
    parts.push_back(weights[s] / sum);
    if (weights[s] > 0 && std::isfinite(sum) && parts.back() >= kSmallest) continue;
    throw Error(Code::config, "the weight " + plain_number(weights[s]) + " is no share of " + plain_number(sum),
                "data.mix." + std::to_string(s) + ".weight",
                "weights are positive, none below a millionth of their sum");
  }
  for (int64_t period = 1; period <= kLongestExact; ++period) {
    if (std::vector<int64_t> shares = even_shares(parts, period); !shares.empty()) return shares;
  }
  return rounded_shares(parts);
}

}  // namespace

Mixture::Mixture(const std::vector<double>& weights) {
  ETUDE_CHECK(!weights.empty() && weights.size() <= 65536, "a mixture has sources");
  shares_ = shares_of(weights);
  assign();
}

/// With sigma, how much a source lacks before place t + 1: those that lack 1 / (2S - 2) may have it, and the one whose
/// lack would first reach 1 - 1 / (2S - 2) takes it. In units of a period's part.
void Mixture::assign() {
  const auto period = std::accumulate(shares_.begin(), shares_.end(), int64_t{0});
  const auto S = static_cast<double>(shares_.size());
  const double least = S > 1 ? static_cast<double>(period) / (2 * S - 2) : 0;
  const double most = static_cast<double>(period) - least;
  std::vector<int64_t> taken(shares_.size(), 0);
  for (int64_t t = 0; t < period; ++t) {
    size_t best = shares_.size();
    double earliest = 0;
    for (size_t s = 0; s < shares_.size(); ++s) {
      const auto sigma = static_cast<double>(shares_[s] * (t + 1) - period * taken[s]);
      const double deadline = (most - sigma) / static_cast<double>(shares_[s]);
      if (sigma < least || (best < shares_.size() && deadline >= earliest)) continue;
      best = s;
      earliest = deadline;
    }
    ETUDE_CHECK(best < shares_.size(), "some source lacks enough");
    source_.push_back(static_cast<uint16_t>(best));
    number_.push_back(static_cast<uint32_t>(taken[best]++));
  }
}

Mixture::Place Mixture::at(int64_t p) const {
  const auto within = static_cast<size_t>(p % period());
  const size_t source = source_[within];
  return {source, p / period() * shares_[source] + number_[within]};
}

int64_t Mixture::count(size_t source, int64_t p) const {
  const auto rest = source_.begin() + p % period();
  return p / period() * shares_[source] + std::count(source_.begin(), rest, source);
}

}  // namespace etude
