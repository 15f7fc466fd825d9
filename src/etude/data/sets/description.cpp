#include "etude/data/sets/description.h"

#include <algorithm>

#include "etude/base/assets.h"
#include "etude/base/config.h"
#include "etude/base/error.h"

namespace etude {
namespace {

[[noreturn]] void refuse(const Config& at, const std::string& what) {
  throw Error(Code::config, what, at.origin.text(), "data/sets.toml describes the sets; docs/data.md says how");
}

std::string text_of(const Config& table, std::string_view key, bool needed = true) {
  const Config* const value = table.find(key);
  if (!value && !needed) return "";
  if (!value || !value->is_string()) refuse(value ? *value : table, "'" + std::string(key) + "' must be a text");
  return value->as_string();
}

int64_t number_of(const Config& table, std::string_view key) {
  const Config* const value = table.find(key);
  if (!value) return 0;
  if (!value->is_int() || value->as_int() < 0) refuse(*value, "'" + std::string(key) + "' must be a whole number");
  return value->as_int();
}

const Config::List& list_of(const Config& table, std::string_view key) {
  static const Config::List none;
  const Config* const value = table.find(key);
  if (!value) return none;
  if (!value->is_list()) refuse(*value, "'" + std::string(key) + "' must be a list");
  return value->as_list();
}

bool is_hash(const std::string& text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

SetPackage package(const Config& table) {
  SetPackage p{text_of(table, "name"), text_of(table, "version"), text_of(table, "sha256"), number_of(table, "bytes")};
  if (!is_hash(p.sha256)) refuse(table, "'" + p.sha256 + "' is no SHA-256 of " + p.name);
  return p;
}

SetDescription::Source source(const Config& table) {
  const std::string word = text_of(table, "source", false);
  if (word.empty()) return SetDescription::Source::packages;
  if (word == "indexes") return SetDescription::Source::indexes;
  if (word == "status") return SetDescription::Source::status;
  refuse(*table.find("source"), "there is no source '" + word + "' of sets");
}

SetDescription description(const std::string& name, const Config& table) {
  static const std::vector<std::string> known = {"title",   "licence",   "source",  "terms",   "about",
                                                 "split",   "kind",      "options", "package", "members",
                                                 "content", "documents", "bytes"};
  for (const auto& [key, value] : table.as_table())
    if (std::find(known.begin(), known.end(), key) == known.end()) refuse(value, "unknown key '" + key + "'");
  SetDescription set;
  set.name = name;
  set.title = text_of(table, "title");
  set.licence = text_of(table, "licence");
  set.terms = text_of(table, "terms", false);
  set.about = text_of(table, "about");
  set.split = text_of(table, "split", false);
  set.source = source(table);
  set.kind = text_of(table, "kind");
  set.content = text_of(table, "content", false);
  set.documents = number_of(table, "documents");
  set.bytes = number_of(table, "bytes");
  if (const Config* options = table.find("options"))
    for (const auto& [key, value] : options->as_table()) set.options[key] = text_of(*options, key);
  for (const Config& one : list_of(table, "package")) set.packages.push_back(package(one));
  for (const Config& one : list_of(table, "members")) set.members.push_back(one.as_string());
  if (set.packages.empty() == (set.source == SetDescription::Source::packages))
    refuse(table, "'" + name + "' has packages if and only if it has no other source");
  if (set.packages.empty() != set.members.empty())
    refuse(table, "'" + name + "' has members if and only if it has packages");
  if (!set.content.empty() && !is_hash(set.content)) refuse(table, "'" + set.content + "' is no SHA-256");
  return set;
}

}  // namespace

int64_t SetDescription::packed_bytes() const {
  int64_t sum = 0;
  for (const SetPackage& p : packages) sum += p.bytes;
  return sum;
}

std::vector<SetDescription> parse_set_descriptions(std::string_view toml, std::string_view file_name) {
  std::vector<SetDescription> sets;
  const Config all = parse_toml(toml, file_name);
  for (const auto& [name, table] : all.as_table()) {
    if (!table.is_table()) refuse(table, "'" + name + "' must be a table");
    sets.push_back(description(name, table));
  }
  std::sort(sets.begin(), sets.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return sets;
}

const std::vector<SetDescription>& set_descriptions() {
  static const std::vector<SetDescription> sets = [] {
    const auto text = asset("data/sets.toml");
    ETUDE_CHECK(text.has_value(), "data/sets.toml is not in the program");
    return parse_set_descriptions(*text, "data/sets.toml");
  }();
  return sets;
}

const SetDescription& set_description(const std::string& name) {
  std::vector<std::string> names;
  for (const SetDescription& set : set_descriptions()) {
    if (set.name == name) return set;
    names.push_back(set.name);
  }
  throw Error(Code::data, "there is no data set '" + name + "'", "set:" + name,
              did_you_mean(name, names, "etude data list shows them all"));
}

bool matches_glob(std::string_view pattern, std::string_view path) {
  // A star takes as little as it can; on a mismatch the last one that may takes one character more.
  struct Star {
    size_t pattern, path;  // what is to match behind the star, and from where
    bool deep;
  };
  std::vector<Star> stars;
  size_t p = 0, s = 0;
  while (p < pattern.size() || s < path.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      const bool deep = pattern.substr(p).starts_with("**");
      p += deep ? 2 : 1;
      stars.push_back({p, s, deep});
    } else if (p < pattern.size() && s < path.size() &&
               (pattern[p] == path[s] || (pattern[p] == '?' && path[s] != '/'))) {
      ++p;
      ++s;
    } else {
      while (!stars.empty() &&
             (stars.back().path == path.size() || (!stars.back().deep && path[stars.back().path] == '/')))
        stars.pop_back();
      if (stars.empty()) return false;
      p = stars.back().pattern;
      s = ++stars.back().path;
    }
  }
  return true;
}

std::string SetDescription::option(const std::string& key, const std::string& otherwise) const {
  const auto found = options.find(key);
  return found == options.end() ? otherwise : found->second;
}

}  // namespace etude
