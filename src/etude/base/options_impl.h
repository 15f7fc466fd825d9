#pragma once
// The visitors behind options.h. A value is read, written or described by its type; what is no
// template lives in options.cpp.

#include <algorithm>
#include <string_view>
#include <utility>
#include <variant>

namespace etude::options_detail {

/// An option as messages speak of it.
struct Site {
  std::string key;    ///< dotted
  std::string owner;  ///< "technique noloco"; may be empty
  std::string help;
  std::string name() const;                               ///< "option 'lr' of technique noloco"
  std::string hint(const std::string& first = {}) const;  ///< `first`, then "lr: <help>"
};

/// Each refuses a wrong type, a range left, a number that is not finite: Code::config with option,
/// value, place, range and hint.
bool to_bool(const Site& site, const Config& value);
int64_t to_int(const Site& site, const Config& value, const Range& range, double low, double high);
double to_real(const Site& site, const Config& value, const Range& range);
std::string to_string(const Site& site, const Config& value, const OneOf* words);
Schedule to_schedule(const Site& site, const Config& value, const Range& range);
Count to_count(const Site& site, const Config& value, const Range& range);
/// Without a `kind` the table is merged over the fallback, which must then have one.
Part to_part(const Site& site, const Config& value, const Part& fallback);
/// "span" as {kind = "span"}; a table as it is.
Config kind_table(const Site& site, const Config& value);
/// The `kind` of a table, one of `kinds` unless that is empty.
std::string kind_of(const Site& site, const Config& table, const std::vector<std::string>& kinds = {});
const Config& require_table(const Site& site, const Config& value);
const Config::List& require_list(const Site& site, const Config& value);
std::string listed(const std::vector<std::string>& words);
void refuse_unknown(const Config& table, const std::vector<std::string>& known, const std::string& prefix,
                    const std::string& owner, bool kind_is_known);

template <class T>
struct IsOptional : std::false_type {};
template <class T>
struct IsOptional<std::optional<T>> : std::true_type {};
template <class T>
struct IsVector : std::false_type {};
template <class T>
struct IsVector<std::vector<T>> : std::true_type {};
template <class T>
struct IsKind : std::false_type {};
template <class... A>
struct IsKind<Kind<A...>> : std::true_type {};
template <class T>
inline constexpr bool kIsInteger = std::is_same_v<T, int64_t> || std::is_same_v<T, int>;
template <class T>
inline constexpr bool kIsScalar =
    kIsInteger<T> || std::is_same_v<T, bool> || std::is_same_v<T, double> || std::is_same_v<T, std::string> ||
    std::is_same_v<T, Schedule> || std::is_same_v<T, Count> || std::is_same_v<T, Part>;

/// What may be said about an option beside its help.
struct Limits {
  Range range;
  std::vector<std::string> words;
  std::string text() const { return words.empty() ? range.text() : "one of " + listed(words); }
};

/// The word that unsets an optional; an ordinary word where it is one of the declared ones.
inline bool unsets(const Config& value, const Limits& limits) {
  return value.is_string() && value.as_string() == "none" &&
         std::find(limits.words.begin(), limits.words.end(), "none") == limits.words.end();
}

/// The overloads of v(...) for all three visitors, in terms of Derived::field(key, member, limits, help).
template <class Derived>
struct Visitor {
  template <class M>
  void operator()(const char* key, M& member, std::string_view help) {
    self().field(key, member, Limits{}, help);
  }
  template <class M>
  void operator()(const char* key, M& member, const Range& range, std::string_view help) {
    self().field(key, member, Limits{range, {}}, help);
  }
  template <class M>
  void operator()(const char* key, M& member, const OneOf& words, std::string_view help) {
    self().field(key, member, Limits{{}, words.words}, help);
  }
  Derived& self() { return static_cast<Derived&>(*this); }
};

inline std::string join(const std::string& prefix, const std::string& key) {
  return prefix.empty() ? key : prefix + "." + key;
}

// ---- reading ------------------------------------------------------------------------------------

template <class T>
void read_table(const Config& table, T& into, const std::string& prefix, const std::string& owner, bool kind_is_known);

template <class M>
void read_value(const Site& site, const Config& value, M& into, const Limits& limits) {
  if constexpr (std::is_same_v<M, bool>) {
    into = to_bool(site, value);
  } else if constexpr (kIsInteger<M>) {
    constexpr double kSafe = 9007199254740992.0 * 1024;  // doubles bound int64_t only from outside
    constexpr bool kShort = sizeof(M) < sizeof(int64_t);
    into = static_cast<M>(to_int(site, value, limits.range, kShort ? double(std::numeric_limits<M>::min()) : -kSafe,
                                 kShort ? double(std::numeric_limits<M>::max()) : kSafe));
  } else if constexpr (std::is_same_v<M, double>) {
    into = to_real(site, value, limits.range);
  } else if constexpr (std::is_same_v<M, std::string>) {
    const OneOf words{limits.words};
    into = to_string(site, value, limits.words.empty() ? nullptr : &words);
  } else if constexpr (std::is_same_v<M, Schedule>) {
    into = to_schedule(site, value, limits.range);
  } else if constexpr (std::is_same_v<M, Count>) {
    into = to_count(site, value, limits.range);
  } else if constexpr (std::is_same_v<M, Part>) {
    into = to_part(site, value, into);
  } else if constexpr (IsOptional<M>::value) {
    if (unsets(value, limits)) {
      into.reset();
    } else {
      typename M::value_type inner = into ? *into : typename M::value_type{};
      read_value(site, value, inner, limits);
      into = std::move(inner);
    }
  } else if constexpr (IsVector<M>::value) {
    M list;
    for (const Config& element : require_list(site, value)) {
      Site below = site;
      below.key += "." + std::to_string(list.size());
      typename M::value_type inner{};
      read_value(below, element, inner, limits);
      list.push_back(std::move(inner));
    }
    into = std::move(list);
  } else if constexpr (IsKind<M>::value) {
    const Config table = kind_table(site, value);
    if (table.find("kind")) into.choose(kind_of(site, table, M::kinds()));
    into.visit([&](auto& alternative) { read_table(table, alternative, site.key, site.owner, true); });
  } else {
    read_table(require_table(site, value), into, site.key, site.owner, false);
  }
}

struct Reader : Visitor<Reader> {
  const Config* table;
  std::string prefix, owner;
  std::vector<std::string> known;

  template <class M>
  void field(const char* key, M& member, const Limits& limits, std::string_view help) {
    known.emplace_back(key);
    const Config* value = table->find(key);
    if (value && !value->is_null()) {
      read_value(Site{join(prefix, key), owner, std::string(help)}, *value, member, limits);
    }
  }
};

template <class T>
void read_table(const Config& table, T& into, const std::string& prefix, const std::string& owner, bool kind_is_known) {
  Reader names;
  Config nothing = Config::table();
  names.table = &nothing;
  into.fields(names);  // changes nothing; unknown keys are reported before wrong values
  refuse_unknown(table, names.known, prefix, owner, kind_is_known);
  Reader reader;
  reader.table = &table;
  reader.prefix = prefix;
  reader.owner = owner;
  into.fields(reader);
}

// ---- writing ------------------------------------------------------------------------------------

template <class T>
Config write_table(const T& options, const Config* defaults);

/// A value as a Config; null for what is written by being absent.
template <class M>
Config write_value(const M& value, const Config* fallback) {
  if constexpr (std::is_same_v<M, bool> || kIsInteger<M> || std::is_same_v<M, double> ||
                std::is_same_v<M, std::string>) {
    return Config(value);
  } else if constexpr (std::is_same_v<M, Schedule>) {
    return value.constant() ? Config(value.lowest()) : Config(value.text());
  } else if constexpr (std::is_same_v<M, Count>) {
    return Config(value.text());
  } else if constexpr (std::is_same_v<M, Part>) {
    return value.config.find("kind") ? value.config : Config();
  } else if constexpr (IsOptional<M>::value) {
    if (value) return write_value(*value, fallback);
    return fallback ? Config("none") : Config();
  } else if constexpr (IsVector<M>::value) {
    Config list = Config::list();
    for (const auto& element : value) list.as_list().push_back(write_value(typename M::value_type(element), nullptr));
    return list;
  } else if constexpr (IsKind<M>::value) {
    Config out = Config::table();
    out.set("kind", value.name());
    value.visit([&](const auto& alternative) { out.merge(write_options(alternative)); });
    return out;
  } else {
    if (fallback) return write_table(value, fallback);
    return write_options(value);
  }
}

struct Writer : Visitor<Writer> {
  Config table = Config::table();
  const Config* defaults = nullptr;  ///< what the same struct writes by default; null: not known

  template <class M>
  void field(const char* key, M& member, const Limits&, std::string_view) {
    Config value = write_value(std::as_const(member), defaults ? defaults->find(key) : nullptr);
    if (!value.is_null()) table.set(key, std::move(value));
  }
};

template <class T>
Config write_table(const T& options, const Config* defaults) {
  Writer writer;
  writer.defaults = defaults;
  T copy = options;  // fields() is one function for reading and writing, hence not const
  copy.fields(writer);
  return std::move(writer.table);
}

// ---- describing ---------------------------------------------------------------------------------

template <class M>
std::string type_text() {
  if constexpr (std::is_same_v<M, bool>)
    return "boolean";
  else if constexpr (kIsInteger<M>)
    return "integer";
  else if constexpr (std::is_same_v<M, double>)
    return "number";
  else if constexpr (std::is_same_v<M, std::string>)
    return "string";
  else if constexpr (std::is_same_v<M, Schedule>)
    return "schedule";
  else if constexpr (std::is_same_v<M, Count>)
    return "count";
  else if constexpr (std::is_same_v<M, Part>)
    return "part";
  else if constexpr (IsOptional<M>::value)
    return type_text<typename M::value_type>();
  else if constexpr (IsVector<M>::value)
    return "list of " + type_text<typename M::value_type>();
  else if constexpr (IsKind<M>::value)
    return "kind";
  else
    return "table";
}

struct Describer : Visitor<Describer> {
  std::vector<OptionInfo> rows;
  std::string prefix, when;

  template <class M>
  void field(const char* key, M& member, const Limits& limits, std::string_view help) {
    describe(join(prefix, key), std::as_const(member), limits, std::string(help));
  }

  template <class M>
  void describe(const std::string& key, const M& member, const Limits& limits, const std::string& help) {
    OptionInfo row{key, type_text<M>(), {}, limits.text(), help, when};
    if constexpr (IsKind<M>::value) {
      row.fallback = member.name();
      row.range = "one of " + listed(M::kinds());
      rows.push_back(std::move(row));
      describe_alternatives(key, member);
    } else if constexpr (IsOptional<M>::value) {
      row.fallback = member ? to_toml_value(write_value(*member, nullptr)) : std::string();
      rows.push_back(std::move(row));
      describe_below(key, typename M::value_type{});
    } else if constexpr (IsVector<M>::value) {
      row.fallback = to_toml_value(write_value(member, nullptr));
      rows.push_back(std::move(row));
      describe_below(key + ".*", typename M::value_type{});
    } else {
      if constexpr (kIsScalar<M>) row.fallback = to_toml_value(write_value(member, nullptr));
      rows.push_back(std::move(row));
      describe_below(key, member);
    }
  }

 private:
  /// The rows of a nested struct or of the alternatives of a Kind within a list or an optional.
  template <class M>
  void describe_below(const std::string& key, const M& member) {
    if constexpr (IsKind<M>::value) {
      describe_alternatives(key, member);
    } else if constexpr (!kIsScalar<M> && !IsOptional<M>::value && !IsVector<M>::value) {
      Describer below;
      below.prefix = key;
      below.when = when;
      M copy = member;
      copy.fields(below);
      rows.insert(rows.end(), below.rows.begin(), below.rows.end());
    }
  }

  template <class... A>
  void describe_alternatives(const std::string& key, const Kind<A...>&) {
    const std::string outer = when;
    (..., [&] {
      when = key + ".kind = \"" + A::kName + "\"";
      describe_below(key, A{});
    }());
    when = outer;
  }
};

}  // namespace etude::options_detail

namespace etude {

template <class T>
void read_options(const Config& table, T& into, const std::string& where) {
  if (table.is_null()) return;
  options_detail::require_table({where.empty() ? "options" : where, {}, {}}, table);
  T result = into;
  options_detail::read_table(table, result, {}, where, true);
  into = std::move(result);
}

template <class T>
Config write_options(const T& options) {
  const Config defaults = options_detail::write_table(T{}, nullptr);
  return options_detail::write_table(options, &defaults);
}

template <class T>
bool same_options(const T& a, const T& b) {
  return write_options(a) == write_options(b);
}

template <class T>
std::vector<OptionInfo> describe_options() {
  options_detail::Describer describer;
  T defaults{};
  defaults.fields(describer);
  return std::move(describer.rows);
}

}  // namespace etude
