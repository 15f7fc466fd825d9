#include "etude/report/json.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "etude/base/error.h"

namespace etude::report {
namespace {

const nlohmann::json& empty_object() {
  static const nlohmann::json empty = nlohmann::json::object();
  return empty;
}

/// A value as it may stand in a message.
std::string shown(const nlohmann::json& value) {
  constexpr size_t kMost = 40;
  auto text = value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  if (text.size() > kMost) text = text.substr(0, kMost) + "...";
  return text;
}

}  // namespace

JsonObject::JsonObject(const nlohmann::json& value, std::string where) : value_(&value), where_(std::move(where)) {
  if (!value.is_object()) fail("expected a JSON object, found " + shown(value));
}

void JsonObject::fail(const std::string& what) const {
  throw Error(Code::checkpoint, what, where_, "the file is damaged or from another version of Etude; make it again");
}

const nlohmann::json* JsonObject::find(std::string_view key) const {
  const auto found = value_->find(std::string(key));
  return found == value_->end() ? nullptr : &*found;
}

const nlohmann::json& JsonObject::at(std::string_view key) const {
  const auto* found = find(key);
  if (!found) fail("member '" + std::string(key) + "' is missing");
  return *found;
}

std::string JsonObject::string(std::string_view key) const {
  const auto& value = at(key);
  if (!value.is_string()) fail("member '" + std::string(key) + "' is " + shown(value) + ", not a string");
  return value.get<std::string>();
}

std::string JsonObject::string(std::string_view key, std::string_view otherwise) const {
  return has(key) ? string(key) : std::string(otherwise);
}

int64_t JsonObject::integer(std::string_view key) const {
  const auto& value = at(key);
  const bool fits =
      value.is_number_integer() &&
      !(value.is_number_unsigned() && value.get<uint64_t>() > uint64_t(std::numeric_limits<int64_t>::max()));
  if (!fits) fail("member '" + std::string(key) + "' is " + shown(value) + ", not an integer");
  return value.get<int64_t>();
}

int64_t JsonObject::integer(std::string_view key, int64_t otherwise) const {
  return has(key) ? integer(key) : otherwise;
}

double JsonObject::to_number(const nlohmann::json& value, std::string_view key) const {
  if (value.is_null() || value == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (value == "inf") return std::numeric_limits<double>::infinity();
  if (value == "-inf") return -std::numeric_limits<double>::infinity();
  if (!value.is_number()) fail("member '" + std::string(key) + "' is " + shown(value) + ", not a number");
  return value.get<double>();
}

double JsonObject::number(std::string_view key) const { return to_number(at(key), key); }

double JsonObject::number(std::string_view key, double otherwise) const { return has(key) ? number(key) : otherwise; }

bool JsonObject::boolean(std::string_view key) const {
  const auto& value = at(key);
  if (!value.is_boolean()) fail("member '" + std::string(key) + "' is " + shown(value) + ", not true or false");
  return value.get<bool>();
}

JsonObject JsonObject::object(std::string_view key) const {
  const auto* found = find(key);
  return {found ? *found : empty_object(), where_};
}

std::map<std::string, double> JsonObject::numbers(std::string_view key) const {
  std::map<std::string, double> result;
  const auto members = object(key);
  for (const auto& [name, value] : members.value_->items()) result[name] = to_number(value, name);
  return result;
}

std::vector<JsonObject> JsonObject::objects(std::string_view key) const {
  std::vector<JsonObject> result;
  const auto* found = find(key);
  if (!found) return result;
  if (!found->is_array()) fail("member '" + std::string(key) + "' is " + shown(*found) + ", not a list");
  for (const auto& value : *found) result.emplace_back(value, where_);
  return result;
}

std::vector<double> JsonObject::list(std::string_view key) const {
  std::vector<double> result;
  const auto* found = find(key);
  if (!found) return result;
  if (!found->is_array()) fail("member '" + std::string(key) + "' is " + shown(*found) + ", not a list");
  for (const auto& value : *found) result.push_back(to_number(value, key));
  return result;
}

void JsonObject::require_version(int64_t version) const {
  if (const auto found = integer("v"); found != version)
    fail("written in version " + std::to_string(found) + " of this format; this Etude reads version " +
         std::to_string(version));
}

nlohmann::json parse_json(std::string_view text, const std::string& name) {
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::parse_error& error) {
    const auto end = std::min(error.byte, text.size());
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(end), '\n');
    throw Error(Code::checkpoint, "not valid JSON", name + ":" + std::to_string(line),
                "the file is damaged; make it again");
  } catch (const nlohmann::json::exception&) {
    throw Error(Code::checkpoint, "a number that does not fit", name, "the file is damaged; make it again");
  }
}

void each_json_line(std::string_view text, const std::string& name, const std::function<void(const JsonObject&)>& use) {
  for (int64_t number = 1; !text.empty(); ++number) {
    const auto end = text.find('\n');
    const bool torn = end == std::string_view::npos;
    const auto line = text.substr(0, end);
    text.remove_prefix(torn ? text.size() : end + 1);
    const auto where = name + ":" + std::to_string(number);
    const auto value = nlohmann::json::parse(line, nullptr, false);
    if (value.is_discarded() && torn) return;
    if (value.is_discarded())
      throw Error(Code::checkpoint, "line " + std::to_string(number) + " is not valid JSON", where,
                  "the file is damaged; make it again");
    use(JsonObject(value, where));
  }
}

nlohmann::json number_or_null(double value) {
  return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(nullptr);
}

}  // namespace etude::report
