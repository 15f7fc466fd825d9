// Configurations as text: TOML in and out, JSON out.

#include <sys/stat.h>

#include <toml++/toml.h>
#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <sstream>

#include "etude/base/config.h"
#include "etude/base/error.h"
#include "etude/base/text.h"

namespace etude {
namespace {

// ---- TOML in ------------------------------------------------------------------------------------

class TomlReader {
 public:
  explicit TomlReader(std::string_view file) : file_(file) {}

  Config convert(const toml::node& node) const {
    Config out;
    switch (node.type()) {
      case toml::node_type::boolean:
        out = node.as_boolean()->get();
        break;
      case toml::node_type::integer:
        out = node.as_integer()->get();
        break;
      case toml::node_type::floating_point:
        out = node.as_floating_point()->get();
        break;
      case toml::node_type::string:
        out = node.as_string()->get();
        break;
      case toml::node_type::array:
        out = convert(*node.as_array());
        break;
      case toml::node_type::table:
        out = convert(*node.as_table());
        break;
      default:
        throw Error(Code::config, "dates and times have no meaning here", at(node.source()),
                    "put the value in quotes to make it a string");
    }
    out.origin = origin(node.source());
    return out;
  }

  std::string at(const toml::source_region& region) const { return origin(region).text(); }

 private:
  Origin origin(const toml::source_region& region) const {
    return {Origin::Kind::file, file_, static_cast<int>(region.begin.line), static_cast<int>(region.begin.column)};
  }

  Config convert(const toml::array& array) const {
    Config::List out;
    for (const toml::node& node : array) out.push_back(convert(node));
    return out;
  }

  /// toml++ sorts keys; their places in the file give the order in which they were written.
  Config convert(const toml::table& table) const {
    std::vector<std::pair<const toml::key*, const toml::node*>> entries;
    for (const auto& [key, node] : table) entries.emplace_back(&key, &node);
    const auto place = [](const auto& entry) {
      const auto& begin = entry.first->source().begin;
      return std::pair(begin.line, begin.column);
    };
    std::stable_sort(entries.begin(), entries.end(), [&](const auto& a, const auto& b) { return place(a) < place(b); });
    Config out = Config::table();
    for (const auto& [key, node] : entries) {
      Config value = convert(*node);
      // A value's place is its key's: that is what a person looks for.
      value.origin = origin(key->source());
      out.as_table().emplace_back(std::string(key->str()), std::move(value));
    }
    return out;
  }

  std::string file_;
};

std::string line_of(std::string_view text, uint32_t number) {
  size_t begin = 0;
  for (uint32_t i = 1; i < number; ++i) {
    const size_t end = text.find('\n', begin);
    if (end == std::string_view::npos) return {};
    begin = end + 1;
  }
  const std::string_view line = trim(text.substr(begin, text.find('\n', begin) - begin));
  return line.size() <= 100 && valid_utf8(line) ? std::string(line) : std::string();
}

// ---- TOML and JSON out --------------------------------------------------------------------------

/// A string in double quotes with the escapes that TOML and JSON have in common.
std::string quoted(const std::string& text) {
  constexpr const char* kHex = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (byte < 0x20 || byte == 0x7F) {
          out += std::string("\\u00") + kHex[byte >> 4] + kHex[byte & 15];
        } else {
          out += c;
        }
    }
  }
  return out + '"';
}

std::string toml_string(const std::string& text) {
  if (!valid_utf8(text)) {
    throw Error(Code::config, "a string is not UTF-8: " + quoted(text), {},
                "configurations are stored as UTF-8; rename the file, or give its path through a link");
  }
  return quoted(text);
}

std::string toml_key(const std::string& key) {
  const auto bare = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  };
  const bool plain = !key.empty() && std::all_of(key.begin(), key.end(), bare);
  return plain ? key : toml_string(key);
}

/// Whether a value may stand under a [header] or under [[headers]] of its own.
bool headed(const Config& value) {
  if (value.is_table()) return true;
  return value.is_list() && !value.as_list().empty() &&
         std::all_of(value.as_list().begin(), value.as_list().end(), [](const Config& c) { return c.is_table(); });
}

/// Writes "key = value" lines, then [headers]. Only what stands after the last plain value may have a
/// header, as a header ends its parent's lines; what stands before is written inline. So keys keep
/// their order.
void write_block(const Config::Table& table, const std::string& prefix, std::string& out) {
  size_t first_headed = 0;
  for (size_t i = 0; i < table.size(); ++i) {
    const Config& value = table[i].second;
    if (!value.is_null() && !headed(value)) first_headed = i + 1;
  }
  for (size_t i = 0; i < table.size(); ++i) {
    const auto& [key, value] = table[i];
    if (value.is_null()) continue;
    if (i < first_headed) {
      out += toml_key(key) + " = " + to_toml_value(value) + "\n";
      continue;
    }
    const std::string path = prefix + toml_key(key);
    const auto header = [&](const std::string& text, const Config& block) {
      if (!out.empty()) out += "\n";
      out += text + "\n";
      write_block(block.as_table(), path + ".", out);
    };
    if (value.is_table()) {
      header("[" + path + "]", value);
    } else {
      for (const Config& element : value.as_list()) header("[[" + path + "]]", element);
    }
  }
}

std::string json(const Config& value, bool sorted) {
  if (value.is_null()) return "null";
  if (value.is_bool()) return value.as_bool() ? "true" : "false";
  if (value.is_int()) return std::to_string(value.as_int());
  if (value.is_real()) {
    const std::string text = real_text(value.as_real());
    return std::isfinite(value.as_real()) ? text : '"' + text + '"';
  }
  if (value.is_string()) return quoted(value.as_string());
  std::string out;
  if (value.is_list()) {
    for (const Config& c : value.as_list()) out += (out.empty() ? "" : ",") + json(c, sorted);
    return "[" + out + "]";
  }
  std::vector<const std::pair<std::string, Config>*> entries;
  for (const auto& entry : value.as_table()) entries.push_back(&entry);
  if (sorted) {
    std::sort(entries.begin(), entries.end(), [](const auto* a, const auto* b) { return a->first < b->first; });
  }
  for (const auto* entry : entries) {
    out += (out.empty() ? "" : ",") + quoted(entry->first) + ":" + json(entry->second, sorted);
  }
  return "{" + out + "}";
}

}  // namespace

Config parse_toml(std::string_view text, std::string_view file_name) {
  const TomlReader reader(file_name);
  try {
    const toml::table table = toml::parse(text, file_name);
    return reader.convert(static_cast<const toml::node&>(table));
  } catch (const toml::parse_error& error) {
    const std::string line = line_of(text, error.source().begin.line);
    throw Error(Code::config, "not TOML: " + std::string(error.description()), reader.at(error.source()),
                line.empty() ? "a recipe is UTF-8 text; toml.io describes its form" : "the line reads: " + line);
  }
}

Config read_toml(const std::string& path) {
  constexpr int64_t kLimit = int64_t{16} << 20;
  const auto refuse = [&](const std::string& why, const std::string& hint) -> Error {
    return {Code::config, "can't read '" + path + "': " + why, path, hint};
  };
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) {
    throw refuse(std::generic_category().message(errno), "give the path of a TOML file");
  }
  if (S_ISDIR(info.st_mode)) throw refuse("it is a directory", "give the path of a TOML file in it");
  if (!S_ISREG(info.st_mode)) throw refuse("it is no regular file", "save it to a file first");
  if (info.st_size > kLimit) throw refuse("it is larger than 16 MiB", "is that a recipe?");
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file || (text.view().empty() && info.st_size > 0)) {
    throw refuse(std::generic_category().message(errno), "check its permissions");
  }
  return parse_toml(text.view(), path);
}

std::string to_toml(const Config& table) {
  ETUDE_CHECK(table.is_table(), "to_toml() needs a table");
  std::string out;
  write_block(table.as_table(), "", out);
  return out;
}

std::string to_toml_value(const Config& value) {
  if (value.is_null()) return "";
  if (value.is_real()) return real_text(value.as_real());
  if (value.is_string()) return toml_string(value.as_string());
  std::string out;
  if (value.is_list()) {
    for (const Config& c : value.as_list()) {
      ETUDE_CHECK(!c.is_null(), "TOML has no null in lists");
      out += (out.empty() ? "" : ", ") + to_toml_value(c);
    }
    return "[" + out + "]";
  }
  if (!value.is_table()) return json(value, false);
  for (const auto& [key, c] : value.as_table()) {
    if (!c.is_null()) out += (out.empty() ? "" : ", ") + toml_key(key) + " = " + to_toml_value(c);
  }
  return "{" + out + "}";
}

std::string to_json(const Config& value) { return json(value, false); }
std::string to_sorted_json(const Config& value) { return json(value, true); }

}  // namespace etude
