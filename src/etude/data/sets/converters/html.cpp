#include <algorithm>
#include <nlohmann/json.hpp>

#include "etude/data/sets/converters.h"
#include "etude/data/sets/pages.h"

namespace etude::convert {
namespace {

/// "it", "it-IT": what books in several languages name their folders.
bool is_language(std::string_view name) {
  const auto letters = [&](size_t begin, size_t count, char first, char last) {
    return name.size() >= begin + count && std::all_of(name.begin() + begin, name.begin() + begin + count,
                                                       [&](char c) { return c >= first && c <= last; });
  };
  return letters(0, 2, 'a', 'z') &&
         (name.size() == 2 || (name.size() == 5 && name[2] == '-' && letters(3, 2, 'A', 'Z')));
}

std::string last_part(std::string_view path) { return std::string(path.substr(path.rfind('/') + 1)); }

}  // namespace

/// Members: pages of a book, those of a translation in a folder named after the language. Fields: lang, page, title,
/// blocks as in mallard(). Indexes and pages for searching are left out.
void html(const MemberFiles& members, const SetDescription&, const Emit& emit) {
  constexpr std::string_view kNoText[] = {"index", "genindex", "search", "ix01"};
  for (const std::string& path : members_like(members, "**.html")) {
    const std::string folder = path.substr(0, path.rfind('/'));
    const std::string file = last_part(path);
    const std::string name = file.substr(0, file.size() - 5);
    if (std::find(std::begin(kNoText), std::end(kNoText), name) != std::end(kNoText)) continue;
    const TextPage page = read_html(members.read(path), path);
    if (page.blocks.empty()) continue;
    std::string lang = last_part(folder);
    if (!is_language(lang)) lang = page.lang.empty() ? "en" : page.lang;
    emit({{"id", lang + "/" + name},
          {"text", page.text()},
          {"lang", lang},
          {"page", name},
          {"title", page.title},
          {"blocks", page.blocks}});
  }
}

}  // namespace etude::convert
