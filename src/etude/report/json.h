#pragma once
// Reading JSON that someone else wrote: every missing or mistyped member is an Error with its place.

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace etude::report {

/// A JSON object with the place to name in errors. Does not own the value.
class JsonObject {
 public:
  /// Errors: Code::checkpoint if `value` is no object.
  JsonObject(const nlohmann::json& value, std::string where);

  /// Members. Errors: Code::checkpoint naming the key, what is there and what is expected. With a
  /// second argument, an absent member is that value.
  std::string string(std::string_view key) const;
  std::string string(std::string_view key, std::string_view otherwise) const;
  int64_t integer(std::string_view key) const;
  int64_t integer(std::string_view key, int64_t otherwise) const;
  double number(std::string_view key) const;  ///< null and "nan" are NaN; "inf" and "-inf" infinite
  double number(std::string_view key, double otherwise) const;
  bool boolean(std::string_view key) const;
  JsonObject object(std::string_view key) const;                      ///< absent: empty
  std::map<std::string, double> numbers(std::string_view key) const;  ///< absent: empty
  std::vector<JsonObject> objects(std::string_view key) const;        ///< absent: empty
  std::vector<double> list(std::string_view key) const;               ///< absent: empty
  bool has(std::string_view key) const { return find(key) != nullptr; }

  /// Errors: Code::checkpoint unless member "v" is `version`.
  void require_version(int64_t version) const;
  [[noreturn]] void fail(const std::string& what) const;

 private:
  const nlohmann::json* find(std::string_view key) const;
  const nlohmann::json& at(std::string_view key) const;
  double to_number(const nlohmann::json& value, std::string_view key) const;

  const nlohmann::json* value_;
  std::string where_;
};

/// Errors: Code::checkpoint naming file and line.
nlohmann::json parse_json(std::string_view text, const std::string& name);

/// Calls `use` for each line of a JSON lines file. A last line that has no end and does not parse was
/// torn by a crash and is left out. Errors: Code::checkpoint with "name:line".
void each_json_line(std::string_view text, const std::string& name, const std::function<void(const JsonObject&)>& use);

/// JSON text of a number: shortest form that reads back to the same double; null if not finite.
nlohmann::json number_or_null(double value);

}  // namespace etude::report
