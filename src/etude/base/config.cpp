#include "etude/base/config.h"

#include <algorithm>
#include <bit>
#include <charconv>

#include "etude/base/error.h"
#include "etude/base/text.h"

namespace etude {
namespace {

/// Splits "a.b.0" and "a.\"b.c\"" into its parts.
std::vector<std::string> split_path(std::string_view dotted) {
  const auto malformed = [&](const std::string& why) -> Error {
    return {Code::config,
            "'" + std::string(dotted) + "' is no path to a value: " + why,
            {},
            "write keys separated by dots, like optimizer.lr or passes.0.times"};
  };
  std::vector<std::string> parts;
  for (size_t i = 0;;) {
    std::string part;
    if (i < dotted.size() && (dotted[i] == '"' || dotted[i] == '\'')) {
      const size_t close = dotted.find(dotted[i], i + 1);
      if (close == std::string_view::npos) throw malformed("a quote is not closed");
      part = dotted.substr(i + 1, close - i - 1);
      i = close + 1;
    } else {
      const size_t dot = std::min(dotted.find('.', i), dotted.size());
      part = trim(dotted.substr(i, dot - i));
      if (part.empty()) throw malformed("a key is empty");
      i = dot;
    }
    parts.push_back(std::move(part));
    if (i == dotted.size()) return parts;
    if (dotted[i] != '.') throw malformed("a quote ends within a key");
    ++i;
  }
}

/// The index that a part of a path stands for; npos if it is no number.
size_t as_index(const std::string& part) {
  size_t index = 0;
  const auto [stop, problem] = std::from_chars(part.data(), part.data() + part.size(), index);
  return problem == std::errc() && stop == part.data() + part.size() ? index : std::string::npos;
}

[[noreturn]] void refuse_place(const std::string& part, const std::string& walked, const Config& list) {
  const std::string size = std::to_string(list.as_list().size());
  throw Error(Code::config, "'" + part + "' is no place in list '" + walked + "' of " + size, list.origin.text(),
              "places count from 0; the next free one is " + size);
}

std::string quoted_key(const std::string& key) {
  const bool bare = !key.empty() && key.find_first_of(".\"' \t\n=") == std::string::npos;
  return bare ? key : '"' + key + '"';
}

bool same_kind(const Config& a, const Config& b) {
  const Config *left = a.find("kind"), *right = b.find("kind");
  return left == nullptr || right == nullptr || *left == *right;
}

bool holds_tables(const Config& value) {
  if (!value.is_list()) return false;
  return std::any_of(value.as_list().begin(), value.as_list().end(),
                     [](const Config& c) { return c.is_table() || holds_tables(c); });
}

bool is_leaf(const Config* value) {
  if (value->is_table()) return value->as_table().empty();
  return !holds_tables(*value);
}

void collect(const Config* before, const Config* after, const std::string& key, std::vector<Change>& out) {
  if (before && before->is_null()) before = nullptr;
  if (after && after->is_null()) after = nullptr;
  if (!before && !after) return;
  if (before && after && *before == *after) return;
  const auto below = [&](const std::string& part) { return key.empty() ? part : key + "." + part; };
  const auto alike = [&](bool (Config::*is)() const) {
    return (!before || (before->*is)()) && (!after || (after->*is)());
  };
  const bool leaf = (!before || is_leaf(before)) && (!after || is_leaf(after));
  if (!leaf && alike(&Config::is_table)) {
    for (const Config* side : {before, after}) {
      if (!side) continue;
      for (const auto& [name, value] : side->as_table()) {
        const Config* old = before ? before->find(name) : nullptr;
        if (side == after && old) continue;
        collect(old, after ? after->find(name) : nullptr, below(quoted_key(name)), out);
      }
    }
    return;
  }
  if (!leaf && alike(&Config::is_list)) {
    const size_t n_before = before ? before->as_list().size() : 0;
    const size_t n_after = after ? after->as_list().size() : 0;
    for (size_t i = 0; i < std::max(n_before, n_after); ++i) {
      collect(i < n_before ? &before->as_list()[i] : nullptr, i < n_after ? &after->as_list()[i] : nullptr,
              below(std::to_string(i)), out);
    }
    return;
  }
  const auto text = [](const Config* c) { return c ? to_toml_value(*c) : std::string("(absent)"); };
  out.push_back({key, text(before), text(after)});
}

}  // namespace

std::string Origin::text() const {
  switch (kind) {
    case Kind::none:
      return "";
    case Kind::fallback:
      return "default";
    case Kind::command_line:
      return "command line";
    case Kind::code:
      return "set by the program";
    case Kind::file:
      break;
  }
  if (line <= 0) return file;
  return file + ":" + std::to_string(line) + ":" + std::to_string(column);
}

std::string_view Config::type_name() const {
  constexpr std::string_view kTypes[] = {"nothing", "boolean", "integer", "number", "string", "list", "table"};
  return kTypes[value_.index()];
}

const Config* Config::find(std::string_view key) const {
  if (!is_table()) return nullptr;
  for (const auto& [name, value] : as_table()) {
    if (name == key) return &value;
  }
  return nullptr;
}

Config* Config::find(std::string_view key) { return const_cast<Config*>(std::as_const(*this).find(key)); }

Config& Config::set(std::string_view key, Config value) {
  if (is_null()) value_ = Table{};
  ETUDE_CHECK(is_table(), "set() needs a table, not a " + std::string(type_name()));
  if (Config* old = find(key)) return *old = std::move(value);
  return as_table().emplace_back(std::string(key), std::move(value)).second;
}

void Config::erase(std::string_view key) {
  if (is_table()) std::erase_if(as_table(), [&](const auto& entry) { return entry.first == key; });
}

Config& Config::at_path(std::string_view dotted) {
  Config* here = this;
  std::string walked;
  for (const std::string& part : split_path(dotted)) {
    if (here->is_null()) here->value_ = Table{};
    if (here->is_string()) {
      Config kind = *here;
      here->value_ = Table{};
      here->set("kind", std::move(kind));
    }
    if (here->is_table()) {
      Config* next = here->find(part);
      here = next ? next : &here->set(part, Config());
    } else if (here->is_list()) {
      List& list = here->as_list();
      const size_t index = as_index(part);
      if (index > list.size()) refuse_place(part, walked, *here);
      if (index == list.size()) list.emplace_back();
      here = &list[index];
    } else {
      throw Error(Code::config,
                  "'" + std::string(dotted) + "' can't be set: '" + walked + "' is " + to_toml_value(*here) + " (" +
                      std::string(here->type_name()) + ")",
                  here->origin.text(), "only tables and lists have something below them");
    }
    walked += (walked.empty() ? "" : ".") + quoted_key(part);
  }
  return *here;
}

const Config* Config::find_path(std::string_view dotted) const {
  const Config* here = this;
  for (const std::string& part : split_path(dotted)) {
    if (here->is_list()) {
      const size_t index = as_index(part);
      here = index < here->as_list().size() ? &here->as_list()[index] : nullptr;
    } else {
      here = here->find(part);
    }
    if (!here) return nullptr;
  }
  return here;
}

void Config::merge(const Config& over) {
  if (!is_table() || !over.is_table() || !same_kind(*this, over)) {
    *this = Config(over);  // through a copy: `over` may be a part of this value
    return;
  }
  Table entries(over.as_table().begin(), over.as_table().end());  // a copy for the same reason
  for (auto& [key, value] : entries) {
    if (Config* old = find(key)) {
      old->merge(value);
    } else {
      set(key, std::move(value));
    }
  }
}

void Config::set_origin(const Origin& everywhere) {
  origin = everywhere;
  if (is_list()) {
    for (Config& c : as_list()) c.set_origin(everywhere);
  } else if (is_table()) {
    for (auto& [key, c] : as_table()) c.set_origin(everywhere);
  }
}

bool Config::operator==(const Config& other) const {
  if (value_.index() != other.value_.index()) return false;
  if (is_real()) return std::bit_cast<uint64_t>(as_real()) == std::bit_cast<uint64_t>(other.as_real());
  if (!is_table()) return value_ == other.value_;
  if (as_table().size() != other.as_table().size()) return false;
  return std::all_of(as_table().begin(), as_table().end(), [&](const auto& entry) {
    const Config* match = other.find(entry.first);
    return match && entry.second == *match;
  });
}

void apply_override(Config& into, std::string_view assignment) {
  const std::string shown = "'" + std::string(assignment) + "'";
  constexpr const char* kHint = "write key=value, like optimizer.lr=0.01 or seed=3";
  const size_t equals = assignment.find('=');
  if (equals == std::string_view::npos || trim(assignment.substr(0, equals)).empty()) {
    throw Error(Code::usage, shown + " sets no option", "command line", kHint);
  }
  if (!valid_utf8(assignment)) {
    throw Error(Code::usage, shown + " is not UTF-8", "command line",
                "recipes are stored as UTF-8; rename the file, or give its path through a link");
  }
  const std::string_view text = assignment.substr(equals + 1);
  Config value{std::string(text)};
  try {
    Config parsed = parse_toml("v = " + std::string(text), "command line");
    if (parsed.as_table().size() == 1) value = std::move(parsed.as_table().front().second);
  } catch (const Error&) {
    // No TOML: a plain string.
  }
  value.set_origin({Origin::Kind::command_line, {}, 0, 0});
  try {
    Config changed = into;
    changed.at_path(trim(assignment.substr(0, equals))) = std::move(value);
    into = std::move(changed);
  } catch (const Error& error) {
    throw Error(Code::usage, shown + ": " + error.message(), "command line",
                error.hint().empty() ? kHint : error.hint());
  }
}

std::vector<Change> difference(const Config& before, const Config& after) {
  std::vector<Change> out;
  collect(&before, &after, "", out);
  return out;
}

}  // namespace etude
