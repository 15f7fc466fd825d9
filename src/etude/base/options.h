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
// equality. A field may be: bool, int64_t, int, double, std::string, Schedule, Count, Part,
// std::optional or std::vector of these, a struct with fields(), std::vector of such structs, or a
// Kind<...> (one of several structs, chosen by its key `kind`). Structs are default-constructible and
// copyable; their defaults are the paper's.

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
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
  bool contains(double x) const;  ///< false for NaN
  std::string text() const;       ///< ">= 1", "in [0, 1)", "" if unbounded
};
inline Range any() { return {}; }
inline Range at_least(double low) { return {low}; }
inline Range positive() { return {0, std::numeric_limits<double>::infinity(), true, false}; }
inline Range within(double low, double high) { return {low, high}; }
inline Range half_open(double low, double high) { return {low, high, false, true}; }

/// The words that a string option may take.
struct OneOf {
  std::vector<std::string> words;
};
inline OneOf one_of(std::vector<std::string> words) { return {std::move(words)}; }

/// A part of a recipe whose form is decided by its key `kind` and read later by whoever owns that
/// kind (an objective, a net, a technique): kept as it was written.
struct Part {
  Config config = Config::table();
  std::string kind() const;  ///< Errors: Code::config if the key is missing or no string.
  bool operator==(const Part&) const = default;
};

/// One of several option structs, chosen by the key `kind`; the first one unless said otherwise. Each
/// has `static constexpr const char* kName` and fields(). In TOML: mask = {kind = "span", length = 3},
/// or mask = "span" for one with its defaults. A table without `kind` changes the current alternative.
///
///   Kind<SpanMask, BlockMask> mask;
///   mask.visit([&](const auto& m) { apply(m); });
template <class First, class... Rest>
class Kind {
 public:
  Kind() = default;
  template <class A>
  requires(std::is_same_v<A, First> || (std::is_same_v<A, Rest> || ...)) Kind(A alternative)
      : value_(std::move(alternative)) {}  // NOLINT: an alternative is a Kind

  static std::vector<std::string> kinds() { return {First::kName, Rest::kName...}; }
  std::string name() const {
    return visit([](const auto& a) { return std::string(a.kName); });
  }
  template <class A>
  bool is() const {
    return std::holds_alternative<A>(value_);
  }
  /// The alternative if it is this one, or nullptr.
  template <class A>
  const A* get() const {
    return std::get_if<A>(&value_);
  }
  template <class A>
  A* get() {
    return std::get_if<A>(&value_);
  }
  template <class F>
  decltype(auto) visit(F&& f) const {
    return std::visit(std::forward<F>(f), value_);
  }
  template <class F>
  decltype(auto) visit(F&& f) {
    return std::visit(std::forward<F>(f), value_);
  }
  /// Makes it the alternative of that name, with its defaults. Required: one of kinds().
  void choose(const std::string& name) {
    bool known = try_choose<First>(name) || (try_choose<Rest>(name) || ...);
    ETUDE_CHECK(known, "no alternative is called '" + name + "'");
  }

 private:
  template <class A>
  bool try_choose(const std::string& name) {
    if (name != A::kName) return false;
    value_ = A{};
    return true;
  }
  std::variant<First, Rest...> value_;
};

/// One row of a description.
struct OptionInfo {
  std::string key;       ///< dotted for nested structs; "passes.*.times" within a list
  std::string type;      ///< "integer", "list of number", "kind", "table" (its fields follow)
  std::string fallback;  ///< the default in TOML; empty where there is none
  std::string range;     ///< ">= 1", "one of 'a', 'b'"; may be empty
  std::string help;
  std::string when{};  ///< for a field of one alternative of a Kind: mask.kind = "span"
};

/// Changes those fields of `into` that the table has; on an error, none. `where` names the table in
/// messages ("technique noloco"). A null is an empty table; the key `kind` of the table itself (which
/// is how a Part reached its reader) is skipped unless it is declared; "none" unsets an optional.
/// Errors (Code::config, with place, value, range and the nearest key): unknown key, wrong type, out of
/// range, a number that is not finite or does not fit. Integers may stand for real numbers, never real
/// numbers for integers.
template <class T>
void read_options(const Config& table, T& into, const std::string& where = {});
/// The table with every field written out: reading it into a T{} gives the same options. An optional
/// that is unset is absent, or "none" where its default is set; a Part without `kind` is absent.
template <class T>
Config write_options(const T& options);
/// Equality, by the list of fields.
template <class T>
bool same_options(const T& a, const T& b);
/// Rows for `etude show` and the card, in the order of declaration, with the defaults of T{}.
template <class T>
std::vector<OptionInfo> describe_options();

}  // namespace etude

#include "etude/base/options_impl.h"
