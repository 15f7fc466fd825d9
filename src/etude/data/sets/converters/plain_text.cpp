#include <nlohmann/json.hpp>

#include "etude/base/text.h"
#include "etude/data/sets/converters.h"

namespace etude::convert {
namespace {

/// "8.1.6" at the beginning of "8.1.6. Other package management tools"; "" of any other line.
std::string section_number(std::string_view line) {
  size_t at = 0, parts = 0;
  while (at < line.size() && line[at] >= '0' && line[at] <= '9') {
    while (at < line.size() && line[at] >= '0' && line[at] <= '9') ++at;
    if (at == line.size() || line[at] != '.') return "";
    ++at;
    ++parts;
  }
  return parts >= 2 && at < line.size() && line[at] == ' ' ? std::string(line.substr(0, at - 1)) : "";
}

bool is_chapter(std::string_view line) { return line.starts_with("Chapter ") || line.starts_with("Appendix "); }

/// With common blanks in place of those that don't break.
std::string with_plain_blanks(std::string text) {
  for (size_t at = 0; (at = text.find("\u00A0", at)) != std::string::npos; ++at) text.replace(at, 2, " ");
  return text;
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

/// The part of a heading that goes on in further lines, up to the blank one.
std::string heading(const std::vector<std::string_view>& lines, size_t& at) {
  std::string all;
  for (; at < lines.size() && !trim(lines[at]).empty(); ++at) all.append(lines[at]).append(" ");
  return one_line(all);
}

struct Section {
  std::string number, title, chapter, body;
};

/// Sections behind the table of contents, which is the part before the first chapter's heading.
std::vector<Section> sections_of(const std::string& text) {
  const std::vector<std::string_view> lines = lines_of(text);
  std::vector<Section> sections;
  std::string chapter;
  for (size_t i = 0; i < lines.size();) {
    if (is_chapter(lines[i])) {
      chapter = heading(lines, i);
      if (!sections.empty()) sections.push_back({"", "", chapter, ""});  // the chapter's own table is nobody's text
    } else if (const std::string number = section_number(lines[i]); !number.empty() && !chapter.empty()) {
      sections.push_back({number, heading(lines, i), chapter, ""});
    } else {
      if (!sections.empty()) sections.back().body.append(lines[i]).append("\n");
      ++i;
    }
  }
  return sections;
}

}  // namespace

/// A numbered section is a document. Fields: section (its number), title, chapter.
void plain_text(const MemberFiles& members, const SetDescription&, const Emit& emit) {
  for (const std::string& path : members.paths()) {
    const std::string text = with_plain_blanks(as_utf8(unpacked(members.read(path), path)));
    for (const Section& section : sections_of(text)) {
      const std::string_view body = trim(section.body);
      if (section.number.empty() || body.empty()) continue;
      emit({{"id", section.number},
            {"text", section.title + "\n\n    " + std::string(body)},
            {"section", section.number},
            {"title", section.title.substr(section.number.size() + 2)},
            {"chapter", section.chapter}});
    }
  }
}

}  // namespace etude::convert
