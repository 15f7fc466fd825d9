#pragma once
// Several sources, mixed evenly by weight: where sample p comes from, for any p at once.

#include <cstddef>
#include <cstdint>
#include <vector>

namespace etude {

/// At every p, the samples 0..p-1 hold as many of each source as its weight asks for, but for less than one (the
/// chairman assignment of Tijdeman, Discrete Mathematics 32, 1980). The sequence repeats after a period, which is the
/// smallest that holds the weights exactly, or 2^20 where none up to 2^16 does: then weights are rounded to multiples
/// of 2^-20 of their sum.
class Mixture {
 public:
  /// Errors: Code::config at "data.mix.N.weight" for a weight that is not positive and finite, or below a millionth of
  /// their sum. Required: 1 to 65536 weights.
  explicit Mixture(const std::vector<double>& weights);

  struct Place {
    size_t source = 0;
    int64_t number = 0;  ///< samples of that source among 0..p-1
    bool operator==(const Place&) const = default;
  };
  Place at(int64_t p) const;                      ///< Required: p >= 0
  int64_t count(size_t source, int64_t p) const;  ///< samples of a source among 0..p-1
  int64_t period() const { return static_cast<int64_t>(source_.size()); }
  const std::vector<int64_t>& shares() const { return shares_; }  ///< samples of each source in a period

 private:
  void assign();

  std::vector<int64_t> shares_;
  std::vector<uint16_t> source_;  ///< of each place of a period
  std::vector<uint32_t> number_;  ///< earlier places of the same source
};

}  // namespace etude
