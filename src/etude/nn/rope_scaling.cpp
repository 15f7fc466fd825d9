#include "etude/nn/rope_scaling.h"

#include <algorithm>
#include <numbers>

namespace etude {
namespace {

double stretched(const NoRopeScaling&, double frequency) { return frequency; }
double stretched(const LinearRopeScaling& s, double frequency) { return frequency / s.factor; }
double stretched(const Llama3RopeScaling& s, double frequency) {
  const double turns = static_cast<double>(s.original_length) * frequency / (2 * std::numbers::pi);
  const double kept = std::clamp((turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor), 0.0, 1.0);
  return frequency * (kept + (1 - kept) / s.factor);
}

}  // namespace

double scaled(const RopeScaling& scaling, double frequency) {
  return scaling.visit([&](const auto& kind) { return stretched(kind, frequency); });
}

}  // namespace etude
