#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>

#include "etude/base/text.h"
#include "etude/data/sets/converters.h"

// dictd(8): a dictionary is one text, packed with gzip (dictzip, which other programs read at random), and an index:
// lines of HEADWORD, offset and length, with tabs between them, numbers in base 64. Several headwords may lead to one
// article.

namespace etude::convert {
namespace {

struct Place {
  int64_t offset = 0, size = 0;
  auto operator<=>(const Place&) const = default;
};

/// Digits A-Z a-z 0-9 + /, the first is worth most. -1: no such number, or one that is too large.
int64_t base64(std::string_view digits) {
  static constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (digits.empty() || digits.size() > 8) return -1;
  int64_t value = 0;
  for (const char digit : digits) {
    const size_t at = kDigits.find(digit);
    if (at == std::string_view::npos) return -1;
    value = value * 64 + static_cast<int64_t>(at);
  }
  return value;
}

/// Entries that tell about the dictionary itself.
bool about_itself(std::string_view headword) {
  return headword.starts_with("00-") || headword.starts_with("00database");
}

using Index = std::map<Place, std::vector<std::string>>;

/// Articles by their place, with the headwords that lead there.
Index read_index(std::string_view text, const std::string& member, size_t dictionary) {
  Index index;
  int64_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    ++number;
    const size_t first = line.find('\t'), second = first == line.npos ? first : line.find('\t', first + 1);
    if (second == line.npos) refuse_member(member, "a line of the index lacks its tabs", number);
    const size_t third = std::min(line.find('\t', second + 1), line.size());  // some have the unfolded headword there
    const Place place{base64(line.substr(first + 1, second - first - 1)),
                      base64(line.substr(second + 1, third - second - 1))};
    if (place.offset < 0 || place.size < 0 || place.offset > static_cast<int64_t>(dictionary) - place.size)
      refuse_member(member, "a line of the index points outside the dictionary", number);
    const std::string headword = as_utf8(std::string(trim(line.substr(0, first))));
    if (about_itself(headword)) continue;
    std::vector<std::string>& headwords = index[place];
    if (!headword.empty() && std::find(headwords.begin(), headwords.end(), headword) == headwords.end())
      headwords.push_back(headword);
  }
  return index;
}

/// Without the blanks that all lines behind the first have in common.
std::string dedented(std::string_view body) {
  size_t common = std::string_view::npos;
  const auto each_line = [&](const auto& see) {
    for (size_t begin = 0; begin < body.size();) {
      const size_t end = std::min(body.find('\n', begin), body.size());
      see(body.substr(begin, end - begin));
      begin = end + 1;
    }
  };
  each_line([&](std::string_view line) {
    if (const size_t at = line.find_first_not_of(" \t"); at != line.npos) common = std::min(common, at);
  });
  std::string out;
  each_line([&](std::string_view line) {
    if (const std::string_view rest = line.substr(std::min(line.size(), common)); !out.empty() || !trim(rest).empty())
      out.append(rest).append("\n");
  });
  while (!out.empty() && (out.back() == '\n' || out.back() == ' ')) out.pop_back();
  return out;
}

/// "abacus" of "abacus /ˈabɐkəs/" and of "Zythem \Zy"them\ (...), n."
std::string head_of(std::string_view first_line) {
  size_t end = first_line.size();
  for (const std::string_view mark : {" /", " \\", " <"}) end = std::min(end, first_line.find(mark));
  return std::string(trim(first_line.substr(0, end)));
}

void convert_one(const MemberFiles& members, const std::string& index_member, std::map<std::string, int>& seen,
                 const Emit& emit) {
  const std::string stem = index_member.substr(0, index_member.size() - std::string_view(".index").size());
  const std::vector<std::string>& paths = members.paths();
  std::string dictionary_member = stem + ".dict.dz";
  if (!std::binary_search(paths.begin(), paths.end(), dictionary_member)) dictionary_member = stem + ".dict";
  if (!std::binary_search(paths.begin(), paths.end(), dictionary_member))
    refuse_member(index_member, "the dictionary of this index is missing");
  const std::string dictionary = unpacked(members.read(dictionary_member), dictionary_member);
  for (auto& [place, headwords] : read_index(members.read(index_member), index_member, dictionary.size())) {
    const std::string article =
        as_utf8(dictionary.substr(static_cast<size_t>(place.offset), static_cast<size_t>(place.size)));
    const size_t begin = std::min(article.find_first_not_of(" \n"), article.size());
    const size_t line_end = std::min(article.find('\n', begin), article.size());
    const std::string head = head_of(std::string_view(article).substr(begin, line_end - begin));
    if (head.empty()) continue;
    if (headwords.empty()) headwords.push_back(head);
    const std::string body = dedented(std::string_view(article).substr(line_end));
    std::string text(trim(std::string_view(article).substr(begin, line_end - begin)));
    if (!body.empty()) text += "\n" + body;
    const int again = ++seen[head];
    emit({{"id", again == 1 ? head : head + "/" + std::to_string(again)},
          {"text", text},
          {"headword", head},
          {"headwords", headwords},
          {"definition", body}});
  }
}

}  // namespace

/// An article is a document. Fields: headword (as the article begins), headwords (all that lead to it), definition
/// (what stands below its first line).
void dictd(const MemberFiles& members, const SetDescription&, const Emit& emit) {
  std::map<std::string, int> seen;
  for (const std::string& index : members_like(members, "**.index")) convert_one(members, index, seen, emit);
}

}  // namespace etude::convert
