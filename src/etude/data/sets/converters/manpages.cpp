#include <nlohmann/json.hpp>

#include "etude/data/sets/archive.h"
#include "etude/data/sets/converters.h"
#include "etude/data/sets/roff.h"

namespace etude::convert {

/// Members: ".../man/[LANG/]manN/NAME.N[.gz]". A page is a document; those that only refer to another are left out.
/// Fields: lang ("en" without a folder), name, section, title.
void manpages(const MemberFiles& members, const SetDescription&, const Emit& emit) {
  for (const std::string& path : members_like(members, "**/man*/*")) {
    if (path.find("/man/") == path.npos) continue;
    const size_t file_at = path.rfind('/') + 1;
    std::string file = path.substr(file_at);
    if (file.ends_with(".gz")) file.resize(file.size() - 3);
    const size_t dot = file.rfind('.');
    if (dot == file.npos) continue;
    const std::string name = file.substr(0, dot), section = file.substr(dot + 1);
    const size_t lang_at = path.rfind("/man/") + 5;
    const size_t folder_at = path.rfind("/man", file_at - 2);
    const std::string lang = folder_at < lang_at ? "en" : path.substr(lang_at, folder_at - lang_at);
    const ManualPage page = read_manual_page(as_utf8(unpacked(members.read(path), path)), path);
    if (page.text.empty()) continue;
    emit({{"id", lang + "/" + section + "/" + name},
          {"text", page.text},
          {"lang", lang},
          {"name", name},
          {"section", section},
          {"title", page.title}});
  }
}

}  // namespace etude::convert
