#include <nlohmann/json.hpp>

#include "etude/data/sets/converters.h"
#include "etude/data/sets/pages.h"

namespace etude::convert {

/// Members: ".../help/LANG/BOOK/PAGE.page"; "C" is English. Fields: lang, book, page, title, blocks: pairs of element
/// and text. Where two languages have the same elements in the same order, their blocks say the same; a page or a
/// block that was not translated is in English.
void mallard(const MemberFiles& members, const SetDescription&, const Emit& emit) {
  for (const std::string& path : members_like(members, "**/help/*/*/*.page")) {
    const TextPage page = read_mallard(members.read(path), path);
    if (page.blocks.empty()) continue;
    std::string rest = path.substr(path.find("/help/") + 6);
    std::string lang = rest.substr(0, rest.find('/'));
    rest = rest.substr(lang.size() + 1);
    const std::string book = rest.substr(0, rest.find('/'));
    const std::string name = rest.substr(book.size() + 1, rest.size() - book.size() - 6);
    if (lang == "C") lang = "en";
    emit({{"id", lang + "/" + book + "/" + name},
          {"text", page.text()},
          {"lang", lang},
          {"book", book},
          {"page", name},
          {"title", page.title},
          {"blocks", page.blocks}});
  }
}

}  // namespace etude::convert
