#include <nlohmann/json.hpp>

#include "etude/base/text.h"
#include "etude/data/sets/converters.h"

namespace etude::convert {
namespace {

/// "secA1" of ".../secA1.md.gz".
std::string page_name(std::string_view path) {
  path.remove_prefix(path.rfind('/') + 1);
  return std::string(path.substr(0, path.find('.')));
}

/// The first heading, without its marks; "" where there is none.
std::string first_heading(std::string_view text) {
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    if (line.starts_with('#')) return one_line(line.substr(std::min(line.find_first_not_of('#'), line.size())));
    begin = end + 1;
  }
  return "";
}

}  // namespace

/// A file is a document, its marks are kept. Fields: title, section (the letter of "secA1", "" for other pages).
void markdown(const MemberFiles& members, const SetDescription&, const Emit& emit) {
  for (const std::string& path : members.paths()) {
    const std::string text = as_utf8(unpacked(members.read(path), path));
    if (trim(text).empty()) continue;
    const std::string page = page_name(path);
    const bool section = page.size() > 3 && page.starts_with("sec") && page[3] >= 'A' && page[3] <= 'Z';
    emit({{"id", page},
          {"text", std::string(trim(text))},
          {"title", first_heading(text)},
          {"section", section ? page.substr(3, 1) : ""}});
  }
}

}  // namespace etude::convert
