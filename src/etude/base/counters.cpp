#include "etude/base/counters.h"

#include <charconv>
#include <cmath>
#include <vector>

#include "etude/base/error.h"
#include "etude/base/text.h"

namespace etude {
namespace {

constexpr std::array<std::string_view, kUnits + 1> kNames = {
    "steps", "samples", "tokens", "epochs", "flops", "bytes", "messages", "rounds", "env_steps", "seconds", "percent"};

std::vector<std::string> unit_words() { return {kNames.begin(), kNames.end() - 1}; }

[[noreturn]] void refuse(std::string_view text, const std::string& why, std::string hint = {}) {
  if (hint.empty()) {
    hint = "write an amount and a unit, like 400, \"2 epochs\", \"1.5M tokens\" or \"50%\"; units: ";
    for (const auto& word : unit_words()) hint += (word == kNames[0] ? "" : ", ") + word;
  }
  throw Error(Code::config, "'" + std::string(text) + "' is no count: " + why, {}, hint);
}

Unit parse_unit(std::string_view text, std::string_view word) {
  for (size_t i = 0; i < kUnits; ++i) {
    const std::string_view name = kNames[i];
    if (word == name || word == name.substr(0, name.size() - 1)) return static_cast<Unit>(i);
  }
  refuse(text, "unknown unit '" + std::string(word) + "'", did_you_mean(word, unit_words()));
}

}  // namespace

std::string_view unit_name(Unit unit) { return kNames[static_cast<size_t>(unit)]; }

Count Count::parse(std::string_view text) {
  const std::string_view trimmed = trim(text);
  if (trimmed.empty()) refuse(text, "it is empty");
  Count count;
  const char* const end = trimmed.data() + trimmed.size();
  const auto [stop, problem] = std::from_chars(trimmed.data(), end, count.amount);
  if (problem == std::errc::result_out_of_range) refuse(text, "the amount doesn't fit a double");
  if (problem != std::errc()) refuse(text, "it doesn't begin with a number");
  if (!std::isfinite(count.amount)) refuse(text, "the amount is not finite");
  if (std::signbit(count.amount)) refuse(text, "the amount is negative");

  std::string_view rest = trim({stop, static_cast<size_t>(end - stop)});
  if (rest == "%") {
    count.unit = Unit::percent;
    return count;
  }
  const size_t prefix = rest.empty() ? std::string_view::npos : std::string_view("kMGT").find(rest[0]);
  if (prefix != std::string_view::npos && (rest.size() == 1 || rest[1] == ' ')) {
    constexpr std::array<double, 4> kFactors = {1e3, 1e6, 1e9, 1e12};
    count.amount *= kFactors[prefix];
    rest.remove_prefix(1);
    if (!std::isfinite(count.amount)) refuse(text, "the amount doesn't fit a double");
  }
  const std::string_view word = trim(rest);
  if (!word.empty()) count.unit = parse_unit(text, word);
  return count;
}

std::string Count::text() const {
  if (unit == Unit::percent) return plain_number(amount) + "%";
  return plain_number(amount) + " " + std::string(unit_name(unit));
}

bool Count::reached(const Counters& now) const { return now[unit] >= amount; }

Count Count::of(const Count& stop) const {
  if (unit != Unit::percent) return *this;
  ETUDE_CHECK(stop.unit != Unit::percent, "a stop rule can't be a percentage of itself");
  return {amount * stop.amount / 100, stop.unit};
}

bool due(const Count& every, const Counters& before, const Counters& now) {
  if (!(every.amount > 0)) return false;
  return std::floor(now[every.unit] / every.amount) > std::floor(before[every.unit] / every.amount);
}

}  // namespace etude
