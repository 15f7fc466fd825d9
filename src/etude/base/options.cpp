#include "etude/base/options.h"

#include <algorithm>
#include <utility>

#include "etude/base/text.h"

namespace etude {

bool Range::contains(double x) const {
  const bool above = low_open ? x > low : x >= low;
  const bool below = high_open ? x < high : x <= high;
  return above && below;
}

std::string Range::text() const {
  const bool has_low = std::isfinite(low), has_high = std::isfinite(high);
  if (has_low && has_high) {
    return std::string("in ") + (low_open ? "(" : "[") + plain_number(low) + ", " + plain_number(high) +
           (high_open ? ")" : "]");
  }
  if (has_low) return (low_open ? "> " : ">= ") + plain_number(low);
  if (has_high) return (high_open ? "< " : "<= ") + plain_number(high);
  return {};
}

std::string Part::kind() const {
  const Config* kind = config.find("kind");
  if (!kind || !kind->is_string()) {
    throw Error(
        Code::config,
        kind ? "the key 'kind' must be a string, not " + to_toml_value(*kind) : std::string("a part has no 'kind'"),
        config.origin.text(), "say which one it is: {kind = \"...\"}");
  }
  return kind->as_string();
}

namespace options_detail {
namespace {

constexpr int64_t kExact = int64_t{1} << 53;  // integers up to here are exact as doubles

std::string described(const Site& site, const Config& value) { return site.name() + " is " + to_toml_value(value); }

[[noreturn]] void wrong_type(const Site& site, const Config& value, const std::string& wanted,
                             const std::string& example) {
  throw Error(Code::config, described(site, value) + " (" + std::string(value.type_name()) + "), but must be " + wanted,
              value.origin.text(), site.hint(example));
}

[[noreturn]] void out_of_range(const Site& site, const Config& value, const Range& range) {
  throw Error(Code::config, described(site, value) + ", but must be " + range.text(), value.origin.text(), site.hint());
}

/// What to do about a string where a number is wanted.
std::string number_advice(const Config& value) {
  if (!value.is_string()) return {};
  const std::string_view text = trim(value.as_string());
  const std::string_view digits = text.substr(text.starts_with('-') || text.starts_with('+') ? 1 : 0);
  double x = 0;
  if (parse_number(text, x)) {
    return std::abs(x) < 0x1p63 ? "write numbers without quotes" : "integers go up to 9223372036854775807";
  }
  const bool numeric = !digits.empty() && digits[0] >= '0' && digits[0] <= '9' &&
                       digits.find_first_not_of("0123456789.eE+-") == std::string_view::npos;
  return numeric ? "a number goes up to 1.8e308" : "";
}

void check_range(const Site& site, const Config& value, double x, const Range& range) {
  if (!range.contains(x)) out_of_range(site, value, range);
}

}  // namespace

std::string Site::name() const { return "option '" + key + "'" + (owner.empty() ? "" : " of " + owner); }

std::string Site::hint(const std::string& first) const {
  const std::string about = help.empty() ? "" : key + ": " + help;
  if (first.empty() || about.empty()) return first + about;
  return first + (first.ends_with('?') ? " " : "; ") + about;
}

bool to_bool(const Site& site, const Config& value) {
  if (!value.is_bool()) wrong_type(site, value, "true or false", "");
  return value.as_bool();
}

int64_t to_int(const Site& site, const Config& value, const Range& range, double low, double high) {
  if (value.is_real()) {
    const double x = value.as_real();
    const bool whole = std::isfinite(x) && x == std::floor(x) && std::abs(x) < 9e15;
    const std::string advice = whole ? "write " + plain_number(x) + " without point or exponent" : "";
    wrong_type(site, value, "an integer", advice);
  }
  if (!value.is_int()) wrong_type(site, value, "an integer", number_advice(value));
  const auto x = static_cast<double>(value.as_int());
  check_range(site, value, x, range);
  if (!(x >= low && x <= high)) out_of_range(site, value, within(low, high));
  return value.as_int();
}

double to_real(const Site& site, const Config& value, const Range& range) {
  if (!value.is_number()) wrong_type(site, value, "a number", number_advice(value));
  const double x = value.as_real();
  if (!std::isfinite(x)) {
    const std::string limits = range.text().empty() ? "finite" : "finite and " + range.text();
    throw Error(Code::config, described(site, value) + ", but must be " + limits, value.origin.text(), site.hint());
  }
  if (value.is_int() && (value.as_int() > kExact || value.as_int() < -kExact)) {
    throw Error(Code::config, described(site, value) + ", an integer that a double can't hold exactly",
                value.origin.text(), site.hint("write it with a point or an exponent"));
  }
  check_range(site, value, x, range);
  return x;
}

std::string to_string(const Site& site, const Config& value, const OneOf* words) {
  if (!value.is_string()) wrong_type(site, value, "a string", "put it in quotes");
  const std::string& text = value.as_string();
  if (words && std::find(words->words.begin(), words->words.end(), text) == words->words.end()) {
    throw Error(Code::config, described(site, value) + ", but must be one of " + listed(words->words),
                value.origin.text(), site.hint(did_you_mean(text, words->words)));
  }
  return text;
}

Schedule to_schedule(const Site& site, const Config& value, const Range& range) {
  if (value.is_number()) return to_real(site, value, range);
  if (!value.is_string()) {
    wrong_type(site, value, "a number or a schedule", "write 0.1 or \"cosine(0.1 -> 0.01)\"");
  }
  Schedule schedule;
  try {
    schedule = Schedule::parse(value.as_string());
  } catch (const Error& error) {
    throw Error(error.code(), site.name() + ": " + error.message(), value.origin.text(), error.hint());
  }
  const Range closed = within(range.low, range.high);
  for (const double x : {schedule.lowest(), schedule.highest()}) {
    if (range.contains(x) || (closed.contains(x) && !schedule.reaches(x))) continue;
    throw Error(Code::config,
                described(site, value) + " and takes the value " + plain_number(x) + ", but must be " + range.text() +
                    " throughout",
                value.origin.text(), site.hint());
  }
  return schedule;
}

Count to_count(const Site& site, const Config& value, const Range& range) {
  Count count;
  if (value.is_int() || value.is_real()) {
    const int64_t steps = to_int(site, value, range, 0, kExact);
    count.amount = static_cast<double>(steps);
  } else if (value.is_string()) {
    try {
      count = Count::parse(value.as_string());
    } catch (const Error& error) {
      throw Error(error.code(), site.name() + ": " + error.message(), value.origin.text(), error.hint());
    }
    check_range(site, value, count.amount, range);
  } else {
    wrong_type(site, value, "a count", "write 400, \"2 epochs\", \"1.5M tokens\" or \"50%\"");
  }
  return count;
}

Part to_part(const Site& site, const Config& value, const Part& fallback) {
  Part part;
  part.config = kind_table(site, value);
  if (part.config.find("kind")) {
    kind_of(site, part.config);
    return part;
  }
  if (!fallback.config.find("kind")) kind_of(site, part.config);  // refuses
  Config merged = fallback.config;
  merged.merge(part.config);
  merged.origin = value.origin;
  part.config = std::move(merged);
  return part;
}

Config kind_table(const Site& site, const Config& value) {
  if (value.is_table()) return value;
  if (!value.is_string()) {
    wrong_type(site, value, "a table with a 'kind'", "write " + site.key + " = {kind = \"...\"}");
  }
  Config out = Config::table();
  out.origin = value.origin;
  out.set("kind", value);
  return out;
}

std::string kind_of(const Site& site, const Config& table, const std::vector<std::string>& kinds) {
  const Config* kind = table.find("kind");
  if (!kind) {
    std::vector<std::string> keys;
    for (const auto& [key, value] : table.as_table()) {
      if (!nearest(key, {"kind"}).empty()) keys.push_back(key);
    }
    const std::string choice = kinds.empty() ? "" : ", one of " + listed(kinds);
    throw Error(Code::config, site.name() + " has no 'kind'", table.origin.text(),
                site.hint(keys.empty() ? "say which one it is: {kind = \"...\"}" + choice
                                       : "is '" + keys.front() + "' meant to be 'kind'?"));
  }
  Site below = site;
  below.key += ".kind";
  const OneOf words{kinds};
  std::string text = to_string(below, *kind, kinds.empty() ? nullptr : &words);
  if (text.empty()) {
    throw Error(Code::config, below.name() + " is empty", kind->origin.text(), site.hint());
  }
  return text;
}

const Config& require_table(const Site& site, const Config& value) {
  if (!value.is_table()) wrong_type(site, value, "a table", "write " + site.key + " = {...}");
  return value;
}

const Config::List& require_list(const Site& site, const Config& value) {
  if (!value.is_list()) wrong_type(site, value, "a list", "write " + site.key + " = [...]");
  return value.as_list();
}

std::string listed(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "'" : ", '") + word + "'";
  return out;
}

void refuse_unknown(const Config& table, const std::vector<std::string>& known, const std::string& prefix,
                    const std::string& owner, bool kind_is_known) {
  for (const auto& [key, value] : table.as_table()) {
    if (kind_is_known && key == "kind") continue;
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    const std::string whole = join(prefix, key);
    std::string all = known.empty() ? "there are no options here" : "the keys here are " + listed(known);
    std::vector<std::string> near = known;
    if (kind_is_known) near.emplace_back("kind");
    throw Error(Code::config, "unknown key '" + whole + "'" + (owner.empty() ? "" : " of " + owner),
                value.origin.text(), did_you_mean(key, near, std::move(all)));
  }
}

}  // namespace options_detail
}  // namespace etude
