#pragma once
// Counters: what a run has done so far. Any of them may be a stop rule, a cadence or an x-axis.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace etude {

enum class Unit { steps, samples, tokens, epochs, flops, bytes, messages, rounds, env_steps, seconds, percent };
inline constexpr int kUnits = 10;  ///< percent is relative to a stop rule and is not counted

/// "steps", "env_steps", "percent".
std::string_view unit_name(Unit unit);

/// Totals since the beginning of a stage, over all replicas. `seconds` is wall time of the process's
/// active training, accumulated over resumes; it never takes part in bit-exactness.
struct Counters {
  std::array<double, kUnits> value{};
  double& operator[](Unit u) { return value.at(static_cast<size_t>(u)); }
  double operator[](Unit u) const { return value.at(static_cast<size_t>(u)); }
  int64_t step() const { return static_cast<int64_t>((*this)[Unit::steps]); }
};

/// An amount with its unit: 400, "400 steps", "1.5M tokens", "2 epochs", "50%".
/// A plain number counts steps. k, M, G, T are powers of 1000.
struct Count {
  double amount = 0;
  Unit unit = Unit::steps;

  static Count parse(std::string_view text);  ///< Errors: Code::config with the text and a hint.
  std::string text() const;                   ///< parse(text()) is the same count: "400 steps"
  /// Whether the counters have come this far. Required: no percentage (resolve it with of()).
  bool reached(const Counters& now) const;
  /// This count with a percentage resolved against a stop rule (which is no percentage itself).
  Count of(const Count& stop) const;
  bool operator==(const Count&) const = default;
};

/// Whether a cadence `every` falls between `before` (exclusive) and `now` (inclusive):
/// floor(now / every) > floor(before / every). An amount of 0 never does. Required: no percentage.
bool due(const Count& every, const Counters& before, const Counters& now);

}  // namespace etude
