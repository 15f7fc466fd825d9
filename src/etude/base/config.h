#pragma once
// A tree of configuration values that remember where they came from: the form in which recipes
// travel between TOML files, the command line, option structs and the stored, resolved recipe.

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace etude {

/// Where a value was written.
struct Origin {
  enum class Kind { none, fallback, file, command_line, code } kind = Kind::none;
  std::string file;  ///< for kind file: the path as the user gave it
  int line = 0, column = 0;
  /// "my.toml:12:1", "command line", "default"
  std::string text() const;
};

/// Null, bool, integer, real, string, list or table. Tables keep the order in which keys were added.
class Config {
 public:
  using List = std::vector<Config>;
  using Table = std::vector<std::pair<std::string, Config>>;

  Config() = default;
  Config(bool v) : value_(v) {}
  Config(int64_t v) : value_(v) {}
  Config(int v) : value_(int64_t{v}) {}
  Config(double v) : value_(v) {}
  Config(std::string v) : value_(std::move(v)) {}
  Config(const char* v) : value_(std::string(v)) {}
  Config(List v) : value_(std::move(v)) {}
  static Config table() {
    Config c;
    c.value_ = Table{};
    return c;
  }
  static Config list() { return Config(List{}); }

  bool is_null() const { return std::holds_alternative<std::monostate>(value_); }
  bool is_bool() const { return std::holds_alternative<bool>(value_); }
  bool is_int() const { return std::holds_alternative<int64_t>(value_); }
  bool is_real() const { return std::holds_alternative<double>(value_); }
  bool is_number() const { return is_int() || is_real(); }
  bool is_string() const { return std::holds_alternative<std::string>(value_); }
  bool is_list() const { return std::holds_alternative<List>(value_); }
  bool is_table() const { return std::holds_alternative<Table>(value_); }
  std::string_view type_name() const;  ///< "integer", "table", ...

  bool as_bool() const { return std::get<bool>(value_); }
  int64_t as_int() const { return std::get<int64_t>(value_); }
  double as_real() const { return is_int() ? double(as_int()) : std::get<double>(value_); }
  const std::string& as_string() const { return std::get<std::string>(value_); }
  const List& as_list() const { return std::get<List>(value_); }
  List& as_list() { return std::get<List>(value_); }
  const Table& as_table() const { return std::get<Table>(value_); }
  Table& as_table() { return std::get<Table>(value_); }

  /// The value under a key of a table, or nullptr.
  const Config* find(std::string_view key) const;
  Config* find(std::string_view key);
  /// Adds or replaces a key of a table (a null becomes a table).
  Config& set(std::string_view key, Config value);
  /// Removes a key of a table if it is there.
  void erase(std::string_view key);
  /// The value at "a.b.0.c" (numbers index lists; a part may be quoted: nets."v1.5".depth), made if
  /// absent: a list grows by its next element. A string on the way is short for a table with that
  /// `kind`: after mask = "span", at_path("mask.length") finds {kind = "span"} as mask.
  /// Errors: Code::config for a malformed path, or where a number, a boolean or the end of a list is
  /// in the way.
  Config& at_path(std::string_view dotted);
  /// The value at a path, or nullptr.
  const Config* find_path(std::string_view dotted) const;

  /// Tables are merged key by key, everything else (lists too) is replaced by `over`. Tables whose
  /// `kind` differs are different things: those are replaced too.
  void merge(const Config& over);

  /// Sets the origin of this value and of all below it.
  void set_origin(const Origin& everywhere);

  Origin origin;

  /// Equal values; origins and the order of keys don't count; 1 and 1.0 are different; so are 0.0 and
  /// -0.0, and a nan equals a nan: equal values have equal text.
  bool operator==(const Config& other) const;

 private:
  std::variant<std::monostate, bool, int64_t, double, std::string, List, Table> value_;
};

/// Parses TOML; every value gets line and column. Errors: Code::config with the place.
Config parse_toml(std::string_view text, std::string_view file_name);
/// Reads and parses a regular file of at most 16 MiB. Errors: Code::config when it can't be read or
/// parsed.
Config read_toml(const std::string& path);
/// Canonical TOML: parse_toml(to_toml(c)) == c, with keys in their order; doubles survive to the bit.
/// Nulls in tables are left out. Errors: Code::config if a string is not UTF-8.
std::string to_toml(const Config& table);
/// One value as it stands after "key = ": 0.1, "text", [1, 2], {a = 1}. Null gives "".
std::string to_toml_value(const Config& value);
/// Canonical one-line JSON (keys in their order); doubles survive to the bit. JSON has no nan or
/// infinity: those become the strings "nan", "inf", "-inf".
std::string to_json(const Config& value);
/// As to_json, with the keys of all tables sorted: equal configurations give equal text. To be hashed.
std::string to_sorted_json(const Config& value);

/// Parses "key.sub=value" as on the command line and writes it into `into`. The value is TOML if it
/// parses as TOML, else a plain string. Errors: Code::usage with the assignment and a hint.
void apply_override(Config& into, std::string_view assignment);

struct Change {
  std::string key, before, after;
};
/// Leaves that differ, as dotted keys with their values in TOML ("(absent)" where missing). Lists
/// without tables are leaves.
std::vector<Change> difference(const Config& before, const Config& after);

}  // namespace etude
