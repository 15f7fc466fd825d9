#include "etude/data/sets/sword.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "etude/base/text.h"
#include "etude/data/sets/converters.h"

namespace etude {
namespace {

/// The value of "KEY=value" in a module's settings; "" without the line.
std::string setting(std::string_view conf, std::string_view key) {
  while (!conf.empty()) {
    const std::string_view line = conf.substr(0, conf.find('\n'));
    conf.remove_prefix(std::min(conf.size(), line.size() + 1));
    const size_t equals = line.find('=');
    if (equals != line.npos && trim(line.substr(0, equals)) == key) return std::string(trim(line.substr(equals + 1)));
  }
  return {};
}

void require_setting(const std::string& member, std::string_view conf, std::string_view key, std::string_view value) {
  const std::string found = setting(conf, key);
  if (found != value) {
    refuse_member(member, "the module has " + std::string(key) + "=" + printable(found) + " where " +
                              std::string(value) + " is read");
  }
}

}  // namespace

void convert::sword(const MemberFiles& members, const SetDescription&, const Emit& emit) {
  std::string lang;
  for (const std::string& conf : members_like(members, "**/mods.d/*.conf")) {
    const std::string settings = members.read(conf);
    require_setting(conf, settings, "ModDrv", "zText");
    require_setting(conf, settings, "CompressType", "ZIP");
    require_setting(conf, settings, "Versification", "KJV");
    lang = setting(settings, "Lang");
  }
  for (const char* testament : {"ot", "nt"}) {
    for (const std::string& index : members_like(members, "**/" + std::string(testament) + ".bzs")) {
      const std::string stem = index.substr(0, index.size() - 4);
      for (const char* end : {".bzv", ".bzz"}) {
        if (!std::binary_search(members.paths().begin(), members.paths().end(), stem + end)) {
          refuse_member(stem + end, "the module lacks this file");
        }
      }
      const std::string bzs = members.read(index), bzv = members.read(stem + ".bzv"), bzz = members.read(stem + ".bzz");
      const auto& books = testament == std::string_view("ot") ? old_testament() : new_testament();
      read_verses({bzs, bzv, bzz}, books, stem, [&](const Verse& verse) {
        if (verse.text.empty()) return;
        nlohmann::json document = {
            {"id", verse.book + " " + std::to_string(verse.chapter) + ":" + std::to_string(verse.verse)},
            {"text", verse.text},
            {"book", verse.book},
            {"chapter", verse.chapter},
            {"verse", verse.verse},
            {"words", verse.words}};
        if (!lang.empty()) document["lang"] = lang;
        emit(document);
      });
    }
  }
}

}  // namespace etude
