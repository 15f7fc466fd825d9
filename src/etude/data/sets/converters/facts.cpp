#include <map>
#include <nlohmann/json.hpp>

#include "etude/base/text.h"
#include "etude/data/sets/converters.h"

namespace etude::convert {
namespace {

/// The keys that name an entry, best first.
constexpr std::string_view kCodes[] = {"code", "alpha_4", "alpha_3", "alpha_2"};

/// One "key: value" a line, in the order of the keys.
std::string as_lines(const nlohmann::json& entry) {
  std::string text;
  for (const auto& [key, value] : entry.items())
    if (value.is_string() && !value.get_ref<const std::string&>().empty())
      text += (text.empty() ? "" : "\n") + key + ": " + value.get<std::string>();
  return text;
}

std::vector<std::string> columns_of(std::string_view line) {
  std::vector<std::string> columns;
  for (size_t begin = 0; begin <= line.size();) {
    const size_t end = std::min(line.find('\t', begin), line.size());
    columns.emplace_back(line.substr(begin, end - begin));
    begin = end + 1;
  }
  return columns;
}

/// Calls `see` with the columns of each line that is no comment.
template <class See>
void each_row(const MemberFiles& members, const std::string& member, size_t least, const See& see) {
  const std::string text = as_utf8(members.read(member));
  int64_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (line.empty() || line.front() == '#') continue;
    const std::vector<std::string> columns = columns_of(line);
    if (columns.size() < least)
      refuse_member(member, "a line has " + std::to_string(columns.size()) + " columns", number);
    see(columns);
  }
}

}  // namespace

/// An entry of a list is a document. Fields: list ("3166-1"), name, and the list's own.
void iso_codes(const MemberFiles& members, const SetDescription&, const Emit& emit) {
  for (const std::string& path : members_like(members, "**/iso_*.json")) {
    const auto all = nlohmann::json::parse(members.read(path), nullptr, false);
    if (!all.is_object() || all.size() != 1 || !all.begin()->is_array())
      refuse_member(path, "this is no JSON object with one list");
    const std::string list = all.begin().key();
    for (const nlohmann::json& entry : *all.begin()) {
      if (!entry.is_object()) refuse_member(path, "the list has something that is no object");
      nlohmann::json document = entry;
      for (const std::string_view code : kCodes)
        if (const auto found = entry.find(code); found != entry.end() && found->is_string() && !document.contains("id"))
          document["id"] = list + "/" + found->get<std::string>();
      if (!document.contains("id")) refuse_member(path, "an entry of the list has no code");
      document["text"] = as_lines(entry);
      document["list"] = list;
      emit(document);
    }
  }
}

/// A zone is a document. Fields: zone, code and country (of ISO 3166), coordinates (ISO 6709), comment.
void time_zones(const MemberFiles& members, const SetDescription&, const Emit& emit) {
  std::map<std::string, std::string> countries;
  for (const std::string& path : members_like(members, "**/iso3166.tab"))
    each_row(members, path, 2, [&](const auto& columns) { countries[columns[0]] = columns[1]; });
  for (const std::string& path : members_like(members, "**/zone.tab"))
    each_row(members, path, 3, [&](const auto& columns) {
      const nlohmann::json facts = {{"zone", columns[2]},
                                    {"code", columns[0]},
                                    {"country", countries[columns[0]]},
                                    {"coordinates", columns[1]},
                                    {"comment", columns.size() > 3 ? columns[3] : ""}};
      nlohmann::json document = facts;
      document["id"] = columns[2];
      document["text"] = as_lines(facts);
      emit(document);
    });
}

}  // namespace etude::convert
