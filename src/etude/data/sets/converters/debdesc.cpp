#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "etude/base/text.h"
#include "etude/data/sets/converters.h"

// The archive's indexes (deb822(5)): stanzas of "Field: value" with an empty line between them, a value goes on in
// lines that begin with a blank. Packages has a stanza for each package, with the first line of its description and the
// MD5 of the English whole; Translation-LANG has the texts by that MD5.

namespace etude::convert {
namespace {

using Stanza = std::map<std::string, std::string>;

/// Calls `see` with each stanza's wanted fields. Lines that go on are joined by line ends, with their first blank.
template <class See>
void each_stanza(std::string_view text, const std::string& member, const See& see) {
  Stanza stanza;
  std::string* field = nullptr;
  int64_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (line.empty()) {
      if (!stanza.empty()) see(stanza);
      stanza.clear();
      field = nullptr;
    } else if (line.front() == ' ' || line.front() == '\t') {
      if (!field) refuse_member(member, "a line goes on where no field stands before it", number);
      field->append("\n").append(line);
    } else {
      const size_t colon = line.find(':');
      if (colon == line.npos) refuse_member(member, "a line is no 'Field: value'", number);
      field = &(stanza[std::string(line.substr(0, colon))] = trim(line.substr(colon + 1)));
    }
  }
  if (!stanza.empty()) see(stanza);
}

std::string value_of(const Stanza& stanza, const std::string& field) {
  const auto found = stanza.find(field);
  return found == stanza.end() ? "" : found->second;
}

struct Words {
  std::string synopsis, body;
  std::string whole() const { return body.empty() ? synopsis : synopsis + "\n\n" + body; }
};

/// A description as policy 5.6.13 has it: the first line is the synopsis; a line " ." stands between paragraphs, and
/// lines that begin with two blanks or more keep their ends.
Words words_of(std::string_view description) {
  Words words;
  const size_t first = std::min(description.find('\n'), description.size());
  words.synopsis = as_utf8(std::string(trim(description.substr(0, first))));
  std::string body;
  bool flowing = false;  // a paragraph is open whose lines are joined
  for (size_t begin = first + 1; begin < description.size();) {
    const size_t end = std::min(description.find('\n', begin), description.size());
    std::string_view line = description.substr(begin, end - begin);
    begin = end + 1;
    if (line.starts_with(' ')) line.remove_prefix(1);
    if (trim(line) == "." || trim(line).empty()) {
      if (!body.empty() && !body.ends_with("\n\n")) body += body.ends_with("\n") ? "\n" : "\n\n";
      flowing = false;
    } else if (line.front() == ' ' || line.front() == '\t') {
      if (flowing) body += "\n";
      body.append(line).append("\n");
      flowing = false;
    } else {
      if (flowing) body += " ";
      body.append(trim(line));
      flowing = true;
    }
  }
  while (body.ends_with("\n")) body.pop_back();
  words.body = as_utf8(body);
  return words;
}

/// "rust" of "role::program, implemented-in::rust" as a list; a tag in braces stands for several: "a::{b,c}".
std::vector<std::string> tags_of(std::string_view field) {
  std::vector<std::string> tags;
  std::string one;
  bool braces = false;
  const auto end_tag = [&] {
    const std::string tag(trim(one));
    one.clear();
    const size_t open = tag.find('{');
    if (open == tag.npos) {
      if (!tag.empty()) tags.push_back(tag);
      return;
    }
    const std::string facet = tag.substr(0, open), inside = tag.substr(open + 1, tag.find('}') - open - 1);
    for (size_t begin = 0; begin <= inside.size();) {
      const size_t end = std::min(inside.find(',', begin), inside.size());
      tags.push_back(facet + std::string(trim(std::string_view(inside).substr(begin, end - begin))));
      begin = end + 1;
    }
  };
  for (const char c : field) {
    braces = c == '{' || (braces && c != '}');
    if (c == ',' && !braces)
      end_tag();
    else
      one += c;
  }
  end_tag();
  std::sort(tags.begin(), tags.end());
  tags.erase(std::unique(tags.begin(), tags.end()), tags.end());
  return tags;
}

std::string_view file_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

/// The texts of a language by the MD5 of the English ones.
std::map<std::string, Words> translation(const MemberFiles& members, const std::string& language) {
  std::map<std::string, Words> texts;
  for (const std::string& path : members.paths()) {
    if (file_name(path) != "Translation-" + language) continue;
    each_stanza(members.read(path), path, [&](const Stanza& stanza) {
      const std::string md5 = value_of(stanza, "Description-md5");
      if (!md5.empty()) texts.emplace(md5, words_of(value_of(stanza, "Description-" + language)));
    });
  }
  return texts;
}

/// Calls `see` with each package once, in the order of the index.
template <class See>
void each_package(const MemberFiles& members, const See& see) {
  std::set<std::string> seen;
  for (const std::string& path : members.paths()) {
    if (file_name(path) != "Packages" && file_name(path) != "status") continue;
    each_stanza(members.read(path), path, [&](const Stanza& stanza) {
      const std::string name = value_of(stanza, "Package"), status = value_of(stanza, "Status");
      if (name.empty()) refuse_member(path, "a stanza names no package");
      if (status.empty() || status.ends_with(" installed"))
        if (seen.insert(name).second) see(name, stanza);
    });
  }
}

nlohmann::json facts_of(const std::string& name, const Stanza& stanza) {
  const std::string source = value_of(stanza, "Source");
  return {{"id", name},
          {"package", name},
          {"source", source.empty() ? name : source.substr(0, source.find(' '))},
          {"section", value_of(stanza, "Section")},
          {"homepage", value_of(stanza, "Homepage")},
          {"tags", tags_of(value_of(stanza, "Tag"))}};
}

/// The description in the language of these texts, or the one that stands in the stanza itself.
Words description_of(const Stanza& stanza, const std::map<std::string, Words>& texts) {
  const auto found = texts.find(value_of(stanza, "Description-md5"));
  return found != texts.end() ? found->second : words_of(value_of(stanza, "Description"));
}

bool letter(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c & 0x80); }

/// The text with every whole word that is the name, in small or large letters, made "PACKAGE".
std::string without_name(const std::string& text, const std::string& name) {
  const auto lower = [](std::string s) {
    for (char& c : s) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    return s;
  };
  const std::string folded = lower(text), wanted = lower(name);
  std::string out;
  size_t from = 0;
  for (size_t at = 0; (at = folded.find(wanted, at)) != std::string::npos;) {
    const size_t end = at + wanted.size();
    const bool whole = (at == 0 || !letter(folded[at - 1])) && (end == folded.size() || !letter(folded[end]));
    if (whole) {
      out.append(text, from, at - from).append("PACKAGE");
      from = end;
    }
    at = end;
  }
  return out.append(text, from, text.size() - from);
}

}  // namespace

/// A package is a document. Fields: package, source, section, homepage, tags, synopsis, body; with the option
/// `language` other than en also the whole text in English (en) and in the language (under its own name); packages
/// that nobody has translated are left out.
void debdesc(const MemberFiles& members, const SetDescription& set, const Emit& emit) {
  const std::string language = set.option("language", "en");
  const std::map<std::string, Words> english = translation(members, "en");
  const std::map<std::string, Words> other =
      language == "en" ? std::map<std::string, Words>() : translation(members, language);
  each_package(members, [&](const std::string& name, const Stanza& stanza) {
    const Words words = description_of(stanza, english);
    const auto translated = other.find(value_of(stanza, "Description-md5"));
    if (words.synopsis.empty() || (language != "en" && translated == other.end())) return;
    const Words& shown = language == "en" ? words : translated->second;
    nlohmann::json document = facts_of(name, stanza);
    document["text"] = shown.whole();
    document["synopsis"] = shown.synopsis;
    document["body"] = shown.body;
    if (language != "en") {
      document["en"] = words.whole();
      document[language] = shown.whole();
    }
    emit(document);
  });
}

/// A package that people gave tags is a document; its own name is "PACKAGE" in the text. Fields: those of debdesc,
/// facets (of the tags). Tags that only say that one is missing (ending in TODO) are left out.
void debtags(const MemberFiles& members, const SetDescription&, const Emit& emit) {
  const std::map<std::string, Words> english = translation(members, "en");
  each_package(members, [&](const std::string& name, const Stanza& stanza) {
    nlohmann::json document = facts_of(name, stanza);
    std::vector<std::string> tags;
    std::set<std::string> facets;
    for (const nlohmann::json& tag : document["tags"]) {
      const auto text = tag.get<std::string>();
      if (text.ends_with("TODO")) continue;
      tags.push_back(text);
      facets.insert(text.substr(0, text.find("::")));
    }
    const Words words = description_of(stanza, english);
    if (tags.empty() || words.synopsis.empty()) return;
    document["tags"] = tags;
    document["facets"] = facets;
    document["synopsis"] = without_name(words.synopsis, name);
    document["body"] = without_name(words.body, name);
    document["text"] = without_name(words.whole(), name);
    emit(document);
  });
}

}  // namespace etude::convert
