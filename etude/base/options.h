#pragma once
// Options declared once. A struct lists its fields in one template function
//
//   struct NolocoOptions {
//     int64_t every = 50;
//     double beta = 0.7;
//     std::optional<double> gamma;
//     Schedule lr = 3e-3;
//     template <class V> void fields(V& v) {
//       v("every", every, at_least(1), "inner steps between two outer steps (H, section 3)");
//       v("beta", beta, within(0, 2), "outer learning rate");
//       v("gamma", gamma, at_least(0), "pull towards the pair's mean; default: beta");
//       v("lr", lr, positive(), "learning rate of the inner optimizer");
//     }
//   };
//
// and from that list come: reading a Config with type, range and unknown-key errors, the resolved
// Config with every default written out, the description for `etude show`, a card or a form, and
// equality. A field may be: bool, int64_t, double, std::string, Schedule, Count, an enum wrapped by
// Choice, std::optional of these, std::vector of these, a struct with fields(), std::vector of such
// structs, or a Kind<...> (one of several alternatives, chosen by its key `kind`).

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <type_traits>
#include <vector>

#include "etude/base/config.h"
#include "etude/base/counters.h"
#include "etude/base/error.h"
#include "etude/base/schedule.h"

namespace etude {

/// Closed or open bounds of a number (of every value that a schedule takes, of every list element).
struct Range {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool low_open = false, high_open = false;
  bool contains(double x) const;   ///< false for NaN
  std::string text() const;        ///< ">= 1", "in [0, 1)", "" if unbounded
};
inline Range any() { return {}; }
inline Range at_least(double low) { return {low}; }
inline Range positive() { return {0, std::numeric_limits<double>::infinity(), true, false}; }
inline Range within(double low, double high) { return {low, high}; }
inline Range half_open(double low, double high) { return {low, high, false, true}; }

/// The words that a string option may take.
struct OneOf { std::vector<std::string> words; };
inline OneOf one_of(std::vector<std::string> words) { return {std::move(words)}; }

/// A part of a recipe whose form is decided by its key `kind` and read later by whoever owns that
/// kind (an objective, a net, a technique): kept as it was written.
struct Part {
  Config config = Config::table();
  std::string kind() const;  ///< Errors: Code::config if the key is missing or no string.
  bool operator==(const Part&) const = default;
};

/// One row of a description.
struct OptionInfo {
  std::string key, type, fallback, range, help;  ///< key is dotted for nested structs
};

namespace options_detail {
struct Reader;   // Config -> struct
struct Writer;   // struct -> Config
struct Describer;
}  // namespace options_detail

/// Fills `into` from a table. Errors (Code::config, with place, value, range and the nearest key):
/// unknown key, wrong type, out of range, a number that is not finite or does not fit. `where` names
/// the table in messages ("technique noloco"). An empty `kind` key of a Part is skipped.
template <class T> void read_options(const Config& table, T& into, const std::string& where = {});
/// The table with every field written out.
template <class T> Config write_options(const T& options);
/// Rows for `etude show` and the card, in the order of declaration, with the defaults of T{}.
template <class T> std::vector<OptionInfo> describe_options();

}  // namespace etude

#include "etude/base/options_impl.h"
