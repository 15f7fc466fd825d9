#include "etude/data/sets/converters.h"

#include <algorithm>

#include "etude/base/error.h"
#include "etude/base/text.h"

namespace etude {

const std::vector<Converter>& converters() {
  static const std::vector<Converter> all = {
      {"chess", convert::chess},
      {"debdesc", convert::debdesc},
      {"debtags", convert::debtags},
      {"dictd", convert::dictd},
      {"fortunes", convert::fortunes},
      {"html", convert::html},
      {"iso_codes", convert::iso_codes},
      {"mallard", convert::mallard},
      {"manpages", convert::manpages},
      {"markdown", convert::markdown},
      {"message_catalogues", convert::message_catalogues},
      {"metamath", convert::metamath},
      {"plain_text", convert::plain_text},
      {"r_data", convert::r_data},
      {"sword", convert::sword},
      {"talk_topics", convert::talk_topics},
      {"time_zones", convert::time_zones},
      {"wml", convert::wml},
      {"wordnet", convert::wordnet},
      {"words", convert::words},
  };
  return all;
}

const Converter& converter(std::string_view kind) {
  const auto found =
      std::find_if(converters().begin(), converters().end(), [&](const Converter& c) { return c.kind == kind; });
  ETUDE_CHECK(found != converters().end(), "there is no converter '" + std::string(kind) + "'");
  return *found;
}

MemberTexts::MemberTexts(std::map<std::string, std::string> texts) : texts_(std::move(texts)) {
  for (const auto& [path, text] : texts_) paths_.push_back(path);
}

std::vector<std::string> members_like(const MemberFiles& members, std::string_view glob) {
  std::vector<std::string> found;
  for (const std::string& path : members.paths())
    if (matches_glob(glob, path)) found.push_back(path);
  return found;
}

void refuse_member(const std::string& member, const std::string& what, int64_t line) {
  throw Error(Code::data, what, line > 0 ? member + ":" + std::to_string(line) : member,
              "the package holds another kind of file than this version of Etude knows: take the version that "
              "`etude data show` names");
}

std::string as_utf8(std::string bytes) {
  if (valid_utf8(bytes)) return bytes;
  std::string out;
  out.reserve(bytes.size() + bytes.size() / 8);
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      out += c;
    } else {
      append_utf8(out, byte);
    }
  }
  return out;
}

std::string one_line(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool blank = c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
    if (!blank)
      out += c;
    else if (!out.empty() && out.back() != ' ')
      out += ' ';
  }
  if (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

}  // namespace etude
